"""The promise of `ragft run`: killed at random moments, it goes on, and ends with what an undisturbed run ends with.

A small life-cycle desk is run once undisturbed, and then with SIGKILLs until there were enough of them: a run that ends
before its moment is compared, and the next begins in a new folder. Every other kill hits all processes at once, as a
power cut does, the rest hit only the first, as the kernel does when memory is short: vLLM's processes must then end by
themselves. Compared are the bytes of adapter and merged weights, the figures of the proof, every answer (greedy, in
float32) and every number of the comparison that is no time.

    python benchmarks/kill.py [--kills 20] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ragft.evaluate.metrics import METRICS

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.lifecycle import BUILT, Small, make_small, read_lines, start

SETTINGS = {**BUILT, "engine.dtype": "float32", "engine.max_tokens": 24}
LEAVING_SECONDS = 60.0
"""How long vLLM's processes may take to notice that the one which started them is gone."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Attributes:
        seconds: after the start of the process.
        target: `group` or `first`: all processes, or the one that started the others.
        stage: what was growing in the workspace.
        children: other processes, mostly of vLLM, that were there when the first was killed.
        leaving_seconds: until none of them was left.
        survivors: how many had to be ended by hand.
    """

    seconds: float
    target: str
    stage: str
    children: int
    leaving_seconds: float
    survivors: int


@dataclass
class Result:
    """All kills, and what differed from the undisturbed run at the end of each run."""

    undisturbed_seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    runs: int = 0
    differences: list[str] = field(default_factory=list)


def outcome(small: Small) -> dict[str, Any]:
    """All that must be the same whatever happened on the way."""
    workspace = small.workspace
    times = {name for name, metric in METRICS.items() if metric.unit == "ms"}
    found: dict[str, Any] = {"snapshot": (workspace / "index" / "CURRENT").read_text()}
    for pattern in ("adapters/*/adapter/*", "models/*/*.safetensors", "data/*/*.jsonl"):
        for path in sorted(workspace.glob(pattern)):
            found[str(path.relative_to(workspace))] = hashlib.sha256(path.read_bytes()).hexdigest()
    (model,) = workspace.glob("models/*/manifest.json")
    found["proof"] = json.loads(model.read_text())["figures"]
    (evaluation,) = workspace.glob("evaluations/*/comparison.json")
    found["answers"] = {
        f"{record['question_id']} {record['setup']}": record["answer"]
        for record in read_lines(evaluation.parent / "records.jsonl")
    }
    comparison = json.loads(evaluation.read_text())
    for metrics in (*comparison["setups"].values(), comparison["interaction"]):
        for name in times & metrics.keys():
            del metrics[name]
    comparison["pairs"] = [pair for pair in comparison["pairs"] if pair["metric"] not in times]
    return {**found, "comparison": comparison}


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Paths at which two nested values are not equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            yield from differences(expected.get(key), found.get(key), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{where}/{place}")
    elif expected != found:
        yield f"{where}: {expected!r} became {found!r}"[:300]


def processes(session: int) -> list[int]:
    """The living processes of a session. (vLLM renames its own, which wipes out their environment, a mark included.)"""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(of) == session and state not in "ZX":
            found.append(int(folder.name))
    return found


def stage_of(small: Small) -> str:
    """What a run was at, by what grows in its workspace."""
    growing = sorted(path.parent.name for path in small.workspace.glob("*/.*.growing"))
    if growing:
        return ", ".join(growing)
    done = [name for name in ("index", "data", "adapters", "models") if any(small.workspace.glob(f"{name}/[!.]*"))]
    return f"after {done[-1]}" if done else "beginning"


def killed(small: Small, moment: float, target: str) -> Kill | None:
    """Runs and kills after `moment` seconds; None if the run ended before.

    Raises:
        RuntimeError: the run failed by itself.
    """
    process = start("run", "-c", small.config, cwd=small.folder)
    try:
        _, err = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        pass
    else:
        if process.returncode != 0:
            raise RuntimeError(f"ragft run ended with {process.returncode}:\n{err[-2000:]}")
        return None
    stage, children = stage_of(small), len(processes(process.pid)) - 1
    if target == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    begin = time.monotonic()
    while (left := processes(process.pid)) and time.monotonic() - begin < LEAVING_SECONDS:
        time.sleep(0.05)
    leaving = time.monotonic() - begin
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    # Only now: their standard error is the pipe that this reads to its end.
    process.communicate()
    return Kill(round(moment, 1), target, stage, children, round(leaving, 2), len(left))


def measure(root: Path, kills: int, seed: int, console: Console) -> Result:
    """Kills until there were `kills`, and compares every run that ends."""
    result = Result()
    draw = random.Random(seed)
    calm = make_small(root / "undisturbed", products=6, examples=24, questions=12, settings=SETTINGS)
    begin = time.monotonic()
    if killed(calm, 3600, "group") is not None:
        raise RuntimeError("the undisturbed run took more than an hour")
    result.undisturbed_seconds = round(time.monotonic() - begin, 1)
    expected = outcome(calm)
    console.print(f"undisturbed: {result.undisturbed_seconds} s")
    while len(result.kills) < kills:
        small = calm.copy_to(root / f"run-{result.runs}")
        while True:
            enough = len(result.kills) >= kills
            moment = 3600.0 if enough else draw.uniform(1, result.undisturbed_seconds)
            kill = killed(small, moment, ("group", "first")[len(result.kills) % 2])
            if kill is None:
                break
            result.kills.append(kill)
            console.print(f"kill {len(result.kills)}: {kill}", soft_wrap=True)
        result.runs += 1
        result.differences += differences(expected, outcome(small), f"run {result.runs}")
    return result


def show(result: Result, console: Console) -> None:
    table = Table("kill", "after s", "whom", "at", "children", "gone after s", "left over")
    for number, kill in enumerate(result.kills, start=1):
        table.add_row(
            str(number), f"{kill.seconds:.1f}", kill.target, kill.stage, str(kill.children),
            f"{kill.leaving_seconds:.2f}", str(kill.survivors),
        )  # fmt: skip
    console.print(table)
    for line in result.differences:
        console.print(line, markup=False)
    survivors = sum(kill.survivors for kill in result.kills)
    console.print(
        f"{len(result.kills)} kills, {result.runs} runs finished; {len(result.differences)} differences from the "
        f"undisturbed run, {survivors} processes left over"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, help="write the result there as well")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="ragft-kill-") as root:
        result = measure(Path(root), arguments.kills, arguments.seed, console)
    show(result, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return 1 if result.differences or any(kill.survivors for kill in result.kills) else 0


if __name__ == "__main__":
    sys.exit(main())
