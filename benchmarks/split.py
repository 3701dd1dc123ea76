"""What an experiment in traffic (`serve.split`) costs the process that speaks HTTP, in processor time.

The same application, with metrics, over an engine that answers at once, is asked in turns for a setup by its name and
for an experiment whose two arms are that setup, so that an arm is chosen and an outcome is scored, written and forced
to disk; the thread that writes is counted, too. Requests go straight into the ASGI application, as in `telemetry.py`.

    python benchmarks/split.py [--requests 400] [--rounds 9] [--tokens 64]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

from litestar import Litestar
from telemetry import KEY, Quick, ask

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.serving import Fakes, make_application

from serving.app import create_app
from serving.security import Keys

ARMS = {name: {"setup": "hybrid", "share": 0.5} for name in ("now", "again")}


def make(folder: Path, tokens: int) -> Litestar:
    """An application with an experiment, which serves its setups by their names, too."""
    fakes = Fakes(Quick(["word "] * (tokens - 1) + ["[1]"]))
    application = make_application(folder, split={"arms": ARMS})
    return create_app(application, load=fakes.load, keys=Keys.load(None, {"RAGFT_API_KEY": KEY}))


async def microseconds(app: Litestar, stream: bool, model: str, requests: int) -> float:
    """Processor time of a request and of recording it, in microseconds."""
    recorder = app.state.domains.deployments[0].split._recorder
    begin = time.process_time()
    for _ in range(requests):
        await ask(app, stream, model)
    await asyncio.to_thread(recorder.flush)
    return (time.process_time() - begin) / requests * 1e6


async def measure(arguments: argparse.Namespace) -> None:
    models = ("hybrid", "split")
    spent: dict[tuple[str, bool], list[float]] = {(model, stream): [] for model in models for stream in (False, True)}
    with tempfile.TemporaryDirectory() as folder:
        app = make(Path(folder), arguments.tokens)
        (deployment,) = app.state.domains.deployments
        await deployment._start()
        for number in range(arguments.rounds + 1):
            for (model, stream), times in spent.items():
                taken = await microseconds(app, stream, model, arguments.requests)
                if number:  # the first round warms up
                    times.append(taken)
        await deployment.split.close()
    for stream in (False, True):
        off, on = spent["hybrid", stream], spent["split", stream]
        added = [mine - theirs for mine, theirs in zip(on, off, strict=True)]
        print(
            f"{'streamed' if stream else 'whole'} answers of {arguments.tokens} tokens: "
            f"without {statistics.median(off):.0f} us ({min(off):.0f} to {max(off):.0f}), "
            f"with {statistics.median(on):.0f} us ({min(on):.0f} to {max(on):.0f}), "
            f"{statistics.median(added):+.0f} us ({min(added):+.0f} to {max(added):+.0f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=64)
    logging.getLogger("ragft").setLevel(logging.ERROR)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
