"""A thousand flips of an index under concurrent search: errors, torn reads, and what they cost the readers.

Two threads and another process search a thousand times a second at most, and open what is live whenever it changed,
while this process refreshes, compacts, deletes old snapshots and rolls back. Latencies are wall time, of the search and
of opening; the quiet ones were taken just before, without a writer and without other readers.

    python benchmarks/flips.py [--flips 1000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests" / "index"))

import flipping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        readings = dict(zip(("quiet", "threads", "process"), flipping.run(Path(place), options.flips), strict=True))
    results = {}
    for name, found in readings.items():
        milliseconds = 1e3 * np.array(found.seconds)
        p50, p99 = np.percentile(milliseconds, [50, 99]).round(2).tolist()
        results[name] = {"searches": len(milliseconds), "p50_ms": p50, "p99_ms": p99, "faults": len(found.faults)}
        sys.stdout.write(f"{name:8} {results[name]}\n")
        sys.stdout.writelines(f"  {fault}\n" for fault in found.faults[:5])
    if options.json:
        options.json.write_text(json.dumps({"flips": options.flips, **results}, indent=1))
    if any(found.faults for found in readings.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
