"""Ends writers of an index at every step that they take on disk: build, refresh, compact, gc and others.

Each kill is followed by a look: old or new index, whole, and the next refresh succeeds. See `tests/index/crashing.py`.

    python benchmarks/crashes.py [--every 1] [--mode both] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "tests" / "support" / "crashing.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--mode", choices=["kill", "power", "both"], default="both")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "all", "--every", str(options.every), "--mode", options.mode]
    results = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in running.stdout:
            done = json.loads(line)
            results.append(done)
            sys.stdout.write(f"{done['scenario']:36} {done['mode']:6} ended at {done['kills']:4} points, all whole\n")
            sys.stdout.flush()
    sys.stdout.write(f"{sum(done['kills'] for done in results)} kills in all\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    sys.exit(running.returncode)


if __name__ == "__main__":
    main()
