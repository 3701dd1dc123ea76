"""Kills writers of an index at every single step that they take on disk, and looks at what they leave.

Run as a script, because it forks: `python crashing.py SCENARIO [--every N] [--mode kill|power]`. Prints one line of
JSON. Each step is one system call that changes the disk (open for writing, write, fsync, rename, unlink, rmdir,
mkdir). SIGKILL ends the process just before the call or, in a write, half-way through it. In the mode `power`, the
content of every file that was written and not forced to disk is lost, too.

After each kill another process looks: the index is the old one or the new one, whole; every snapshot that is listed
opens and is intact; and the next refresh succeeds and leaves nothing behind that no snapshot needs.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import index.documents.unchanged
from index.documents.unchanged import STATES
from index.errors import NoSnapshot
from index.refresh.estimate import RATES
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.folder import current_id
from index.store.maintenance import compact, gc, rollback, verify_all
from index.store.snapshot import Snapshot, list_snapshots
from support.indexes import HashEncoder, WordTokenizer

# What a refresh imports lazily is imported before forking, so that the children need not import it again.
for name in ("faiss", "index.store.approximate", "index.documents.formats.markdown", "pyarrow.compute", "pandas"):
    with contextlib.suppress(ImportError):  # pyarrow tries pandas, and works without it
        importlib.import_module(name)

# States of files are to be trusted here, however young the files are.
index.documents.unchanged.SETTLED_NS = -(10**15)

ENCODER = HashEncoder(WordTokenizer())
QUESTION = "the red fox and the owl"

Files = dict[str, str]


def page(name: str, *sections: str) -> str:
    body = "".join(f"## Part {number}\n\n{text}\n\n" for number, text in enumerate(sections))
    return f"# {name}\n\n{body}"


FIRST: Files = {f"{name}.md": page(name, f"The red {name}.", f"An owl saw the {name}.") for name in "abcdefgh"}
SECOND: Files = {
    **{name: text for name, text in FIRST.items() if name != "b.md"},
    "a.md": page("a", "The grey a.", "An owl saw the a."),
    "moved/c.md": FIRST["c.md"],
    "new.md": page("new", "A new fox."),
}
HALF: Files = {name: text for name, text in FIRST.items() if name in ("a.md", "b.md")}


def put(folder: Path, files: Files) -> None:
    """Make the folder hold exactly these files."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def refreshed(place: Path, files: Files, **options: Any) -> None:
    put(place / "documents", files)
    refresh(place / "index", place / "documents", ENCODER, **options)


def history(place: Path, steps: int) -> None:
    """An index with several snapshots and segments: each step adds a document and changes another."""
    files = dict(FIRST)
    refreshed(place, files)
    for step in range(steps):
        files[f"n{step}.md"] = page(f"n{step}", f"Fox number {step}.")
        files["a.md"] = page("a", f"The red a, edition {step}.")
        refreshed(place, files)


class Scenario:
    """An index, and an operation on it that is killed.

    Attributes:
        prepare: builds the index; called once.
        act: the operation.
        change: documents that the folder holds before each attempt; None: those of `prepare`.
    """

    def __init__(
        self, prepare: Callable[[Path], None], act: Callable[[Path], object], change: Files | None = None
    ) -> None:
        self.prepare = prepare
        self.act = act
        self.change = change


def do_refresh(place: Path, **options: Any) -> None:
    refresh(place / "index", place / "documents", ENCODER, **options)


SCENARIOS = {
    "build": Scenario(lambda place: None, do_refresh, FIRST),
    "refresh": Scenario(lambda place: refreshed(place, FIRST), do_refresh, SECOND),
    "refresh that merges segments": Scenario(lambda place: history(place, 2), do_refresh, SECOND),
    "refresh that rewrites a segment": Scenario(lambda place: refreshed(place, FIRST), do_refresh, HALF),
    "refresh that deletes old snapshots": Scenario(
        lambda place: history(place, 3),
        lambda place: do_refresh(place, settings=RefreshSettings(keep_snapshots=1)),
        SECOND,
    ),
    "refresh back to known documents": Scenario(
        lambda place: (refreshed(place, FIRST), refreshed(place, SECOND))[0], do_refresh, FIRST
    ),
    "rebuild": Scenario(lambda place: refreshed(place, FIRST), lambda place: do_refresh(place, rebuild=True), FIRST),
    "compact": Scenario(lambda place: history(place, 2), lambda place: compact(place / "index")),
    "gc": Scenario(lambda place: history(place, 4), lambda place: gc(place / "index", 1)),
    "rollback": Scenario(lambda place: history(place, 1), lambda place: rollback(place / "index")),
}


# --- killing


class Killer:
    """Counts the steps on disk and ends the process at one of them."""

    def __init__(self, root: Path, number: int, power: bool) -> None:
        self.root = root
        self.number = number
        self.power = power
        self.count = 0
        self.unsynced: set[int] = set()

    def step(self, torn: Callable[[], None] = lambda: None) -> None:
        self.count += 1
        if self.count == self.number:
            torn()
            if self.power:
                self.lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def lose(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unsynced:
                os.truncate(path, 0)

    def install(self) -> None:
        for name in ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "chmod"):
            setattr(os, name, self.before(getattr(os, name)))
        os.fsync = self.syncing(os.fsync)
        opening = self.opening(io.open)
        io.open = builtins.open = opening  # type: ignore[assignment]

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return real(*args, **kwargs)

        return call

    def syncing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            self.step()
            real(descriptor)
            self.unsynced.discard(os.fstat(descriptor).st_ino)

        return call

    def opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *args, **kwargs)
            self.step()
            opened = real(file, mode, *args, **kwargs)
            self.unsynced.add(os.fstat(opened.fileno()).st_ino)
            return Torn(opened, self)

        return call


class Torn:
    """A file of which a write may end half-way."""

    def __init__(self, file: Any, killer: Killer) -> None:
        self._file = file
        self._killer = killer

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._killer.step(half)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()


def in_child(work: Callable[[], object], log: Path) -> int:
    """Run in a process of its own, and return its exit status, negative for a signal."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    try:
        work()
    except BaseException:
        log.write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


# --- looking


def content(root: Path, id: str | None = None) -> dict[str, Any]:  # noqa: A002
    """All that a reader can see of a snapshot."""
    snapshot = Snapshot.open(root, id)
    (hits,) = search(snapshot, ENCODER, [QUESTION], SearchSettings(k=50))
    return {
        "id": snapshot.id,
        "documents": [[entry.id, entry.hash] for entry in snapshot.documents()],
        "chunks": [[chunk.id, chunk.passage] for chunk in snapshot.chunks()],
        "hits": [[hit.chunk_id, hit.score, hit.dense_score, hit.lexical_score] for hit in hits],
    }


def look(place: Path, states: list[Any]) -> None:
    """What must hold after a kill; `states` are what a reader may see (None: no index yet)."""
    root = place / "index"
    try:
        seen = content(root)
    except NoSnapshot:
        seen = None
    assert seen in states, "neither the old index nor the new one"
    if seen is not None:
        assert all(item.intact for item in verify_all(root)), verify_all(root)
        assert rollback_targets_open(root)
    last = refresh(root, place / "documents", ENCODER)
    assert current_id(root) == last.snapshot_id
    assert all(item.intact for item in verify_all(root)), verify_all(root)
    put_aside = place / "again"
    refresh(put_aside, place / "documents", ENCODER)
    assert content(root) == content(put_aside), "not what an index built at once holds"
    refresh(root, place / "documents", ENCODER)
    leftovers(root)


def rollback_targets_open(root: Path) -> bool:
    return all(Snapshot.open(root, info.id).id == info.id for info in list_snapshots(root))


def leftovers(root: Path) -> None:
    named = {name for info in list_snapshots(root) for name in Snapshot.open(root, info.id).manifest.files}
    kept = {f"snapshots/{info.id}.json" for info in list_snapshots(root)} | {"CURRENT", "LOCK", STATES, RATES}
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert there <= named | kept, f"left behind: {sorted(there - named - kept)}"


def run(name: str, every: int, power: bool, offset: int = 0) -> dict[str, Any]:
    """Kill a scenario at every `every`-th of its steps, and return the number of kills."""
    scenario = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        log, template = top / "log", top / "template"
        template.mkdir()
        states_file = top / "states.json"

        def prepare() -> None:
            scenario.prepare(template)
            if scenario.change is not None:
                put(template / "documents", scenario.change)

        def see() -> None:
            states: list[Any] = []
            for place in (template, undisturbed):
                try:
                    states.append(content(place / "index"))
                except NoSnapshot:
                    states.append(None)
            states_file.write_text(json.dumps(states))

        undisturbed = top / "undisturbed"
        assert in_child(prepare, log) == 0, log.read_text()
        shutil.copytree(template, undisturbed)
        assert in_child(lambda: scenario.act(undisturbed), log) == 0, log.read_text()
        assert in_child(see, log) == 0, log.read_text()
        states = json.loads(states_file.read_text())
        kills, number = 0, 1 + offset
        while True:
            place = top / "place"
            shutil.copytree(template, place)
            killer = Killer(place / "index", number, power)

            def attempt(place: Path = place, killer: Killer = killer) -> None:
                killer.install()
                scenario.act(place)

            status = in_child(attempt, log)
            if status == 0:
                break
            assert status == -signal.SIGKILL, log.read_text()
            kills += 1
            if in_child(lambda place=place: look(place, states), log):  # type: ignore[misc]
                raise AssertionError(f"{name}, killed at step {number}: {log.read_text()}")
            shutil.rmtree(place)
            number += every
    return {"scenario": name, "mode": "power" if power else "kill", "kills": kills, "every": every}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--mode", choices=["kill", "power", "both"], default="both")
    options = parser.parse_args()
    names = list(SCENARIOS) if "all" in options.scenario else options.scenario
    modes = {"kill": [False], "power": [True], "both": [False, True]}[options.mode]
    for name in names:
        for power in modes:
            sys.stdout.write(json.dumps(run(name, options.every, power)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
