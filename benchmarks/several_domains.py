"""What two domains over one base model take in memory: in one server, which shares the engine, and in one server each.

    python benchmarks/several_domains.py [--json FILE]

Memory is the proportional set size of a server with all its processes, after it has answered a question of each of its
domains; the two servers run at the same time, so that what they share by chance is counted once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from stages import tree_pss
from start_up import QUESTION, domain, serving

NAMES = ("ferries", "buses")


def mib(servers: Sequence[Sequence[Path]]) -> float:
    """Of all these servers, each over its configurations, when all of them have answered."""
    with ExitStack() as stack:
        started = [stack.enter_context(serving(configs)) for configs in servers]
        for _, address in started:
            models = [one["id"] for one in httpx.get(f"{address}/v1/models").json()["data"]]
            for model in models:
                asked = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16}
                httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=300.0).raise_for_status()
        return round(sum(tree_pss(server.pid) for server, _ in started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        configs = [domain(Path(folder) / name, options.model, name) for name in NAMES]
        found = {
            "one domain, one server": mib([configs[:1]]),
            "two domains, one server": mib([configs]),
            "two domains, two servers": mib([[config] for config in configs]),
        }
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
