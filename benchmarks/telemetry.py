"""What metrics, request logs and traces cost the process that speaks HTTP, in processor time.

The same application, over an engine that answers at once, is asked in turns without telemetry, with metrics, with JSON
logs besides, and with traces besides. Requests go straight into the ASGI application: no client and no socket is
measured. What vLLM's own frontend takes per request comes on top of every row, so the ratios here are upper bounds.

    python benchmarks/telemetry.py [--requests 400] [--rounds 7] [--tokens 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stderr
from pathlib import Path
from typing import Any

from litestar import Litestar

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.fakes import FakeEngine
from support.serving import Fakes, make_application

import serving.app
from serving.app import create_app
from serving.security import Keys
from serving.telemetry import Telemetry
from serving.telemetry.logs import logging_to_stderr
from serving.telemetry.tracing import Tracing

BODY = {"messages": [{"role": "user", "content": "What does a ticket cost on a Sunday?"}]}
KEY = "secret"


class Unseen(Telemetry):
    """No telemetry at all."""

    def pipeline(self, deployment: Any) -> Any:
        return deployment.ready()

    def around(self, app: Any, routes: Any) -> Any:
        return app


class Quick(FakeEngine):
    """Gives its tokens without a pause, and forgets what it was asked."""

    def _accept(self, request: Any) -> None: ...


def make(kind: str, folder: Path, tokens: int) -> Litestar:
    """An application over an engine that answers at once."""
    serving.app.Telemetry = Unseen if kind == "none" else Telemetry  # type: ignore[misc]
    fakes = Fakes(Quick(["word "] * (tokens - 1) + ["[1]"]))
    app = create_app(make_application(folder), load=fakes.load, keys=Keys.load(None, {"RAGFT_API_KEY": KEY}))
    if kind == "traces":
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
        app.state.telemetry.tracing = Tracing(provider)
    return app


async def ask(app: Litestar, stream: bool, model: str = "hybrid") -> None:
    """One request, read to its end."""
    body = json.dumps({**BODY, "model": model, "stream": stream}).encode()
    headers = {"host": "localhost", "content-type": "application/json", "authorization": f"Bearer {KEY}"}
    trace = {"traceparent": f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in {**headers, **trace}.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    given, statuses, ended = [{"type": "http.request", "body": body, "more_body": False}], [], asyncio.Event()

    async def receive() -> Any:
        if given:
            return given.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()  # a server says then that the client is gone

    await app(scope, receive, send)  # type: ignore[arg-type]
    assert statuses[0] == 200, statuses


async def microseconds(app: Litestar, stream: bool, requests: int) -> float:
    """Processor time of a request, in microseconds."""
    begin = time.process_time()
    for _ in range(requests):
        await ask(app, stream)
    return (time.process_time() - begin) / requests * 1e6


async def measure(arguments: argparse.Namespace) -> None:
    kinds = ("none", "metrics", "logs", "traces")
    spent: dict[tuple[str, bool], list[float]] = {(kind, stream): [] for kind in kinds for stream in (False, True)}
    with tempfile.TemporaryDirectory() as folder:
        apps = {kind: make(kind, Path(folder) / kind, arguments.tokens) for kind in kinds}
        for app in apps.values():
            await app.state.domains.deployments[0]._start()
        for number in range(arguments.rounds + 1):
            for (kind, stream), times in spent.items():
                with ExitStack() as logged:
                    if kind in ("logs", "traces"):
                        logged.enter_context(redirect_stderr(logged.enter_context(Path(os.devnull).open("w"))))
                        logged.enter_context(logging_to_stderr("json", "summary"))
                    taken = await microseconds(apps[kind], stream, arguments.requests)
                if number:  # the first round warms up
                    times.append(taken)
    for stream in (False, True):
        off = spent["none", stream]
        print(f"{'streamed' if stream else 'whole'} answers of {arguments.tokens} tokens")
        for kind in kinds:
            times = spent[kind, stream]
            ratio = statistics.median(mine / theirs for mine, theirs in zip(times, off, strict=True))
            added = statistics.median(mine - theirs for mine, theirs in zip(times, off, strict=True))
            print(
                f"  {kind:8} {statistics.median(times):7.0f} us ({min(times):.0f} to {max(times):.0f}), "
                f"{added:+.0f} us, x {ratio:.3f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    logging.getLogger("ragft").setLevel(logging.ERROR)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
