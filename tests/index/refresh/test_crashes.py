"""Whatever stops a refresh, the old snapshot serves on and the next refresh succeeds."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import PYTHONPATH, TESTS
from support.indexes import HashEncoder, Write

from index.documents.unchanged import STATES
from index.durable import publish_folder, write_file
from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.folder import current_id
from index.store.maintenance import verify
from index.store.snapshot import Snapshot

BEFORE = {
    "fox.md": "# Fox\n\nThe red fox.\n",
    "owl.md": "# Owl\n\nThe barn owl.\n",
    "elk.md": "# Elk\n\nElk.\n",
}
AFTER = {
    "fox.md": "# Fox\n\nThe grey fox.\n",
    "owl.md": "# Owl\n\nThe barn owl.\n",
    "bat.md": "# Bat\n\nBat.\n",
}
STEPS = ("replace", "fsync")


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: Callable[[], BaseException]) -> list[str]:
    """Let the given call of os.replace or os.fsync fail; returns the list of calls seen so far."""
    calls: list[str] = []

    def failing(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise error()
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, failing(name))
    return calls


EVERY = int(os.environ.get("RAGFT_KILL_EVERY", "8"))
"""With 1, writers are killed at every step that they take on disk, more than 500 in all (minutes)."""


@pytest.mark.medium
@pytest.mark.parametrize("mode", ["kill", "power"])
@pytest.mark.parametrize(
    "scenario",
    [
        "refresh",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("compact", "build", "refresh that merges segments", "refresh that deletes old snapshots", "gc")
        ),
    ],
)
def test_writer_killed_at_any_step_leaves_the_old_index_or_the_new_one_whole(scenario: str, mode: str) -> None:
    script = TESTS / "support" / "crashing.py"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), scenario, "--every", str(EVERY), "--mode", mode]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    print(f"{scenario}, {mode}: ended at {done['kills']} points")
    assert done["kills"] * EVERY >= 16


def test_refresh_on_a_disk_that_is_full_at_any_write_leaves_the_index_as_it_was(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "index"
    old = refresh(root, write(BEFORE), words).snapshot_id
    folder = write(AFTER)
    number, published = 0, False
    while not published:
        number += 1
        with monkeypatch.context() as patch:
            stop_at(patch, number, lambda: OSError(errno.ENOSPC, "No space left on device"))
            with contextlib.suppress(OSError):
                published = refresh(root, folder, words).published
        assert verify(root).intact
        assert not [path for path in root.rglob("*") if ".tmp" in path.name]
        if current_id(root) != old:  # the flip happened, and only what comes after it failed
            break
    assert number > 8
    assert refresh(root, folder, words).snapshot_id == current_id(root) != old


def test_file_that_the_system_refuses_to_grow_leaves_the_index_as_it_was(
    tmp_path: Path, write: Write, words: HashEncoder
) -> None:
    root = tmp_path / "index"
    old = refresh(root, write(BEFORE), words).snapshot_id
    folder = write(AFTER)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 100, 1000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                refresh(root, folder, words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert verify(root).intact
        assert current_id(root) == old
    assert refresh(root, folder, words).published


def test_folder_that_may_only_be_read_is_searched_and_refuses_a_refresh(words: HashEncoder) -> None:
    with tempfile.TemporaryDirectory() as name, as_nobody(Path(name)):
        documents, root = Path(name, "documents"), Path(name, "index")
        documents.mkdir()
        for page, text in BEFORE.items():
            (documents / page).write_text(text)
        old = refresh(root, documents, words).snapshot_id
        folders = [path for path in (root, *root.rglob("*")) if path.is_dir()]
        for folder in folders:
            folder.chmod(0o555)
        (root / "LOCK").chmod(0o444)
        (documents / "fox.md").write_text(AFTER["fox.md"])
        with pytest.raises(PermissionError):
            refresh(root, documents, words)
        assert search(Snapshot.open(root), words, ["red fox"])[0][0].text.endswith("The red fox.")
        assert refresh(root, documents, words, dry_run=True).plan.changed == ("fox.md",)
        for folder in folders:
            folder.chmod(0o755)
        (root / "LOCK").chmod(0o644)
        assert refresh(root, documents, words).snapshot_id != old


@contextlib.contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Run with the permissions of an ordinary user, because modes do not bind root, who may run the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_crash_between_two_stores_is_repaired_by_the_next_refresh(
    tmp_path: Path, write: Write, words: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LangChain #39937: the record manager said that a document was indexed, the store had lost it, and no later run
    # noticed. Here the cache of file states is such a second store: it is ahead of the snapshot after a crash.
    monkeypatch.setattr("index.documents.unchanged.SETTLED_NS", -(10**15))
    root = tmp_path / "index"
    refresh(root, write(BEFORE), words)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != STATES}
    folder = write({**BEFORE, "bat.md": "# Bat\n\nThe bat.\n"})
    refresh(root, folder, words)
    for path in [path for path in root.rglob("*") if path.is_file() and path.name != STATES]:
        path.unlink()
    for path, content in before.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report = refresh(root, folder, words)
    assert report.plan.added == ("bat.md",)
    assert search(Snapshot.open(root), words, ["bat"], SearchSettings(mode="lexical"))[0][0].document_id == "bat.md"


def test_encoder_that_fails_leaves_the_old_answer_in_place(tmp_path: Path, write: Write, words: HashEncoder) -> None:
    # LlamaIndex #22639: the old version of a changed document was deleted before the new one was embedded.
    root = tmp_path / "index"
    refresh(root, write(BEFORE), words)
    words.encode_passages = lambda *_: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        refresh(root, write(AFTER), words)
    assert search(Snapshot.open(root), words, ["red fox"])[0][0].text.endswith("The red fox.")


def test_full_disk_leaves_neither_a_changed_nor_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "file", b"old")
    stop_at(monkeypatch, 1, lambda: OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_published_folder_is_complete_and_the_temporary_one_gone(tmp_path: Path) -> None:
    temporary = tmp_path / "part.tmp"
    (temporary / "below").mkdir(parents=True)
    (temporary / "below" / "file").write_bytes(b"x")
    publish_folder(temporary, tmp_path / "final")
    assert (tmp_path / "final" / "below" / "file").read_bytes() == b"x" and not temporary.exists()


def test_publishing_over_another_folder_is_refused(tmp_path: Path) -> None:
    for name in ("part.tmp", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError):
        publish_folder(tmp_path / "part.tmp", tmp_path / "final")
    assert (tmp_path / "final" / "file").read_text() == "final"
