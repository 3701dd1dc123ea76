"""A document that left the folder leaves the index; one that merely cannot be read keeps its older version."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.indexes import HashEncoder, Write

from index import IndexFault, NoDocuments, Snapshot, TooManyRemovals, current_id, read_documents, verify
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import SearchSettings

FOX = "# Fox\n\nThe red fox hunts at dusk.\n"
OWL = "# Owl\n\nThe barn owl hears a mouse under snow.\n"
ELK = "# Elk\n\nThe elk sheds its antlers in winter.\n"
BINARY = b"\x00\x01\x02"


def found(root: Path, encoder: HashEncoder, query: str) -> list[str]:
    return [hit.document_id for hit in search(Snapshot.open(root), encoder, [query], SearchSettings(mode="lexical"))[0]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "index"


def deny(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    """Let reading this file or folder fail; a mode would not do, because root may read everything."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *rest: Any, **named: Any) -> Any:
            if not isinstance(path, int) and Path(path) == denied:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **named)

        return call

    monkeypatch.setattr(os, "open", refusing(os.open))
    monkeypatch.setattr(Path, "open", refusing(Path.open))


@pytest.mark.parametrize("content", [BINARY, b"", b"  \n"], ids=["binary", "empty", "blank"])
def test_document_that_became_unreadable_keeps_its_older_version(
    root: Path, write: Write, fake: HashEncoder, content: bytes
) -> None:
    first = refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    folder = write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK})
    (folder / "fox.md").write_bytes(content)
    report = refresh(root, folder, fake)
    assert report.published and report.snapshot_id != first.snapshot_id
    assert (report.plan.added, report.plan.kept, report.plan.removed) == (("elk.md",), ("fox.md",), ())
    assert [item.path for item in report.kept] == ["fox.md"] and report.kept[0].reason
    assert report.skipped == ()
    assert found(root, fake, "red fox") == ["fox.md"] and found(root, fake, "antlers") == ["elk.md"]
    assert verify(root).intact


def test_document_that_may_not_be_read_keeps_its_older_version(
    root: Path, write: Write, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write({"fox.md": FOX, "owl.md": OWL})
    refresh(root, folder, fake)
    deny(monkeypatch, folder / "fox.md")
    report = refresh(root, folder, fake)
    assert not report.published
    assert [(item.path, item.reason) for item in report.kept] == [("fox.md", "cannot be read (Permission denied)")]
    assert found(root, fake, "red fox") == ["fox.md"]


def test_folder_that_may_not_be_read_keeps_all_its_documents(
    root: Path, write: Write, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write({"forest/fox.md": FOX, "forest/deep/owl.md": OWL, "forester.md": ELK, "elk.md": ELK})
    refresh(root, folder, fake)
    (folder / "forester.md").unlink()
    deny(monkeypatch, folder / "forest")
    report = refresh(root, folder, fake)
    assert report.plan.kept == ("forest/deep/owl.md", "forest/fox.md")
    assert report.plan.removed == ("forester.md",)
    assert found(root, fake, "red fox") == ["forest/fox.md"]


def test_unreadable_folder_of_all_documents_is_refused(
    root: Path, write: Write, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write({"fox.md": FOX})
    first = refresh(root, folder, fake)
    deny(monkeypatch, folder)
    with pytest.raises(NoDocuments, match="cannot be read"):
        refresh(root, folder, fake)
    assert current_id(root) == first.snapshot_id


def test_kept_document_is_removed_with_its_file_and_updated_once_it_can_be_read(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    refresh(root, write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK}), fake)
    folder = write({"elk.md": ELK})
    for name in ("fox.md", "owl.md"):
        (folder / name).write_bytes(BINARY)
    assert refresh(root, folder, fake).plan.kept == ("fox.md", "owl.md")
    report = refresh(root, write({"elk.md": ELK, "owl.md": OWL.replace("barn", "snowy")}), fake)
    assert (report.plan.changed, report.plan.removed, report.kept) == (("owl.md",), ("fox.md",), ())
    assert found(root, fake, "fox") == [] and found(root, fake, "snowy owl") == ["owl.md"]


def test_index_with_a_kept_document_is_left_alone_while_nothing_changes(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    folder = write({"fox.md": FOX, "owl.md": OWL})
    first = refresh(root, folder, fake)
    (folder / "fox.md").write_bytes(BINARY)
    dry = refresh(root, folder, fake, dry_run=True)
    assert dry.plan.kept == ("fox.md",) and dry.snapshot_id == first.snapshot_id
    report = refresh(root, folder, fake)
    assert not report.published and report.snapshot_id == first.snapshot_id and report.plan.is_empty


def test_kept_document_is_cut_again_once_it_can_be_read(root: Path, write: Write, fake: HashEncoder) -> None:
    long = "# Long\n\n" + "A sentence of some words. " * 30
    refresh(root, write({"long.md": long, "owl.md": OWL}), fake)
    old_cut = [chunk.passage for chunk in Snapshot.open(root).chunks() if chunk.document_id == "long.md"]
    folder = write({"owl.md": OWL})
    (folder / "long.md").write_bytes(BINARY)
    assert refresh(root, folder, fake, RefreshSettings(max_tokens=32)).plan.kept == ("long.md",)
    assert [c.passage for c in Snapshot.open(root).chunks() if c.document_id == "long.md"] == old_cut
    assert not refresh(root, folder, fake, RefreshSettings(max_tokens=32)).published
    report = refresh(root, write({"long.md": long, "owl.md": OWL}), fake, RefreshSettings(max_tokens=32))
    assert report.plan.changed == ("long.md",)
    fresh = refresh(root.with_name("fresh"), folder, fake, RefreshSettings(max_tokens=32))
    assert report.snapshot_id == fresh.snapshot_id


def test_file_that_was_never_indexed_is_skipped_not_kept(root: Path, write: Write, fake: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    (folder / "bad.md").write_bytes(BINARY)
    report = refresh(root, folder, fake)
    assert ([item.path for item in report.skipped], report.kept) == (["bad.md"], ())


def test_document_that_gives_way_to_a_link_out_of_the_folder_is_removed(
    root: Path, write: Write, fake: HashEncoder, tmp_path: Path
) -> None:
    refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    folder = write({"owl.md": OWL})
    secret = tmp_path / "secret.md"
    secret.write_text("# Secret\n\nNobody's business.\n")
    (folder / "fox.md").symlink_to(secret)
    report = refresh(root, folder, fake)
    assert report.plan.removed == ("fox.md",) and [item.path for item in report.skipped] == ["fox.md"]
    assert found(root, fake, "fox") == []


def test_rebuild_starts_from_the_folder_alone(root: Path, write: Write, fake: HashEncoder) -> None:
    refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    folder = write({"owl.md": OWL})
    (folder / "fox.md").write_bytes(BINARY)
    report = refresh(root, folder, fake, rebuild=True)
    assert ([item.path for item in report.skipped], report.kept) == (["fox.md"], ())
    assert [entry.id for entry in Snapshot.open(root).documents()] == ["owl.md"]


def test_refusal_of_removals_names_the_option_and_a_dry_run_foretells_it(
    root: Path, write: Write, fake: HashEncoder
) -> None:
    first = refresh(root, write({"fox.md": FOX, "owl.md": OWL, "elk.md": ELK}), fake)
    folder = write({"fox.md": FOX})
    dry = refresh(root, folder, fake, RefreshSettings(allow_removal=0.5), dry_run=True)
    with pytest.raises(TooManyRemovals, match=r"^2 of 3 .*\(67%, and 50% may vanish at once\).*--allow-removal") as no:
        refresh(root, folder, fake, RefreshSettings(allow_removal=0.5))
    assert dry.refusal == str(no.value) and isinstance(no.value, IndexFault)
    assert current_id(root) == first.snapshot_id
    assert refresh(root, folder, fake, dry_run=True).refusal is None


def test_moved_documents_do_not_count_as_vanished(root: Path, write: Write, fake: HashEncoder) -> None:
    refresh(root, write({"a/fox.md": FOX, "a/owl.md": OWL, "elk.md": ELK}), fake)
    report = refresh(root, write({"b/fox.md": FOX, "b/owl.md": OWL}), fake, RefreshSettings(allow_removal=0.4))
    assert report.published and report.plan.removed == ("a/fox.md", "a/owl.md", "elk.md")


def test_unreadable_documents_do_not_count_as_vanished(root: Path, write: Write, fake: HashEncoder) -> None:
    refresh(root, write({"fox.md": FOX, "owl.md": OWL}), fake)
    folder = write({"owl.md": OWL})
    (folder / "fox.md").write_bytes(BINARY)
    assert refresh(root, folder, fake, RefreshSettings(allow_removal=0.0)).plan.kept == ("fox.md",)


def test_unreadable_folder_is_named_and_the_rest_is_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write({"fox.md": FOX, "closed/owl.md": OWL})
    deny(monkeypatch, folder / "closed")
    documents, skipped = read_documents(folder)
    assert [document.id for document in documents] == ["fox.md"]
    assert [(item.path, item.by_rule) for item in skipped] == [("closed", False)]
