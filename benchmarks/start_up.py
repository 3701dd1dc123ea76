"""What `ragft ask` and the start of `ragft serve` take, in processor seconds of all their processes and by the clock.

A domain of a few pages is made, and its index built, before anything is measured. Of two commits:

    python benchmarks/compare.py --before REV --rounds 3 -- start_up.py
    python benchmarks/start_up.py [--command ask,serve] [--json FILE]

Compiled modules are used, as everywhere but where PYTHONDONTWRITEBYTECODE is set on a fresh installation: there each
process compiles vLLM and torch anew. The first run on a machine that has not imported them yet is not representative.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import yaml

QUESTION = "When does line 3 leave?"
RAGFT = [sys.executable, "-m", "ragft"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
LIMIT = 3600.0  # seconds; only ends what hangs


def domain(folder: Path, model: str, name: str = "ferries") -> Path:
    """The configuration of a domain of six pages, whose index is built."""
    (folder / "documents").mkdir(parents=True)
    for line in range(1, 7):
        text = f"# Line {line}\n\nThe ferry of line {line} leaves at {6 + line}:15. A ticket costs {3 * line} euros.\n"
        (folder / "documents" / f"line{line}.md").write_text(text, encoding="utf-8")
    values = {
        "name": name,
        "workspace": "out",
        "model": {"base": model},
        "prompt": {"system": "You answer questions about the ferries. If you do not know, say so."},
        "index": {"documents": {"folder": "documents"}, "search": {"top_k": 2}},
        "serve": {"setups": ["prompt-only", "rag-only"], "port": 0},
    }
    path = folder / "ragft.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    subprocess.run([*RAGFT, "index", "build", "-c", str(path)], env=ENVIRONMENT, check=True, capture_output=True)
    return path


def ask(config: Path) -> dict[str, float]:
    """One question, from the command to its end."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*RAGFT, "ask", QUESTION, "--setup", "rag-only", "-c", str(config)]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor seconds": round(processor, 2), "seconds": round(seconds, 2)}


def serve(config: Path) -> dict[str, float]:
    """The start of the endpoint, until it says that it is ready."""
    begin = time.perf_counter()
    with serving([config]) as (server, _):
        seconds = time.perf_counter() - begin
        times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    processor = sum(one.user + one.system + one.children_user + one.children_system for one in times)
    return {"processor seconds": round(processor, 2), "seconds": round(seconds, 2)}


@contextmanager
def serving(configs: Sequence[Path]) -> Iterator[tuple[psutil.Process, str]]:
    """An endpoint over one or several configurations that is ready, and its address; ended afterwards."""
    end = time.monotonic() + LIMIT
    log = configs[0].parent / "serve.log"
    options = [word for config in configs for word in ("-c", str(config))]
    with log.open("w") as stderr:
        started = subprocess.Popen([*RAGFT, "serve", *options], env=ENVIRONMENT, stdout=stderr, stderr=stderr)
    server = psutil.Process(started.pid)
    try:
        while (address := _ready_at(server)) is None:
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit(log.read_text())
            time.sleep(0.5)
        yield server, address
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(LIMIT)


def _ready_at(server: psutil.Process) -> str | None:
    """Where the endpoint answers that it is ready, on the port that it chose."""
    try:
        ports = [one.laddr.port for one in server.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        for address in (f"http://127.0.0.1:{port}" for port in ports):
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return address
    except (httpx.HTTPError, psutil.Error):
        pass
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--command", default="ask,serve", help="what is measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = domain(Path(folder), options.model)
        found = {name: {"ask": ask, "serve": serve}[name](config) for name in options.command.split(",")}
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
