"""Whatever stops a refresh, the old snapshot serves on and the next refresh succeeds."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes_of_index import HashEncoder, Write

from index.durable import publish_folder, write_file
from index.refresh import refresh
from index.search import search
from index.snapshot import Snapshot, current_id

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


class StoppedError(Exception):
    pass


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


@pytest.mark.parametrize(
    "error", [StoppedError, lambda: OSError(errno.ENOSPC, "No space left on device")], ids=["killed", "full disk"]
)
def test_refresh_stopped_at_any_write_leaves_an_index_that_serves_and_refreshes(
    tmp_path: Path, write: Write, fake: HashEncoder, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    number = 0
    while True:
        number += 1
        root = tmp_path / f"index-{number}"
        old = refresh(root, write(BEFORE), fake).snapshot_id
        folder = write(AFTER)
        with monkeypatch.context() as patch:
            calls = stop_at(patch, number, error)
            try:
                refresh(root, folder, fake)
            except (StoppedError, OSError):
                pass
            else:
                assert len(calls) < number and number > 8  # every step was stopped once
                return
        snapshot = Snapshot.open(root)
        snapshot.verify()
        # The last step forces the flip to disk: it may have happened already.
        assert snapshot.id == old or (snapshot.document_count == 3 and number == len(calls) > 8)
        new = refresh(root, folder, fake).snapshot_id
        assert current_id(root) == new != old
        Snapshot.open(root).verify()
        assert not [path for path in root.rglob("*") if ".tmp" in path.name]
        assert len(list((root / "segments").iterdir())) == 2


KILLED = """
import os, sys
sys.path.insert(0, {helpers!r})
from transformers import AutoTokenizer
from fakes_of_index import HashEncoder
from index.refresh import refresh
encoder = HashEncoder(AutoTokenizer.from_pretrained({tokenizer!r}))
def kill(*args, **kwargs):
    os.kill(os.getpid(), 9)
os.replace = kill
refresh({root!r}, {folder!r}, encoder)
"""


def test_refresh_killed_by_the_system_keeps_the_old_snapshot_and_frees_the_lock(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    root = tmp_path / "index"
    old = refresh(root, write(BEFORE), fake).snapshot_id
    folder = write(AFTER)
    script = KILLED.format(
        helpers=str(Path(__file__).parent),
        tokenizer=str(fake.tokenizer.name_or_path),
        root=str(root),
        folder=str(folder),
    )
    repository = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": repository}, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [path for path in root.rglob("*") if ".tmp" in path.name]  # it really was in the middle
    assert Snapshot.open(root).id == old
    assert refresh(root, folder, fake).published
    assert not [path for path in root.rglob("*") if ".tmp" in path.name]


def test_encoder_that_fails_leaves_the_old_answer_in_place(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, write(BEFORE), fake)
    fake.encode_passages = lambda *_: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        refresh(root, write(AFTER), fake)
    assert search(Snapshot.open(root), fake, ["red fox"])[0][0].text.endswith("The red fox.")


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
