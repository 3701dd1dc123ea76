"""The promise of feedback: what was acknowledged is on disk, once, whoever is killed; and any amount of it is exported.

Several processes write feedback into one workspace, as servers do, and are killed with SIGKILL at random moments; each
one that was killed is started again, and says once more what had not been acknowledged. Compared are what was
acknowledged and what the database holds. Then so much feedback is exported, each time by a process of its own.

    python benchmarks/feedback.py [--feedbacks 10000] [--writers 8] [--kills 20] [--export 10000,100000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragft.config import Config
from ragft.console import Reporter
from ragft.feedback.store import Answered, FeedbackStore, Said
from ragft.stages.application import Application
from ragft.stages.feedback import export

QUESTION = "When does the last ferry of line 3 leave on a Sunday in winter, and what does it cost with a bicycle? " * 4


@dataclass
class Writer:
    """A place among the writers, whichever process has it at the moment.

    Attributes:
        said: numbers that were acknowledged.
        kills: how many of its processes were killed.
    """

    name: str
    workspace: Path
    count: int
    said: set[int] = field(default_factory=set)
    kills: int = 0
    process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Until all is said."""
        while len(self.said) < self.count:
            first = max(self.said, default=-1) + 1
            command = [sys.executable, __file__, "--write", str(self.workspace), self.name, str(first), str(self.count)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as self.process:
                assert self.process.stdout is not None
                # A line that a kill has cut is no acknowledgement.
                self.said.update(int(line) for line in self.process.stdout if line.endswith("\n"))
            self.kills += self.process.returncode == -signal.SIGKILL


def write(workspace: Path, name: str, first: int, count: int) -> None:
    with FeedbackStore(workspace) as store:
        for number in range(first, count):
            answered = Answered(answer_id=f"{name}-{number}", setup="hybrid", model_version="m", question=QUESTION)
            store.add(answered, name, Said(thumb="bad", corrected_answer="At nine.", source="ferries.md"))
            print(number, flush=True)


def killed(workspace: Path, feedbacks: int, writers: int, kills: int, seed: int) -> dict[str, Any]:
    """What was lost and doubled."""
    draw = random.Random(seed)
    places = [Writer(f"w{number}", workspace, feedbacks // writers) for number in range(writers)]
    threads = [threading.Thread(target=one.run) for one in places]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and (done := sum(one.kills for one in places)) < kills:
        # Spread over the whole time: the next one when its share of all has been said.
        if sum(len(one.said) for one in places) >= feedbacks * (done + draw.random()) / (kills + 1):
            victim = draw.choice(places).process
            if victim is not None and victim.poll() is None:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
        time.sleep(draw.random() * 0.2)
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    with FeedbackStore(workspace) as store:
        kept = Counter(one.answer_id for one in store.each())
    acknowledged = {f"{one.name}-{number}" for one in places for number in one.said}
    return {
        "acknowledged": len(acknowledged), "kept": kept.total(), "kills": sum(one.kills for one in places),
        "lost": len(acknowledged - kept.keys()), "doubled": sum(count > 1 for count in kept.values()),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def exported(folder: Path, count: int) -> dict[str, Any]:
    """Seconds and memory of an export of so many."""
    workspace = folder / f"export-{count}"
    with FeedbackStore(workspace) as store, store.writing() as file:
        columns = "id, answer_id, time, question, caller, thumb, setup, model_version, history, passages"
        file.executemany(
            f"INSERT INTO feedback ({columns}) VALUES (?, ?, ?, ?, 'c', 'bad', 'hybrid', 'm', '[]', '[]')",  # noqa: S608
            ((f"f{number}", f"a{number}", time.time(), QUESTION) for number in range(count)),
        )
    command = [sys.executable, __file__, "--export-from", str(workspace)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def export_from(workspace: Path) -> None:
    import resource

    config = Config.model_validate({"name": "ferries", "workspace": str(workspace)})
    app = Application(config, Reporter())
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    count = export(app, workspace / "feedback.jsonl")
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = (workspace / "feedback.jsonl").stat().st_size
    figures = {
        "feedbacks": count,
        "seconds": round(seconds, 2),
        "more_mib": (after - before) / 1024,
        "mib": size / 2**20,
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feedbacks", type=int, default=10_000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=lambda text: [int(one) for one in text.split(",")], default=[10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--export-from", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        workspace, name, first, count = options.write
        write(Path(workspace), name, int(first), int(count))
        return
    if options.export_from:
        export_from(options.export_from)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "killed": killed(Path(folder), options.feedbacks, options.writers, options.kills, options.seed),
            "export": [exported(Path(folder), count) for count in options.export],
        }
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
