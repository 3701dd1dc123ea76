"""One model on two real vLLM servers of this machine, one of them killed under load.

    python benchmarks/remote.py [--model MODEL] [--requests N]

Starts two servers of vLLM's own, asks both through `engine.backend: remote` with so many streams at once, kills the
server that has most of them, and starts it again. Prints how many requests were answered by whom, how many failed, and
how long the pool took to notice both. A stream that had begun on the killed server cannot be saved; every other
request must be answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import httpx
from rich.console import Console

from ragft.config import EngineSection
from ragft.engine.base import ChatRequest
from ragft.engine.pool import Member, PoolEngine
from ragft.errors import RagftError
from ragft.models import resolve_model
from ragft.prompts import conversation

AT_ONCE, TOKENS = 8, 24
console = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="as model.base")
    parser.add_argument("--requests", type=int, default=160)
    options = parser.parse_args()
    folder = resolve_model(options.model)
    ports = [_free_port(), _free_port()]
    servers = [start(folder, port) for port in ports]
    try:
        for port in ports:
            _wait(port)
        asyncio.run(measure(folder, ports, servers, options.requests))
    finally:
        for server in servers:
            _kill(server)


async def measure(folder: Path, ports: list[int], servers: list[subprocess.Popen[bytes]], requests: int) -> None:
    """Asks, kills, starts again, and prints what came of it."""
    named = [{"url": f"http://127.0.0.1:{port}/v1"} for port in ports]
    settings = {"backend": "remote", "max_model_len": 1024, "servers": {"tuned": named}}
    engine = PoolEngine(folder, EngineSection.model_validate(settings))
    await engine.start()
    outcomes = {"answered": 0, "cut after their first token": 0, "failed before it": 0}
    todo, killed, noticed = iter(range(requests)), 0.0, 0.0

    async def ask_on() -> None:
        for number in todo:
            begun = False
            messages = conversation(f"You are desk {number % 16}.", f"What do you know about the number {number}?")
            try:
                request = ChatRequest(messages, {"max_tokens": TOKENS, "ignore_eos": True})
                async with aclosing(engine.stream(request)) as chunks:
                    async for _ in chunks:
                        begun = True
                outcomes["answered"] += 1
            except RagftError as error:
                outcomes["cut after their first token" if begun else "failed before it"] += 1
                console.print(f"request {number}: {error}", markup=False)

    async def kill_one() -> Member:
        nonlocal killed, noticed
        while outcomes["answered"] < requests // 3:
            await asyncio.sleep(0.05)
        victim = max(engine.members, key=lambda member: member.running)
        killed = time.perf_counter()
        _kill(servers[engine.members.index(victim)])
        while not victim.down:
            await asyncio.sleep(0.01)
        noticed = time.perf_counter()
        return victim

    begin = time.perf_counter()
    victim, *_ = await asyncio.gather(kill_one(), *(ask_on() for _ in range(AT_ONCE)))
    console.print(f"{requests} streams, {AT_ONCE} at once, in {time.perf_counter() - begin:.1f} s: {outcomes}")
    console.print(f"the death of one server was noticed after {noticed - killed:.2f} s")
    place = engine.members.index(victim)
    servers[place] = start(folder, ports[place])
    _wait(ports[place])
    ready = time.perf_counter()
    while victim.down:
        await asyncio.sleep(0.05)
    console.print(f"it was asked again {time.perf_counter() - ready:.2f} s after it was ready")
    await engine.close()


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """vLLM's own server, as the documentation of ragft says to start it."""
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
        "--served-model-name", "desk", "--generation-config", "vllm", "--host", "127.0.0.1", "--port", str(port),
        "--max-model-len", "1024", "--enforce-eager", "--dtype", "auto", "--uvicorn-log-level", "warning",
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait(port: int) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    sys.exit(f"The server on port {port} did not start.")


def _kill(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
