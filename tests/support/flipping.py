"""Changes the live snapshot under readers in threads and in another process, and checks that none ever sees two.

Every document of edition n says `edition n` in all its passages, so an answer with hits of two editions is a torn read.
Half of the flips are refreshes; the others compact, delete old snapshots or roll back. Readers work like the server:
one thread of a process watches for a new live snapshot, opens it and tries it, and searches use it from then on. Used
by the tests, and by `benchmarks/flips.py` with a thousand flips.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from support import PYTHONPATH

if TYPE_CHECKING:
    from collections.abc import Iterator

from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.maintenance import compact, gc, rollback
from index.store.snapshot import Snapshot
from support.indexes import HashEncoder, WordTokenizer

DOCUMENTS = 12
QUESTION = "the red fox of this edition"
PAUSE = 0.001
"""Seconds between two searches of a reader; without a pause it would starve the writer of the same process."""
POLL = 0.005
"""Seconds between two looks at which snapshot is live, short enough to miss few flips."""
THREADS = 2


@dataclass
class Readings:
    """What readers saw.

    Attributes:
        seconds: duration of each search.
        faults: torn reads and errors, in words.
        snapshots: how often another snapshot was opened.
    """

    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    snapshots: int = 0


class Readers:
    """The readers of one process, which share the live snapshot.

    Attributes:
        phase: phase that readings belong to; set by the writer.
        readings: readings by phase.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.encoder = HashEncoder(WordTokenizer())
        self.snapshot = Snapshot.open(root)
        self.phase = "quiet"
        self.readings: dict[str, Readings] = defaultdict(Readings)
        self._done = threading.Event()

    @contextmanager
    def running(self, threads: int) -> Iterator[None]:
        """Read while the context lasts."""
        started = [threading.Thread(target=self._read) for _ in range(threads)]
        started.append(threading.Thread(target=self._follow))
        for thread in started:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in started:
                thread.join()

    def _follow(self) -> None:
        while not self._done.wait(POLL):
            try:
                if not self.snapshot.is_current():
                    snapshot = Snapshot.open(self.root)
                    self._search(snapshot)
                    self.snapshot = snapshot
                    self.readings[self.phase].snapshots += 1
            except Exception as error:
                self.readings[self.phase].faults.append(f"opening: {error!r}")

    def _read(self) -> None:
        while not self._done.wait(PAUSE):
            readings = self.readings[self.phase]
            begin = time.perf_counter()
            try:
                readings.faults += self._search(self.snapshot)
            except Exception as error:
                readings.faults.append(repr(error))
            readings.seconds.append(time.perf_counter() - begin)

    def _search(self, snapshot: Snapshot) -> list[str]:
        """Search once, and return what is wrong with the hits."""
        (hits,) = search(snapshot, self.encoder, [QUESTION], SearchSettings(k=2 * DOCUMENTS))
        editions = {edition for hit in hits for edition in re.findall(r"edition (\d+)", hit.text)}
        if len(hits) == 2 * DOCUMENTS and len(editions) == 1:
            return []
        return [f"{len(hits)} hits of editions {sorted(editions)} in {snapshot.id}"]


def write_edition(folder: Path, edition: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(DOCUMENTS):
        text = f"The red fox {number} of edition {edition}."
        (folder / f"{number}.md").write_text(f"# Fox {number}\n\n## One\n\n{text}\n\n## Two\n\n{text} Again.\n")


def flip(root: Path, folder: Path, encoder: HashEncoder, number: int) -> None:
    """The n-th flip."""
    if number % 2 == 0:
        write_edition(folder, number)
        refresh(root, folder, encoder)
    elif number % 6 == 1:
        compact(root)
    elif number % 6 == 3:
        gc(root, 2)
    else:
        rollback(root)


def run(place: Path, flips: int, quiet_seconds: float) -> dict[str, Readings]:
    """Flip under readers.

    Args:
        place: an empty folder.
        flips: number of flips.
        quiet_seconds: how long the same readers search before the first flip.

    Returns:
        What they saw, by where they ran (threads of the writer's process, or another process) and by phase.
    """
    root, folder, encoder = place / "index", place / "documents", HashEncoder(WordTokenizer())
    for edition in (1000, 2000):
        write_edition(folder, edition)
        refresh(root, folder, encoder)
    readers = Readers(root)
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, __file__, str(root)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "reading\n"
        with readers.running(THREADS):
            time.sleep(quiet_seconds)
            other.stdin.write("flips\n")
            other.stdin.flush()
            readers.phase = "flips"
            for number in range(flips):
                flip(root, folder, encoder, number)
        out, _ = other.communicate("")
    results = {f"threads, {phase}": readings for phase, readings in readers.readings.items()}
    for line in out.splitlines():
        phase, kind, value = line.split(" ", 2)
        readings = results.setdefault(f"process, {phase}", Readings())
        if kind == "seconds":
            readings.seconds.append(float(value))
        elif kind == "snapshots":
            readings.snapshots = int(value)
        else:
            readings.faults.append(value)
    return results


def read_until_told(root: Path) -> None:
    """The other process: each line of its input begins a phase, and at the end it prints what it saw."""
    readers = Readers(root)
    with readers.running(1):
        sys.stdout.write("reading\n")
        sys.stdout.flush()
        for line in sys.stdin:
            readers.phase = line.strip()
    for phase, readings in readers.readings.items():
        sys.stdout.writelines(f"{phase} seconds {value}\n" for value in readings.seconds)
        sys.stdout.writelines(f"{phase} fault {value}\n" for value in readings.faults)
        sys.stdout.write(f"{phase} snapshots {readings.snapshots}\n")


if __name__ == "__main__":
    read_until_told(Path(sys.argv[1]))
