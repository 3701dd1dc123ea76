"""Opening, checking and rolling back to snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index.errors import CorruptSnapshot, IndexBusy, NoSnapshot
from index.refresh.refresh import refresh
from index.store.folder import current_id, writing
from index.store.maintenance import rollback, verify
from index.store.snapshot import Snapshot, list_snapshots

FOX = {"fox.md": "# Fox\n\nThe red fox.\n"}
BOTH = {**FOX, "owl.md": "# Owl\n\nThe barn owl.\n"}


@pytest.fixture
def root(tmp_path: Path, write: Write, fake: HashEncoder) -> Path:
    """An index with two snapshots, the second of which has removed rows."""
    refresh(tmp_path / "index", write(BOTH), fake)
    refresh(tmp_path / "index", write({**BOTH, "fox.md": "# Fox\n\nThe grey fox.\n"}), fake)
    return tmp_path / "index"


def files_of_current(root: Path) -> list[Path]:
    return [root / name for name in Snapshot.open(root).manifest.files]


def test_chunks_come_by_document_and_position_whatever_the_history(root: Path) -> None:
    snapshot = Snapshot.open(root)
    assert [chunk.document_id for chunk in snapshot.chunks()] == ["fox.md", "owl.md"]
    assert [snapshot.chunk(number) for number in range(2)] == list(snapshot.chunks())
    with pytest.raises(IndexError):
        snapshot.chunk(2)


def test_every_missing_or_truncated_file_is_refused_at_open(root: Path) -> None:
    files = files_of_current(root)
    assert {path.suffix for path in files} == {".faiss", ".arrow", ".tombstones"}
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(CorruptSnapshot, match=path.name):
            Snapshot.open(root)
        path.unlink()
        with pytest.raises(CorruptSnapshot, match="rollback"):
            Snapshot.open(root)
        path.write_bytes(content)
    assert verify(root).intact


def test_flipped_bit_in_any_file_is_found_by_verify(root: Path) -> None:
    held = Snapshot.open(root)
    for path in files_of_current(root):
        content = path.read_bytes()
        # A new file, because the open snapshot has the old one mapped.
        path.unlink()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        found = verify(root)
        assert found.damaged == (path.relative_to(root).as_posix(),)
        assert found.reason is not None and path.name in found.reason
        path.write_bytes(content)
    assert verify(root, held.id).intact


def test_altered_manifest_is_refused(root: Path) -> None:
    path = root / "snapshots" / f"{current_id(root)}.json"
    path.write_text(path.read_text().replace('"dimension": 32', '"dimension": 33'))
    with pytest.raises(CorruptSnapshot, match="differs from its checksum"):
        Snapshot.open(root)


def test_damaged_index_can_be_rebuilt(root: Path, write: Write, fake: HashEncoder) -> None:
    files_of_current(root)[0].write_bytes(b"")
    with pytest.raises(CorruptSnapshot):
        refresh(root, write(BOTH), fake)
    refresh(root, write(BOTH), fake, rebuild=True)
    assert verify(root).intact


def test_rollback_goes_to_the_snapshot_before_and_no_further(root: Path) -> None:
    first, second = list_snapshots(root)
    assert second.is_current and second.parent == first.id
    assert rollback(root) == first.id == current_id(root)
    assert "red" in Snapshot.open(root).chunk(0).text
    with pytest.raises(NoSnapshot, match=second.id):
        rollback(root)
    assert rollback(root, second.id) == current_id(root) == second.id


def test_rollback_to_a_damaged_snapshot_leaves_the_live_one(root: Path) -> None:
    first, second = list_snapshots(root)
    next((root / "snapshots").glob(f"{first.id}.*.documents.arrow")).unlink()
    with pytest.raises(CorruptSnapshot):
        rollback(root)
    assert current_id(root) == second.id


def test_rollback_waits_for_no_writer(root: Path) -> None:
    with writing(root), pytest.raises(IndexBusy):
        rollback(root)


@pytest.mark.parametrize("name", ["0000000000000000", "../../etc/passwd", "/etc/passwd", ""])
def test_unknown_snapshot_is_refused(root: Path, name: str) -> None:
    with pytest.raises(NoSnapshot):
        rollback(root, name or " ")


def test_folder_without_an_index_says_how_to_build_one(tmp_path: Path) -> None:
    for question in (Snapshot.open, current_id, list_snapshots, rollback):
        with pytest.raises(NoSnapshot, match="ragft index build"):
            question(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
