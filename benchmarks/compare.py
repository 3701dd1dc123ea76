"""Another benchmark on two commits in turns: every figure of the working tree divided by that of the commit before.

    python benchmarks/compare.py --before REV [--rounds 5] [--json FILE] -- refresh.py --chunks 10000 --rounds 3

The commit is checked out beside the repository for the time of the comparison; both trees use this interpreter, and
each runs its own copy of the benchmark, a process per round. Who begins changes from round to round, so that other load
meets both. Printed are the medians over the rounds, their ratio, and the least and the largest ratio of a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent


def figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a benchmark's JSON, with where it is."""
    if isinstance(value, dict):
        # Rows that name themselves are told by their names, not by their places.
        names = [str(value[key]) for key in ("name", "who", "server", "kind", "chunks", "concurrency") if key in value]
        for key, item in value.items():
            yield from figures(item, "/".join(part for part in (path, *names, str(key)) if part))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from figures(item, path if isinstance(item, dict) else f"{path}/{place}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def measure(tree: Path, command: list[str]) -> dict[str, float]:
    """The figures of one run in a tree."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        script, *arguments = command
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        run = [sys.executable, str(tree / "benchmarks" / script), *arguments, "--json", file.name]
        subprocess.run(run, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
        return dict(figures(json.loads(Path(file.name).read_text(encoding="utf-8"))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("command", nargs="+", help="a script of benchmarks/ with its arguments, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(before), options.before], check=True)
        try:
            trees = {"before": before, "now": ROOT}
            found: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
            for number in range(options.rounds):
                for name in sorted(trees, reverse=number % 2 == 1):
                    found[name].append(measure(trees[name], options.command))
                    print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    table = Table("figure", "before", "now", "now / before", "least to largest")
    for name in found["now"][0]:
        old, new = ([run[name] for run in found[side] if name in run] for side in ("before", "now"))
        if old and min(old) > 0:
            ratios = [b / a for a, b in zip(old, new, strict=True)]
            medians = statistics.median(old), statistics.median(new)
            ratio = f"{medians[1] / medians[0]:.3f}"
            table.add_row(name, *(f"{m:.5g}" for m in medians), ratio, f"{min(ratios):.3f} to {max(ratios):.3f}")
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
