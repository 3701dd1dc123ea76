"""Wall time and peak memory of every stage of the demo, each in a process of its own, in a fresh workspace.

    python benchmarks/stages.py [--limit 150] [--workspace DIR] [--json FILE]

Memory is the proportional set size (PSS) summed over the stage's process and all of its children, so that pages that
vLLM's processes share count once; sampled every two seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "lifecycle.yaml"
RAGFT = Path(sys.executable).with_name("ragft")
STAGES = (
    ("index build", ["index", "build"]),
    ("data mix", ["data", "mix"]),
    ("finetune", ["finetune"]),
    ("merge and proof", ["merge"]),
    ("evaluate", ["evaluate"]),
    ("run, all up to date", ["run"]),
)
# To add up a process's pages holds up its own page faults: four times a second made training a third slower.
SAMPLE_SECONDS = 2.0


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak PSS in MiB of a command; ends the benchmark if it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, tree_pss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    done.set()
    watcher.join()
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - begin, peak


def tree_pss(pid: int) -> float:
    """MiB of a process and its children; those that end meanwhile count nothing."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=150, help="questions of the evaluation (default: 150)")
    parser.add_argument("--workspace", type=Path, help="fresh folder for the outputs (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workspace = arguments.workspace or Path(temporary) / "lifecycle"
        common = ["-c", str(CONFIG), "--set", f"workspace={workspace}", "--set", f"evaluate.limit={arguments.limit}"]
        figures = {name: measure([str(RAGFT), *words, *common]) for name, words in STAGES}
    table = Table("stage", "seconds", "peak MiB")
    for name, (seconds, peak) in figures.items():
        table.add_row(name, f"{seconds:.1f}", f"{peak:.0f}")
    Console().print(table)
    if arguments.json:
        rows = {
            name: {"seconds": round(seconds, 1), "peak_mib": round(peak)} for name, (seconds, peak) in figures.items()
        }
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
