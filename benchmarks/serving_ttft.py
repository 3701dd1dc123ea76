"""What the endpoint adds to vLLM: processor time of the process that speaks HTTP, time to the first token, and
throughput, beside vLLM's own server.

Both serve the same model with the same flags and are asked the same prompts in blocks, in turns, so that the load of
the machine falls on both alike; every block gives a ratio. `prompt-only` is compared: what retrieval costs is a matter
of the index. ragft checks a key, keeps a rate limit of requests and tokens for it, and counts its metrics; vLLM's
server counts its metrics and checks no key.

    python benchmarks/serving_ttft.py [--model NAME] [--requests 32] [--blocks 5] [--concurrency 1,16] [--json FILE]
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from index.encoders.precision import native_format
from ragft.config import EngineSection
from ragft.models import resolve_model
from ragft.prompts import user_turn
from serving.app import listen
from serving.security import digest_of

SYSTEM = "You answer questions about the documents of this domain. If you do not know, say so."
SETTINGS = EngineSection(dtype=native_format(), kv_cache_mib=256, max_num_seqs=16)
TOKENS = 32
KEY = "key-of-the-benchmark"
NAMES = ("ragft", "vLLM")


@dataclass(frozen=True)
class Block:
    """One server's part of a block at one concurrency.

    Attributes:
        request_ms: processor time of the process that speaks HTTP for an answer that is not streamed; the model runs
            in another process.
        token_us: the same for a token of a streamed answer, the request's share included.
        ttft_ms: time to the first token of each streamed answer.
        total_ms: time to its last.
        throughput: tokens a second of all streamed answers together.
    """

    server: str
    concurrency: int
    request_ms: float
    token_us: float
    ttft_ms: list[float]
    total_ms: list[float]
    throughput: float


@dataclass
class Server:
    """A process that serves."""

    name: str
    url: str
    model: str
    pid: int

    def cpu_seconds(self) -> float:
        # The clock that clock_getcpuclockid(3) names, in nanoseconds. /proc/PID/stat may count a whole tick of 10 ms
        # for whoever runs at it, which is far off for a process that wakes up for less than one.
        return time.clock_gettime(~self.pid << 3 | 2)


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
    keys = Path(workspace) / "keys.txt"
    keys.write_text(f"chat {digest_of(KEY.encode())} requests=1000000 tokens=1000000000\n", encoding="utf-8")
    values = {
        "name": "benchmark",
        "model": {"base": str(folder)},
        "workspace": workspace,
        "prompt": {"system": SYSTEM},
        "engine": SETTINGS.model_dump(),
        "serve": {"setups": ["prompt-only"], "port": port, "keys": str(keys)},
    }
    return [sys.executable, __file__, "--serve", json.dumps(values)]


async def ask(client: httpx.AsyncClient, server: Server, number: int, *, stream: bool) -> tuple[float, float]:
    """Milliseconds to the first token, where the answer is streamed, and to the last."""
    question = f"Question {number}: what is the capital of France, and what is {number} plus {number}?"
    turn = user_turn(question) if server.model == "raw" else question
    body = {
        "model": server.model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": turn}],
        "stream": stream,
        "temperature": 0,
        "max_tokens": TOKENS,
        "ignore_eos": True,
    }
    begin = time.perf_counter()
    first = 0.0
    async with client.stream("POST", server.url + "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if stream and not first and '"content":"' in line and '"content":""' not in line:
                first = time.perf_counter() - begin
    assert bool(first) == stream, "no token came"
    return first * 1000, (time.perf_counter() - begin) * 1000


async def measure(servers: Sequence[Server], concurrency: int, requests: int, blocks: int) -> list[Block]:
    """The servers in turns, block by block."""
    found = []
    headers = {"Authorization": f"Bearer {KEY}"}
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(timeout=600, headers=headers, limits=limits) as client:

        async def several(server: Server, numbers: Sequence[int], *, stream: bool) -> list[tuple[float, float]]:
            times = []
            for start in range(0, len(numbers), concurrency):
                batch = numbers[start : start + concurrency]
                times += await asyncio.gather(*(ask(client, server, one, stream=stream) for one in batch))
            return times

        for server in servers:
            for stream in (False, True):  # warms up
                await several(server, range(-concurrency, 0), stream=stream)
        for number in range(blocks):
            numbers = range(number * requests, (number + 1) * requests)
            # Who begins changes, so that neither always finds the machine warm.
            for server in servers if number % 2 else servers[::-1]:
                start = server.cpu_seconds()
                await several(server, numbers, stream=False)
                between, begin = server.cpu_seconds(), time.perf_counter()
                times = await several(server, numbers, stream=True)
                seconds, tokens = time.perf_counter() - begin, requests * TOKENS
                found.append(
                    Block(
                        server=server.name,
                        concurrency=concurrency,
                        request_ms=(between - start) * 1e3 / requests,
                        token_us=(server.cpu_seconds() - between) * 1e6 / tokens,
                        ttft_ms=[first for first, _ in times],
                        total_ms=[total for _, total in times],
                        throughput=tokens / seconds,
                    )
                )
    return found


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


FIGURES: dict[str, Callable[[Block], float]] = {
    "processor per whole answer, ms": lambda block: block.request_ms,
    "processor per streamed token, us": lambda block: block.token_us,
    "tokens per second": lambda block: block.throughput,
    "first token p50, ms": lambda block: statistics.median(block.ttft_ms),
    "streamed answer p50, ms": lambda block: statistics.median(block.total_ms),
}


def report(blocks: Sequence[Block], concurrency: int) -> None:
    """Medians over the blocks, and how the ratios of the blocks spread."""
    ours, raw = ([one for one in blocks if (one.server, one.concurrency) == (name, concurrency)] for name in NAMES)
    for figure, of in FIGURES.items():
        ratios = [of(one) / of(other) for one, other in zip(ours, raw, strict=True)]
        medians = [statistics.median(map(of, side)) for side in (ours, raw)]
        print(
            f"{concurrency:3}  {figure:34}{medians[0]:10.1f}{medians[1]:10.1f}{statistics.median(ratios):8.3f}"
            f"  ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    tails = [percentile([first for one in side for first in one.ttft_ms], 0.99) for side in (ours, raw)]
    difference = f"{tails[0] - tails[1]:+8.1f}  (difference)"
    print(f"{concurrency:3}  {'first token p99 of all, ms':34}{tails[0]:10.1f}{tails[1]:10.1f}{difference}")


def _serve(text: str) -> None:
    from ragft.config import Config
    from ragft.console import Reporter
    from ragft.stages.application import Application
    from serving.app import serve

    serve(Application(Config.model_validate_json(text), Reporter()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--requests", type=int, default=32, help="whole and streamed, per server and block")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--concurrency", default="1,16")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve)
        return
    folder = resolve_model(options.model)
    blocks: list[Block] = []
    ours, raw = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory() as workspace,
        process(NAMES[0], ours_command(folder, ours, workspace), ours, "prompt-only", "/health/ready") as one,
        process(NAMES[1], raw_command(folder, raw), raw, "raw", "/health") as other,
    ):
        print(f"{'at once':5}{'':32}{NAMES[0]:>10}{NAMES[1]:>10}{'ratio':>8}  (of the blocks)")
        for concurrency in map(int, options.concurrency.split(",")):
            blocks += asyncio.run(measure([one, other], concurrency, options.requests, options.blocks))
            report(blocks, concurrency)
    if options.json:
        options.json.write_text(json.dumps([asdict(block) for block in blocks], indent=2) + "\n")


if __name__ == "__main__":
    main()
