"""Ten thousand requests that no sound client sends: no 500, no hang, and nothing told that is not the client's.

The whole application runs behind uvicorn on a real socket, with a real index and encoder; **a stand-in answers in place
of the model**. A quarter of the requests, or `--schemathesis` of them, are what schemathesis makes of the server's own
OpenAPI document, half as it says and half against it; the rest are bodies with any value in any field, bytes that are
no UTF-8, no JSON, nested too deeply or cut off, content types, floods of headers, wrong lengths and chunks, bodies
that come slowly or never, pipelines, other protocols, and clients that close their writing half or reset the
connection (`tests/support/fuzzing.py`).

Each answer is judged: its status is documented and below 500, an error has the one form of errors and a bounded length,
and no body holds a path of this machine or a piece of a traceback. A connection must end within half a minute. In the
end the server must be ready, with no answer in progress, and nothing logged as an error.

    pip install --target TOOLS schemathesis
    PYTHONPATH=TOOLS python benchmarks/fuzz.py [--requests 10000] [--seed 0] [--schemathesis 0.25] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from index.encoders.encoder import Encoder
from ragft.models import resolve_encoder

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.fuzzing import HANG_SECONDS, KINDS, Answer, Fuzzed, fuzzed

WEIGHTS = {"slow": 0.02, "pipelines": 0.5, "fields": 2.0, "bytes of the body": 2.0}
"""How many of a kind, where it is not 1: what is slow on purpose takes its time, and a pipeline is several."""


class Run:
    """What was sent and what was wrong."""

    def __init__(self, server: Fuzzed, number: int) -> None:
        self.server, self.seed = server, number
        self.sent: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        judge = server.judge

        def counting(answer: Answer) -> list[str]:
            self.statuses[answer.status] += 1
            return judge(answer)

        server.judge = counting  # type: ignore[method-assign]

    def draw(self, strategy: st.SearchStrategy[Any], count: int, send: Callable[[Any], None]) -> None:
        """Sends `count` requests. Faults are collected and not raised, so that there is nothing to shrink."""
        quiet = settings(
            max_examples=count, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seed(self.seed)(quiet(given(strategy)(send)))()

    def sockets(self, kind: str, count: int) -> None:
        """Requests of one of our kinds."""

        def send(request: Any) -> None:
            self.sent[request.kind] += len(request.ids or (1,))
            self.faults += self.server.faults_of(request)

        self.draw(KINDS[kind], count, send)

    def schemathesis(self, count: int) -> None:
        """Requests made of the OpenAPI document, for each operation in both modes."""
        import schemathesis
        from schemathesis import GenerationMode

        url = self.server.served.url
        schema = schemathesis.openapi.from_dict(httpx.get(url + "/openapi.json").json())
        operations = [found.ok() for found in schema.get_all_operations()]
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

        def send(case: Any) -> None:
            self.sent["OpenAPI document"] += 1
            where = f"OpenAPI document, {case.method} {case.formatted_path}"
            try:
                answer = case.call(base_url=url, timeout=HANG_SECONDS)
            except Exception as error:
                # Requests that its own client cannot write, such as headers that are no Latin-1, are not sent.
                if "imeout" in repr(error) or "Connection" in repr(error):
                    self.faults.append(f"{where}: {error!r:.300}")
                return
            found = Answer(answer.status_code, dict.fromkeys(answer.headers, ""), answer.content)
            self.faults += [f"{where}: {fault}: {case.as_curl_command()[:300]}" for fault in self.server.judge(found)]

        # Operations without parameters or body have a single request, which is sent once.
        rich = [one for one in operations if len(one.body) or list(one.iter_parameters())]
        for operation in operations:
            if operation not in rich:
                self.draw(operation.as_strategy(), 1, send)
        for operation in rich:
            for mode in modes:
                try:
                    self.draw(operation.as_strategy(generation_mode=mode), max(1, count // (2 * len(rich))), send)
                except Exception as error:
                    # There may be nothing that its parameters forbid.
                    sys.stderr.write(f"{operation.label}, {mode.value}: {error!r:.200}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schemathesis", type=float, default=0.25, help="their share; 0: schemathesis is not needed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        encoder = Encoder(resolve_encoder("all-minilm-l6-v2"), dtype="float32")
        with fuzzed(Path(place), encoder) as server:
            run = Run(server, options.seed)
            ours = options.requests * (1 - options.schemathesis)
            total = sum(WEIGHTS.get(kind, 1.0) for kind in KINDS)
            for kind in KINDS:
                sys.stderr.write(f"{time.monotonic() - begin:.0f} s: {kind}\n")
                run.sockets(kind, round(ours * WEIGHTS.get(kind, 1.0) / total))
            if options.schemathesis:
                run.schemathesis(round(options.requests * options.schemathesis))
            run.faults += server.settled()
    seconds = round(time.monotonic() - begin)
    for kind, count in run.sent.most_common():
        sys.stdout.write(f"{kind:22}{count:7}\n")
    statuses = dict(sorted(run.statuses.items()))
    sys.stdout.write(f"{sum(run.sent.values())} requests in {seconds} s; answers by status: {statuses}\n")
    sys.stdout.write(f"{len(run.faults)} faults\n")
    sys.stdout.writelines(f"  {fault}\n" for fault in run.faults[:50])
    if options.json:
        result = {"sent": run.sent, "statuses": statuses, "faults": run.faults, "seconds": seconds}
        options.json.write_text(json.dumps(result, indent=1))
    sys.exit(1 if run.faults else 0)


if __name__ == "__main__":
    main()
