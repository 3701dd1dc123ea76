"""A refresh reads only files that may have changed, and never misses one that did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index.documents import files as reading
from index.documents.document import Document, Skipped
from index.documents.unchanged import STATES
from index.refresh.refresh import RefreshSettings, refresh
from index.store.folder import current_id
from index.store.maintenance import rollback
from index.store.snapshot import Snapshot

FOX = {"fox.md": "# Fox\n\nThe red fox.\n"}
BOTH = {**FOX, "owl.md": "# Owl\n\nThe barn owl.\n"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, in that order."""
    names: list[str] = []
    real = reading.FileReader.items

    def noted(self: reading.FileReader, name: str) -> list[Document | Skipped]:
        names.append(name)
        return real(self, name)

    monkeypatch.setattr(reading.FileReader, "items", noted)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files, however recent they are."""
    monkeypatch.setattr("index.documents.unchanged.SETTLED_NS", -(10**15))


@pytest.mark.usefixtures("settled")
def test_only_files_that_changed_are_read(tmp_path: Path, write: Write, words: HashEncoder, read: list[str]) -> None:
    root, folder = tmp_path / "index", write(BOTH)
    refresh(root, folder, words)
    read.clear()
    (folder / "owl.md").write_text("# Owl\n\nThe snowy owl.\n")
    report = refresh(root, folder, words)
    assert read == ["owl.md"]
    assert (report.plan.changed, report.plan.unchanged) == (("owl.md",), 1)
    assert report.snapshot_id == refresh(tmp_path / "built", folder, words).snapshot_id


@pytest.mark.usefixtures("settled")
def test_unchanged_folder_is_not_read_and_nothing_is_written(
    tmp_path: Path, write: Write, words: HashEncoder, read: list[str]
) -> None:
    root, folder = tmp_path / "index", write(BOTH)
    refresh(root, folder, words)
    read.clear()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert refresh(root, folder, words).plan.is_empty and read == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    refresh(root, folder, words, check_content=True)
    assert sorted(read) == ["fox.md", "owl.md"]


def test_file_that_was_just_changed_is_read_again(
    tmp_path: Path, write: Write, words: HashEncoder, read: list[str]
) -> None:
    # It may be changed again within the same tick of the file system's clock, without another time or size.
    root, folder = tmp_path / "index", write(FOX)
    refresh(root, folder, words)
    read.clear()
    refresh(root, folder, words)
    assert read == ["fox.md"]


@pytest.mark.usefixtures("settled")
def test_change_that_keeps_size_and_time_is_found(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    root, folder = tmp_path / "index", write(FOX)
    refresh(root, folder, words)
    stat = (folder / "fox.md").stat()
    (folder / "fox.md").write_text(FOX["fox.md"].replace("red", "tan"))
    os.utime(folder / "fox.md", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (folder / "fox.md").stat().st_mtime_ns == stat.st_mtime_ns
    assert refresh(root, folder, words).plan.changed == ("fox.md",)


@pytest.mark.usefixtures("settled")
def test_files_changed_since_the_live_snapshot_are_read_after_a_rollback(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    root, folder = tmp_path / "index", write(FOX)
    refresh(root, folder, words)
    (folder / "fox.md").write_text("# Fox\n\nThe grey fox.\n")
    grey = refresh(root, folder, words)
    rollback(root)
    report = refresh(root, folder, words)
    assert report.plan.changed == ("fox.md",)
    assert report.snapshot_id == grey.snapshot_id == current_id(root)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"x", b"\xff", b"checksum\n[]", b"{}"])
def test_damaged_file_of_states_only_costs_reading(
    tmp_path: Path, write: Write, words: HashEncoder, read: list[str], content: bytes
) -> None:
    root, folder = tmp_path / "index", write(BOTH)
    refresh(root, folder, words)
    (root / STATES).write_bytes(content)
    read.clear()
    (folder / "owl.md").unlink()
    assert refresh(root, folder, words).plan.removed == ("owl.md",)
    assert read == ["fox.md"]


@pytest.mark.usefixtures("settled")
def test_other_settings_split_unchanged_documents_again(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    root, folder = tmp_path / "index", write({"a.txt": "word " * 60})
    refresh(root, folder, words)
    report = refresh(root, folder, words, RefreshSettings(max_tokens=32))
    assert report.plan.changed == ("a.txt",) and Snapshot.open(root).chunk_count > 1
