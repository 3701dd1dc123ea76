"""What the endpoint adds to vLLM: time to first token, whole-answer time and CPU, beside vLLM's own server.

Both serve the same model with the same flags, one process each, and are asked the same prompts in turns, so that the
load of the machine falls on both alike. `prompt-only` is compared: what retrieval costs is a matter of the index.

    python benchmarks/serving_ttft.py [--model NAME] [--requests 40] [--concurrency 1,4] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from index.encoders.precision import native_format
from ragft.config import EngineSection
from ragft.models import resolve_model
from ragft.prompts import user_turn
from serving.app import listen

SYSTEM = "You answer questions about the documents of this domain. If you do not know, say so."
SETTINGS = EngineSection(dtype=native_format(), kv_cache_mib=256, max_num_seqs=16)
TOKENS = 16


@dataclass(frozen=True)
class Row:
    """One server at one concurrency; times in milliseconds.

    Attributes:
        cpu: of the process that speaks HTTP, per request; the model runs in other processes.
    """

    server: str
    concurrency: int
    requests: int
    ttft_p50: float
    ttft_p95: float
    total_p50: float
    cpu: float


@dataclass
class Server:
    """A process that serves."""

    name: str
    url: str
    model: str
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def process(name: str, command: list[str], port: int, model: str, health: str) -> Iterator[Server]:
    """A server in a process of its own, from when it is ready."""
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 900  # on a busy machine, too
        while True:
            try:
                if httpx.get(url + health).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name} did not start: {' '.join(command)}")
            time.sleep(0.5)
        yield Server(name, url, model, started.pid)
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(40)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def raw_command(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", "raw", "--host", "127.0.0.1", "--port", str(port), "--dtype", SETTINGS.dtype),
        *("--max-model-len", str(SETTINGS.max_model_len), "--max-num-seqs", str(SETTINGS.max_num_seqs)),
        *("--kv-cache-memory-bytes", str(SETTINGS.kv_cache_mib * 2**20), "--enforce-eager", "--seed", "0"),
        *("--generation-config", "vllm", "--disable-uvicorn-access-log"),
    ]


def ours_command(folder: Path, port: int, workspace: str) -> list[str]:
    values = {
        "name": "benchmark",
        "model": {"base": str(folder)},
        "workspace": workspace,
        "prompt": {"system": SYSTEM},
        "engine": SETTINGS.model_dump(),
        "serve": {"setups": ["prompt-only"], "port": port},
    }
    return [sys.executable, __file__, "--serve", json.dumps(values)]


async def ask(client: httpx.AsyncClient, server: Server, number: int) -> tuple[float, float]:
    """Seconds to the first token and to the last."""
    question = f"Question {number}: what is the capital of France, and what is {number} plus {number}?"
    turn = user_turn(question) if server.model == "raw" else question
    body = {
        "model": server.model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": turn}],
        "stream": True,
        "temperature": 0,
        "max_tokens": TOKENS,
        "ignore_eos": True,
    }
    begin = time.perf_counter()
    first = None
    async with client.stream("POST", server.url + "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if first is None and '"content":"' in line and '"content":""' not in line:
                first = time.perf_counter()
    assert first is not None, "no token came"
    return first - begin, time.perf_counter() - begin


async def measure(servers: list[Server], concurrency: int, requests: int) -> list[Row]:
    """The servers in turns, a few requests each."""
    times: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    cpu = dict.fromkeys(times, 0.0)
    number = 0
    async with httpx.AsyncClient(timeout=120) as client:
        for server in servers:
            await asyncio.gather(*(ask(client, server, -place) for place in range(1, concurrency + 1)))
        while min(len(found) for found in times.values()) < requests:
            numbers = range(number, number + 2 * concurrency)
            number += 2 * concurrency
            # Who begins changes, so that neither always finds the machine warm.
            for server in servers if number % (4 * concurrency) else servers[::-1]:
                before = server.cpu_seconds()
                for start in range(0, len(numbers), concurrency):
                    batch = numbers[start : start + concurrency]
                    times[server.name] += await asyncio.gather(*(ask(client, server, one) for one in batch))
                cpu[server.name] += server.cpu_seconds() - before
    return [_row(server.name, concurrency, times[server.name], cpu[server.name]) for server in servers]


def _row(name: str, concurrency: int, times: list[tuple[float, float]], cpu: float) -> Row:
    ttft = sorted(first * 1000 for first, _ in times)
    return Row(
        server=name,
        concurrency=concurrency,
        requests=len(times),
        ttft_p50=round(statistics.median(ttft), 2),
        ttft_p95=round(ttft[int(0.95 * (len(ttft) - 1))], 2),
        total_p50=round(statistics.median(total * 1000 for _, total in times), 2),
        cpu=round(cpu * 1000 / len(times), 2),
    )


def _serve(text: str) -> None:
    from ragft.config import Config
    from ragft.console import Reporter
    from ragft.stages.application import Application
    from serving.app import serve

    serve(Application(Config.model_validate_json(text), Reporter()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--requests", type=int, default=40, help="per server and concurrency")
    parser.add_argument("--concurrency", default="1,4")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve)
        return
    folder = resolve_model(options.model)
    rows: list[Row] = []
    ours, raw = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory() as workspace,
        process("ragft", ours_command(folder, ours, workspace), ours, "prompt-only", "/health/ready") as one,
        process("vllm", raw_command(folder, raw), raw, "raw", "/health") as other,
    ):
        for concurrency in map(int, options.concurrency.split(",")):
            rows += asyncio.run(measure([one, other], concurrency, options.requests))
    print(f"{'server':8}{'c':>4}{'n':>6}{'TTFT p50':>11}{'p95':>9}{'total p50':>12}{'CPU/request':>14}   (ms)")
    for row in rows:
        print(
            f"{row.server:8}{row.concurrency:4}{row.requests:6}{row.ttft_p50:11.1f}{row.ttft_p95:9.1f}"
            f"{row.total_p50:12.1f}{row.cpu:14.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
