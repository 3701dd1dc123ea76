"""Flips an index under readers in threads and in other processes, and looks whether a reader ever sees two snapshots.

Every document of edition n says `edition n` in all its passages, so hits of two editions in one answer give a torn read
away. Half of the flips are refreshes, the others compact, delete old snapshots or roll back. Used by the tests, and by
`benchmarks/flips.py` with a thousand flips.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from fakes_of_index import HashEncoder, WordTokenizer

from index.maintenance import compact, gc
from index.refresh import refresh
from index.search import search
from index.snapshot import Snapshot, rollback

DOCUMENTS = 12
QUESTION = "the red fox of this edition"


@dataclass
class Readings:
    """What readers saw.

    Attributes:
        seconds: Of each search, opening included where the index had changed.
        faults: Torn reads and errors, in words.
    """

    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def read(self, snapshot: Snapshot, encoder: HashEncoder) -> Snapshot:
        """One search in what is live now."""
        begin = time.perf_counter()
        try:
            if not snapshot.is_current():
                snapshot = Snapshot.open(snapshot.root)
            (hits,) = search(snapshot, encoder, [QUESTION], k=2 * DOCUMENTS)
            editions = {edition for hit in hits for edition in re.findall(r"edition (\d+)", hit.text)}
            if len(hits) != 2 * DOCUMENTS or len(editions) != 1:
                self.faults.append(f"{len(hits)} hits of editions {sorted(editions)} in {snapshot.id}")
        except Exception as error:
            self.faults.append(repr(error))
        self.seconds.append(time.perf_counter() - begin)
        return snapshot


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


def run(place: Path, flips: int, threads: int = 2) -> tuple[Readings, Readings, Readings]:
    """Flip under readers.

    Returns:
        What readers in threads saw while nothing was written, and while it was; and what another process saw.
    """
    root, folder, encoder = place / "index", place / "documents", HashEncoder(WordTokenizer())
    for edition in (1000, 2000):
        write_edition(folder, edition)
        refresh(root, folder, encoder)
    quiet, busy = Readings(), Readings()
    snapshot = Snapshot.open(root)
    for _ in range(200):
        snapshot = quiet.read(snapshot, encoder)
    done = threading.Event()

    def readers() -> None:
        held = Snapshot.open(root)
        while not done.wait(0.001):  # a reader that never rests would starve the writer of the same process
            held = busy.read(held, encoder)

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(root)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "reading\n"
        started = [threading.Thread(target=readers) for _ in range(threads)]
        for thread in started:
            thread.start()
        try:
            for number in range(flips):
                flip(root, folder, encoder, number)
        finally:
            done.set()
            for thread in started:
                thread.join()
        out, _ = other.communicate("")
    elsewhere = Readings()
    for line in out.splitlines():
        kind, _, value = line.partition(" ")
        if kind == "seconds":
            elsewhere.seconds.append(float(value))
        else:
            elsewhere.faults.append(value)
    return quiet, busy, elsewhere


def read_until_told(root: Path) -> None:
    """The other process: searches until its input ends, then prints what it saw."""
    readings, encoder = Readings(), HashEncoder(WordTokenizer())
    snapshot = readings.read(Snapshot.open(root), encoder)
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    done = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    while not done.wait(0.001):
        snapshot = readings.read(snapshot, encoder)
    sys.stdout.writelines(f"seconds {value}\n" for value in readings.seconds)
    sys.stdout.writelines(f"fault {value}\n" for value in readings.faults)


if __name__ == "__main__":
    read_until_told(Path(sys.argv[1]))
