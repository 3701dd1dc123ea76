"""Compacting, deleting old snapshots, verifying and comparing."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import PYTHONPATH
from support.indexes import HashEncoder, Write

from index.documents.unchanged import STATES
from index.errors import CorruptSnapshot, IndexBusy, IndexFault, NoSnapshot
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store import writer
from index.store.folder import current_id, writing
from index.store.maintenance import compact, diff, gc, publish, rollback, verify, verify_all
from index.store.snapshot import Snapshot, list_snapshots

FOX = "# Fox\n\nThe red fox.\n"
OWL = "# Owl\n\n## Ears\n\nThe barn owl.\n\n## Eyes\n\nRound.\n"


@pytest.fixture
def ids(tmp_path: Path, write: Write, words: HashEncoder) -> list[str]:
    """The snapshots of an index, oldest first; the last one has three segments, and removed rows."""
    editions = [
        {"fox.md": FOX, "owl.md": OWL},
        {"fox.md": FOX.replace("red", "grey"), "owl.md": OWL},
        {"fox.md": FOX.replace("red", "grey"), "owl.md": OWL, "elk.md": "# Elk\n\nElk.\n"},
    ]
    return [refresh(tmp_path / "index", write(files), words).snapshot_id for files in editions]


@pytest.fixture
def root(ids: list[str], tmp_path: Path) -> Path:
    return tmp_path / "index"


def found(root: Path, encoder: HashEncoder) -> list[Any]:
    snapshot = Snapshot.open(root)
    return [search(snapshot, encoder, ["grey fox", "owl eyes"], SearchSettings(k=9, mode=mode)) for mode in MODES]


def size_of(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_compacted_index_is_the_same_snapshot_in_one_segment(root: Path, ids: list[str], words: HashEncoder) -> None:
    before, held = found(root, words), Snapshot.open(root)
    report = compact(root)
    assert (report.published, report.segments, report.removed) == (True, 3, 1)
    (segment,) = Snapshot.open(root).segments
    assert segment.live.all() and current_id(root) == ids[-1]
    assert found(root, words) == before
    assert [search(held, words, ["grey fox", "owl eyes"], SearchSettings(k=9, mode=mode)) for mode in MODES] == before
    assert not held.is_current() and Snapshot.open(root).is_current()
    assert all(item.intact for item in verify_all(root))
    assert not compact(root).published


def test_compacting_a_damaged_index_is_refused(root: Path) -> None:
    rows = next(root.glob("segments/*/rows.arrow"))
    flip_bit(rows)
    with pytest.raises(CorruptSnapshot, match=r"rows\.arrow"):
        compact(root)


def test_gc_keeps_the_newest_the_live_one_and_the_one_before(root: Path, ids: list[str]) -> None:
    plan = gc(root, 1, dry_run=True)
    assert plan.removed == (ids[0],) and len(list_snapshots(root)) == 3
    size = size_of(root)
    assert gc(root, 1) == plan
    assert [info.id for info in list_snapshots(root)] == ids[1:]
    assert plan.freed <= size - size_of(root) < plan.freed + 10_000  # and the manifest
    assert all(item.intact for item in verify_all(root))
    assert rollback(root) == ids[1]
    assert gc(root, 1).removed == ()  # the newest and the live one stay


def test_gc_deletes_the_cache_of_embeddings_where_it_is_told_to(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    root, cached = tmp_path / "index", RefreshSettings(cache_mib=1)
    refresh(root, write({"fox.md": "# Fox\n\nThe red fox.\n"}), words, cached)
    assert gc(root, 1).freed == 0
    size = gc(root, 1, cache=True, dry_run=True).freed
    assert size > 0 and list(root.glob("cache/*.sqlite"))
    assert gc(root, 1, cache=True).freed == size
    assert not list(root.glob("cache/*.sqlite*"))
    words.encoded.clear()
    refresh(root, write({"fox.md": "# Fox\n\nThe red fox.\n"}), words, cached, rebuild=True)
    assert len(words.encoded) == 1


def test_gc_spares_what_is_younger_than_it_was_told(root: Path, ids: list[str]) -> None:
    assert gc(root, 1, older_than_days=1).removed == ()
    assert gc(root, 1, older_than_days=0).removed == (ids[0],)
    with pytest.raises(IndexFault, match="0 snapshots to keep"):
        gc(root, 0)


def test_order_of_snapshots_survives_a_clock_that_was_set_back(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "index"
    made = []
    for number in range(4):
        when = datetime.now(UTC) - timedelta(days=number)
        monkeypatch.setattr(writer, "_now", lambda when=when: when.isoformat(timespec="milliseconds"))
        made.append(refresh(root, write({"fox.md": f"# Fox\n\nFox {number}.\n"}), words).snapshot_id)
    assert [info.id for info in list_snapshots(root)] == made
    assert gc(root, 2).removed == tuple(made[:2])
    assert rollback(root) == made[2]


def test_refresh_deletes_old_snapshots_by_the_rule(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    root = tmp_path / "index"
    for number in range(5):
        report = refresh(root, write({"fox.md": f"# Fox\n\nFox {number}.\n"}), words, RefreshSettings(keep_snapshots=3))
    assert len(report.pruned) == 1 and len(list_snapshots(root)) == 3
    assert len(list((root / "segments").iterdir())) == 3


def test_damaged_manifest_is_deleted_by_gc_and_frees_what_it_hid(root: Path, ids: list[str]) -> None:
    flip_bit(root / "snapshots" / f"{ids[0]}.json")
    assert [item.intact for item in verify_all(root)] == [True, True, False]
    report = gc(root, 5)
    assert report.damaged == (f"{ids[0]}.json",) and report.removed == ()
    assert all(item.intact for item in verify_all(root)) and len(verify_all(root)) == 2


def test_gc_under_a_damaged_live_manifest_deletes_nothing(root: Path, ids: list[str]) -> None:
    flip_bit(root / "snapshots" / f"{ids[-1]}.json")
    with pytest.raises(CorruptSnapshot):
        gc(root, 1)
    assert len(list((root / "snapshots").glob("*.json"))) == 3


def test_open_snapshot_survives_the_deletion_of_its_files(
    root: Path, ids: list[str], write: Write, words: HashEncoder
) -> None:
    held = Snapshot.open(root, ids[0])
    expected = search(held, words, ["red fox"], SearchSettings(k=9))
    compact(root)
    gc(root, 1)
    assert ids[0] not in {info.id for info in list_snapshots(root)}
    assert search(held, words, ["red fox"], SearchSettings(k=9)) == expected
    assert [chunk.document_id for chunk in held.chunks()] == ["fox.md", "owl.md", "owl.md"]


def test_reader_whose_files_vanish_while_it_opens_opens_what_is_live_then(
    root: Path, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from index.store import snapshot as module

    real = module.check_files
    done: list[Any] = []

    def meanwhile(*arguments: Any) -> None:
        if not done:
            done.append("once")
            done.append(compact(root))
        real(*arguments)

    monkeypatch.setattr(module, "check_files", meanwhile)
    opened = Snapshot.open(root)
    assert done[1].published and opened.id == ids[-1] and len(opened.segments) == 1


def test_verify_names_every_damaged_file_of_any_snapshot(root: Path, ids: list[str]) -> None:
    assert verify(root).intact and verify(root).id == ids[-1]
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if path.name in ("LOCK", "CURRENT", STATES):  # the last one is a cache; see test_unchanged
            continue
        content = path.read_bytes()
        flip_bit(path)
        damaged = [item for item in verify_all(root) if not item.intact]
        assert damaged, path
        assert all(path.name in name for item in damaged for name in item.damaged)
        for item in damaged:
            with pytest.raises(CorruptSnapshot):
                Snapshot.open(root, item.id)
        path.write_bytes(content)
    assert all(item.intact for item in verify_all(root))


def test_flipped_bit_in_current_is_refused(root: Path) -> None:
    flip_bit(root / "CURRENT")
    for question in (Snapshot.open, verify, compact):
        with pytest.raises((NoSnapshot, CorruptSnapshot)):
            question(root)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"main\n", b"0" * 17])
def test_current_that_names_no_snapshot_is_refused_in_a_sentence_and_can_be_put_right(
    root: Path, ids: list[str], content: bytes
) -> None:
    (root / "CURRENT").write_bytes(content)
    for question in (Snapshot.open, verify, compact, current_id):
        with pytest.raises(CorruptSnapshot, match=r"instead of the id of a snapshot; delete it"):
            question(root)
    (root / "CURRENT").unlink()
    publish(root, ids[2])
    assert current_id(root) == ids[2]


def flip_bit(path: Path) -> None:
    """Flip a bit in the middle of a file; in a new file, because open snapshots have the old one mapped."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_diff_tells_documents_and_passages(root: Path, ids: list[str]) -> None:
    found = diff(root, ids[0], ids[2])
    assert (found.added, found.changed, found.removed, found.unchanged) == (("elk.md",), ("fox.md",), (), 1)
    assert (found.chunks_added, found.chunks_removed, found.chunks_unchanged) == (2, 1, 2)
    back = diff(root, ids[2], ids[0])
    assert (back.removed, back.chunks_added, back.chunks_removed) == (("elk.md",), 1, 2)
    assert found.same_encoder and found.same_settings
    with pytest.raises(NoSnapshot):
        diff(root, ids[0], "0" * 16)


def test_every_writer_is_refused_while_another_writes(root: Path, write: Write, words: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    with writing(root):
        for work in (lambda: compact(root), lambda: gc(root, 1), lambda: refresh(root, folder, words)):
            with pytest.raises(IndexBusy, match="--wait"):
                work()
        assert gc(root, 1, dry_run=True).removed


HOLD = """
import sys
from pathlib import Path
from index.store.folder import writing
with writing(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_writer_that_waits_goes_on_when_the_other_is_done(root: Path, write: Write, words: HashEncoder) -> None:
    folder = write({"fox.md": FOX})
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"locked\n"
        with pytest.raises(IndexBusy):
            refresh(root, folder, words)
        other.kill()  # its lock ends with it
        assert refresh(root, folder, words, wait=True).published
