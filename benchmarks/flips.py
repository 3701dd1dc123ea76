"""A thousand flips of an index under concurrent search: errors, torn reads, and what they cost the readers.

Two threads of the writer's process and a thread of another one search a thousand times a second at most, first while
nothing is written, then while the index is refreshed, compacted, rolled back and rid of old snapshots. What becomes
live is opened aside and tried before searches take it, as the server does. Latencies of searches are wall time.

    python benchmarks/flips.py [--flips 1000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support import flipping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--quiet-seconds", type=float, default=20.0, help="searching before the first flip")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        readings = flipping.run(Path(place), options.flips, options.quiet_seconds)
    seconds = round(time.perf_counter() - begin - options.quiet_seconds, 1)
    results = {}
    for name, found in sorted(readings.items(), reverse=True):
        milliseconds = 1e3 * np.array(found.seconds)
        p50, p99 = np.percentile(milliseconds, [50, 99]).round(2).tolist()
        results[name] = {
            "searches": len(milliseconds),
            "p50_ms": p50,
            "p99_ms": p99,
            "snapshots_seen": found.snapshots,
            "faults": len(found.faults),
        }
        sys.stdout.write(f"{name:16} {results[name]}\n")
        sys.stdout.writelines(f"  {fault}\n" for fault in found.faults[:5])
    sys.stdout.write(f"{options.flips} flips in {seconds} s\n")
    if options.json:
        options.json.write_text(json.dumps({"flips": options.flips, "seconds": seconds, **results}, indent=1))
    if any(found.faults for found in readings.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
