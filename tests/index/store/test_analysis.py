"""Postings are never searched with other terms than theirs, and made anew without the rest of a segment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.folder import SEGMENTS, read_manifest, write_manifest
from index.store.lexical import Postings
from index.store.maintenance import compact, rollback, verify_all
from index.store.segment import POSTINGS_FILE, ROWS_FILE, VECTORS_FILE
from index.store.snapshot import Snapshot
from index.store.terms import TERMS_VERSION, Analysis

FILES = {"a.md": "# Rooms\n\nTwo libraries.\n", "b.md": "# Cellar\n\nNo library.\n"}


def found(root: Path, encoder: HashEncoder, query: str) -> list[str]:
    (hits,) = search(Snapshot.open(root), encoder, [query], SearchSettings(mode="lexical"))
    return [hit.document_id for hit in hits]


def paths(root: Path, name: str) -> list[Path]:
    snapshot = Snapshot.open(root)
    return [root / SEGMENTS / segment.name / name for segment in snapshot.segments]


def test_another_language_writes_postings_anew_and_nothing_else(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    root, folder = tmp_path / "index", write(FILES)
    first = refresh(root, folder, words)
    assert found(root, words, "library") == ["a.md", "b.md"]
    before = {name: paths(root, name) for name in (VECTORS_FILE, ROWS_FILE, POSTINGS_FILE)}
    words.encoded.clear()
    second = refresh(root, folder, words, RefreshSettings(language="none"))
    assert second.published and second.plan.is_empty and second.snapshot_id != first.snapshot_id
    assert found(root, words, "library") == ["b.md"] and words.encoded == []
    for name in (VECTORS_FILE, ROWS_FILE):
        assert [path.stat().st_ino for path in paths(root, name)] == [path.stat().st_ino for path in before[name]]
    assert not set(paths(root, POSTINGS_FILE)) & set(before[POSTINGS_FILE])
    assert all(found.intact for found in verify_all(root))
    assert not refresh(root, folder, words, RefreshSettings(language="none")).published
    rollback(root, first.snapshot_id)
    assert found(root, words, "library") == ["a.md", "b.md"]


def test_removed_rows_and_new_ones_come_along(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    root = tmp_path / "index"
    many = {f"{number}.md": f"# Number {number}\n\nThe libraries are open.\n" for number in range(8)}
    refresh(root, write(many), words)
    refresh(root, write({**many, "1.md": "# Shut\n\nGone.\n"}), words)
    changed = {**FILES, **many, "1.md": "# Shut\n\nGone.\n"}
    refresh(root, write(changed), words, RefreshSettings(language="none"))
    refresh(tmp_path / "built", write(changed), words, RefreshSettings(language="none"))
    for query in ("library", "libraries", "gone open"):
        ranked = [
            search(Snapshot.open(at), words, [query], SearchSettings(k=20, mode=mode))
            for at in (root, tmp_path / "built")
            for mode in ("lexical", "hybrid")
        ]
        assert ranked[:2] == ranked[2:]
    assert Snapshot.open(root).id == Snapshot.open(tmp_path / "built").id


def outdated(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the live snapshot one that an older version of the terms wrote, whose postings cannot be read now."""
    manifest = read_manifest(root, Snapshot.open(root).id)
    write_manifest(root, replace(manifest, analysis=Analysis("auto", TERMS_VERSION - 1)))
    old = set(paths(root, POSTINGS_FILE))
    read = Postings.read

    def only_new(path: Path) -> Postings:
        assert path not in old
        return read(path)

    monkeypatch.setattr(Postings, "read", only_new)


def test_terms_of_an_older_version_are_made_anew_to_be_searched(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, folder = tmp_path / "index", write(FILES)
    refresh(root, folder, words)
    outdated(root, monkeypatch)
    assert found(root, words, "library") == ["a.md", "b.md"]
    assert Snapshot.open(root).manifest.analysis != Analysis()
    words.encoded.clear()
    refresh(root, write({**FILES, "c.md": "# New\n\nA library.\n"}), words)
    assert Snapshot.open(root).manifest.analysis == Analysis()
    assert found(root, words, "library") == ["a.md", "b.md", "c.md"]
    assert len(words.encoded) == 1


def test_compacting_makes_terms_of_an_older_version_anew(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "index"
    refresh(root, write(FILES), words)
    refresh(root, write({"a.md": FILES["a.md"]}), words)
    outdated(root, monkeypatch)
    compact(root)
    assert Snapshot.open(root).manifest.analysis == Analysis()
    assert found(root, words, "library") == ["a.md"]
