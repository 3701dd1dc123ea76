"""What traffic must not notice: new indexes, new models, clients that go, a stop, and ten times too many requests.

The real application runs in a process of its own, with a real index and refresh, and is asked over real sockets. **A
stand-in answers in place of vLLM**: a token every few milliseconds, at most `engine.max_num_seqs` answers at once, and
the real engine's turnstile for exchanges of models. Every token of it names the model's version, and its answers cite
passages, so that an answer of two models or of two snapshots is seen. Vectors are hashes of words: what an encoder
takes is no matter here.

    refreshes   refresh the index a hundred times under 10,000 questions. Every document changes in each edition, and
                passages and citations of an answer must be those of the snapshot that it names, to the character
    deploys     deploy 20 models under 1,000 streams, half of them in place and half in a second engine
    gone        clients that close their connection at any moment: how long their slot stays taken
    sigterm     a stop with answers in progress, and questions that go on arriving
    overload    questions at ten times the rate that can be answered

    python benchmarks/traffic.py [refreshes deploys gone sigterm overload] [--scale 1.0] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.fakes import USAGE, FakeEngine
from support.flipping import DOCUMENTS, write_edition
from support.fuzzing import written
from support.indexes import HashEncoder, WordTokenizer
from support.serving import make_application, make_models

from ragft.artifacts import model_version
from ragft.config import EngineSection
from ragft.engine.base import ChatRequest, Completion, NotInPlace, TextRequest
from ragft.engine.in_place import Turnstile
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from ragft.stages.index import refresh

CHAT, QUESTION = "/v1/chat/completions", "What does the red fox of this edition say?"
SEED = 11
CITED = 4


# --- the server


@dataclass
class StandIn(FakeEngine):
    """Answers with its version, token by token.

    Attributes:
        count: tokens of an answer.
        slots: answers at once; others wait.
        released: when the slot of each question was free again, by `time.monotonic`.
    """

    count: int = 10
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(16))
    released: dict[str, float] = field(default_factory=dict)
    turnstile: Turnstile = field(default_factory=Turnstile)

    async def drain(self) -> None:
        await self.turnstile.empty()

    async def replace(self, folder: Path) -> None:
        # Every other model has another shape.
        if json.loads((folder / "manifest.json").read_text())["inputs"]["number"] % 2:
            raise NotInPlace("Another shape.")
        async with self.turnstile.alone():
            await asyncio.sleep(0.05)
            self.version = model_version(folder)

    async def chat(self, request: ChatRequest) -> Completion:
        text = "".join([token async for token in self._answer(request)])
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
        return Completion(body, text, (1,), (1,), "stop", 1.0, 1.0, 0.0)

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        assert isinstance(request, ChatRequest)
        async with contextlib.aclosing(self._answer(request)) as tokens:
            number = 0
            async for token in tokens:
                number += 1
                end = "stop" if number == self.count else None
                choice = {"index": 0, "delta": {"content": token}, "finish_reason": end}
                yield {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}

    async def _answer(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        asked = request.messages[-1]["content"].rpartition("Question: ")[2]
        try:
            async with self.turnstile.passing(), self.slots:
                for number in range(self.count):
                    await asyncio.sleep(self.pause)
                    yield f"[{number % CITED + 1}] {self.version} "
        finally:
            self.released[asked] = time.monotonic()


def make(place: Path, settings: dict[str, Any]) -> Application:
    """The application in a folder, with an index, and models to deploy."""
    documents = place / "documents"
    write_edition(documents, 0)
    index = {"documents": {"folder": documents}, "search": {"top_k": CITED}}
    application = make_application(place, index, port=0, setups=["hybrid"], request_log="none", **settings["serve"])
    application.encoder = HashEncoder(WordTokenizer())
    engine = EngineSection(max_num_seqs=settings["slots"])
    application.config = application.config.model_copy(update={"engine": engine})
    if not application.index_root.exists():
        refresh(application, reporter=application.reporter)
        make_models(application, settings["models"])
    return application


def serve_in(place: Path) -> None:
    """The child: serves until it is told to stop, and then writes when slots were free again."""
    from serving import app as app_module
    from serving import deployment
    from serving.deployment import open_retriever

    settings = json.loads((place / "settings.json").read_text())
    application = make(place, settings)
    engines: list[StandIn] = []

    def open_engine(app: Application, folder: Path, count: int) -> StandIn:
        engines.append(
            StandIn(
                version=model_version(folder), pause=settings["pause"], count=settings["tokens"],
                slots=asyncio.Semaphore(settings["slots"]),
            )
        )  # fmt: skip
        return engines[-1]

    async def load() -> Pipeline:
        retriever = await asyncio.to_thread(open_retriever, application)
        engine = open_engine(application, application.registry.deployed().folder, 1)
        return Pipeline(application.config, {"tuned": engine}, retriever)

    def open_engines(app: Application, folders: dict[str, Path], count: int) -> dict[str, StandIn]:
        return {model: open_engine(app, folder, count) for model, folder in folders.items()}

    deployment.open_engines = open_engines  # type: ignore[assignment]
    application.reporter.say = lambda line: print(line, flush=True)  # type: ignore[method-assign]
    app_module.serve(application, load=load)
    released = {asked: at for engine in engines for asked, at in engine.released.items()}
    (place / "released.json").write_text(json.dumps(released))


@dataclass
class Server:
    """The child, once it is ready.

    Attributes:
        models: fingerprints of the models that can be deployed, the first deployed.
    """

    process: subprocess.Popen[str]
    url: str
    place: Path
    models: list[str]

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit status, and the seconds until it."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - begin


@contextmanager
def server(
    *, pause: float, tokens: int, slots: int = 16, models: int = 1, **serve: Any
) -> Iterator[Server]:  # fmt: skip
    """The application in a process of its own; arguments are of the stand-in, and keys of `serve`."""
    settings = {"pause": pause, "tokens": tokens, "slots": slots, "models": models, "serve": serve}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "settings.json").write_text(json.dumps(settings))
        application = make(place, settings)
        made = sorted(application.registry.models(), key=lambda model: model.manifest["inputs"]["number"])
        environment = {**os.environ, "RAGFT_API_KEY": ""}
        child = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http")).rstrip(",")
            assert child.stdout.readline() == "Ready\n"
            yield Server(child, url, place, [model.fingerprint for model in made])
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(60)


# --- the clients


@dataclass
class Answer:
    """What became of one question.

    Attributes:
        status: HTTP status; 0: the connection was refused or lost before there was one.
        complete: whether the answer came to its end.
        begin: when it was asked, by `time.monotonic`.
        seconds: until its end.
    """

    status: int
    complete: bool
    begin: float
    seconds: float
    text: str = ""
    ragft: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and self.complete


async def ask(session: aiohttp.ClientSession, url: str, number: int, *, stream: bool, passages: bool = False) -> Answer:
    """Asks one question, in a stream or not."""
    body = {
        "model": "hybrid",
        "messages": [{"role": "user", "content": f"{QUESTION} {number}"}],
        "stream": stream,
        "ragft": {"return_passages": passages},
    }
    answer = Answer(0, False, time.monotonic(), 0.0)
    try:
        async with session.post(url + CHAT, json=body) as response:
            answer.status, answer.headers = response.status, response.headers
            content = await response.read()
        if response.status == 200:
            _read(answer, content, stream)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        answer.error = repr(error)
    answer.seconds = time.monotonic() - answer.begin
    return answer


def _read(answer: Answer, content: bytes, stream: bool) -> None:
    if not stream:
        body = json.loads(content)
        answer.text, answer.ragft, answer.complete = body["choices"][0]["message"]["content"], body["ragft"], True
        return
    events = [line.removeprefix(b"data: ") for line in content.split(b"\n\n") if line]
    for event in events:
        if event == b"[DONE]":
            answer.complete = bool(answer.ragft)
            return
        chunk = json.loads(event)
        if "error" in chunk:
            answer.error = str(chunk["error"])
            return
        answer.text += chunk["choices"][0]["delta"].get("content") or ""
        answer.ragft = chunk.get("ragft", answer.ragft)


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def keep_asking(
    count: int, at_once: int, one: Callable[[int], Awaitable[Answer]], done: Callable[[int], None] = lambda _: None
) -> list[Answer]:
    """`count` questions, `at_once` of them in progress; `done` hears how many are answered."""
    numbers, answers = iter(range(count)), list[Answer]()

    async def worker() -> None:
        for number in numbers:
            answers.append(await one(number))
            done(len(answers))

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return answers


def milliseconds(answers: list[Answer]) -> dict[str, float]:
    p50, p99 = np.percentile([1000 * answer.seconds for answer in answers], [50, 99]).round(1).tolist()
    return {"p50_ms": p50, "p99_ms": p99}


async def beside_traffic(
    questions: int, at_once: int, one: Callable[[int], Awaitable[Answer]], changes: int,
    change: Callable[[int], Awaitable[None]],
) -> list[Answer]:  # fmt: skip
    """Makes changes, one after the other and spread evenly, while questions are asked until both are through."""
    answered, moved, over = 0, asyncio.Event(), asyncio.Event()

    def note(_: int) -> None:
        nonlocal answered
        answered += 1
        moved.set()

    async def make_changes() -> None:
        for number in range(changes):
            while answered < number * questions / changes:
                moved.clear()
                await moved.wait()
            await change(number)
        over.set()

    making = asyncio.create_task(make_changes())
    answers = await keep_asking(questions, at_once, one, note)
    while not over.is_set() and not making.done():
        answers += await keep_asking(at_once, at_once, one, note)
    await making
    return answers


# --- what is measured


def refreshes(scale: float) -> dict[str, Any]:
    """A hundred refreshes under ten thousand questions."""
    questions, changes = round(10_000 * scale), round(100 * scale)

    async def run(served: Server) -> tuple[list[Answer], list[Answer], dict[str, int]]:
        editions: dict[str, int] = {}
        async with client() as session:

            async def one(number: int) -> Answer:
                return await ask(session, served.url, number, stream=number % 2 == 0, passages=True)

            async def change(number: int) -> None:
                await asyncio.to_thread(write_edition, served.place / "documents", number + 1)
                async with session.post(served.url + "/admin/index/refresh", json={}) as response:
                    told = await response.json()
                assert response.status == 200 and told["published"] and told["changed"] == DOCUMENTS, told
                editions[told["index_version"]] = number + 1

            quiet = await keep_asking(questions // 10, 16, one)
            editions[quiet[0].ragft["index_version"]] = 0
            return quiet, await beside_traffic(questions, 16, one, changes, change), editions

    with server(pause=0.001, tokens=8) as served:
        quiet, answers, editions = asyncio.run(run(served))
    faults = [fault for answer in [*quiet, *answers] for fault in _torn(answer, editions)]
    return {
        "questions": len(answers), "refreshes": changes,
        "snapshots_seen": len({one.ragft.get("index_version") for one in answers}),
        "failed": sum(not one.good for one in answers), "of_two_snapshots": len(faults), "faults": faults[:5],
        "without": milliseconds(quiet), "with": milliseconds(answers),
    }  # fmt: skip


def _torn(answer: Answer, editions: dict[str, int]) -> list[str]:
    """Whether all in an answer is of the snapshot that it names."""
    if not answer.good:
        return []
    version = answer.ragft["index_version"]
    shown = [*answer.ragft["passages"], *answer.ragft["citations"]]
    found = {int(edition) for passage in shown for edition in re.findall(r"edition (\d+)", passage["text"])}
    if answer.headers["X-Ragft-Index-Version"] != version or found != {editions.get(version)}:
        return [f"{version} is edition {editions.get(version)}, and the answer has {sorted(found)}"]
    if len(answer.ragft["citations"]) != CITED:
        return [f"{len(answer.ragft['citations'])} citations"]
    return [
        f"{passage['document_id']} has another text at {passage['start']}"
        for passage in shown
        if _document(passage["document_id"], editions[version])[passage["start"] : passage["end"]] != passage["text"]
    ]


def _document(name: str, edition: int) -> str:
    if (name, edition) not in _documents:
        with tempfile.TemporaryDirectory() as folder:
            write_edition(Path(folder), edition)
            _documents.update({(path.name, edition): path.read_text() for path in Path(folder).iterdir()})
    return _documents[name, edition]


_documents: dict[tuple[str, int], str] = {}


def deploys(scale: float) -> dict[str, Any]:
    """Twenty exchanges of the model under a thousand streams."""
    streams, changes = round(1_000 * scale), max(2, round(20 * scale))
    how: Counter[str] = Counter()

    async def run(served: Server) -> list[Answer]:
        async with client() as session:

            async def change(number: int) -> None:
                # Even models go in place, odd ones into a second engine; all differ from the one before.
                body = {"model": served.models[(number + 1) % len(served.models)]}
                async with session.post(served.url + "/admin/models/deploy", json=body) as response:
                    told = await response.json()
                assert response.status == 200, told
                how[told["how"]] += 1

            def one(number: int) -> Awaitable[Answer]:
                return ask(session, served.url, number, stream=True)

            return await beside_traffic(streams, 16, one, changes, change)

    with server(pause=0.01, tokens=20, models=4) as served:
        answers = asyncio.run(run(served))
    versions = [set(re.findall(r"\] (\S+)", one.text)) for one in answers if one.good]
    named = [{one.ragft["model_version"], one.headers["X-Ragft-Model-Version"]} for one in answers if one.good]
    return {
        "streams": len(answers), "deploys": dict(how), "failed": sum(not one.good for one in answers),
        "of_two_models": sum(len(found) != 1 for found in versions),
        "naming_another_model": sum(found != told for found, told in zip(versions, named, strict=True)),
        "models_seen": len(set().union(*versions)), **milliseconds(answers),
    }  # fmt: skip


def gone(scale: float) -> dict[str, Any]:
    """Clients that close their connection at any moment of an answer that would take ten seconds."""
    count = round(500 * scale)
    left: dict[str, float] = {}

    async def leave(url: str, number: int, generator: random.Random) -> None:
        host, port = url.removeprefix("http://").split(":")
        question = f"{QUESTION} {number}"
        body = {"model": "hybrid", "messages": [{"role": "user", "content": question}], "stream": number % 2 == 0}
        content = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(written("POST", CHAT, content, close=False))
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(generator.uniform(0.1, 1.0)):
                while await reader.read(65536):
                    pass
        left[question] = time.monotonic()
        writer.close()

    async def run(served: Server) -> None:
        generator = random.Random(SEED)

        async def one(number: int) -> Answer:
            await leave(served.url, number, generator)
            return Answer(200, True, 0.0, 0.0)

        await keep_asking(count, 8, one)
        async with client() as session:
            # Every slot is free: as many as there are answer at once.
            await asyncio.sleep(0.5)
            async with session.get(served.url + "/metrics") as response:
                page = await response.text()
        running = re.findall(r"^ragft_requests_in_progress\S* (\S+)$", page, re.MULTILINE)
        assert all(float(value) == 0 for value in running), running

    with server(pause=0.02, tokens=500) as served:
        asyncio.run(run(served))
        served.stop()
        released = json.loads((served.place / "released.json").read_text())
    # A client that leaves before its question has come to the engine has no slot to free.
    took = [max(0.0, 1000 * (released[asked] - at)) for asked, at in left.items() if asked in released]
    if not took:
        raise SystemExit("No client had a slot before it left: this machine is too busy to measure that.")
    p50, p99 = np.percentile(took, [50, 99]).round(1).tolist()
    return {
        "clients": count, "had_a_slot": len(took), "free_after_p50_ms": p50, "p99_ms": p99,
        "longest_ms": round(max(took), 1),
    }  # fmt: skip


def sigterm(scale: float) -> dict[str, Any]:
    """A stop with 64 answers in progress, while further questions arrive."""
    rounds, results = max(1, round(5 * scale)), Counter[str]()
    exits: list[float] = []

    async def run(served: Server) -> None:
        async with client() as session:
            tasks: list[asyncio.Task[Answer]] = []
            told = None
            begin = time.monotonic()
            # 64 a second, for a second before and half a second after.
            for number in range(96):
                await asyncio.sleep(max(0.0, begin + number / 64 - time.monotonic()))
                if number == 64:
                    told = time.monotonic()
                    served.process.send_signal(signal.SIGTERM)
                tasks.append(asyncio.create_task(ask(session, served.url, number, stream=number % 2 == 0)))
            answers = await asyncio.gather(*tasks)
            assert told is not None
            code = await asyncio.to_thread(served.process.wait, 60)
            exits.append(time.monotonic() - told)
        for answer in answers:
            when = "before" if answer.begin < told else "after"
            what = "answered" if answer.good else "cut off" if answer.status == 200 else "refused"
            results[f"asked {when}: {what}"] += 1
        results[f"exit status {code}"] += 1

    for _ in range(rounds):
        with server(pause=0.05, tokens=40, slots=96, drain_seconds=20) as served:
            asyncio.run(run(served))
    return {"stops": rounds, **dict(sorted(results.items())), "longest_until_exit_s": round(max(exits), 1)}


def overload(scale: float) -> dict[str, Any]:
    """Ten times the rate of requests that the slots can answer."""
    seconds = 20 * scale

    async def run(served: Server) -> dict[str, Any]:
        async with client() as session:

            def one(number: int) -> Awaitable[Answer]:
                return ask(session, served.url, number, stream=number % 2 == 0)

            begin = time.monotonic()
            peak_answers = await keep_asking(round(32 * seconds), 24, one)
            peak = len(peak_answers) / (time.monotonic() - begin)
            rate = 10 * peak
            begin, tasks = time.monotonic(), list[asyncio.Task[Answer]]()
            while time.monotonic() - begin < seconds:
                due = round(rate * (time.monotonic() - begin))
                tasks += [asyncio.create_task(_as_task(one(number))) for number in range(len(tasks), due)]
                await asyncio.sleep(0.005)
            offered = len(tasks) / (time.monotonic() - begin)
            answers = await asyncio.gather(*tasks)
        # What ended while the rate lasted, after the first answers had filled the slots.
        ends = [one.begin + one.seconds - begin for one in answers if one.good]
        goodput = sum(2 < end <= seconds for end in ends) / (seconds - 2)
        refused = [one for one in answers if one.status in (429, 503)]
        return {
            "peak_per_s": round(peak, 1), "offered_per_s": round(offered, 1), "goodput_per_s": round(goodput, 1),
            "goodput_share": round(goodput / peak, 3), "statuses": dict(Counter(one.status for one in answers)),
            "cut_off": sum(one.status == 200 and not one.complete for one in answers),
            "refused_without_retry_after": sum("Retry-After" not in one.headers for one in refused),
            "refusal": milliseconds(refused), "answer": milliseconds([one for one in answers if one.good]),
        }  # fmt: skip

    with server(pause=0.05, tokens=10, max_queued=16) as served:
        return asyncio.run(run(served))


async def _as_task(work: Awaitable[Answer]) -> Answer:
    return await work


MEASURED = {"refreshes": refreshes, "deploys": deploys, "gone": gone, "sigterm": sigterm, "overload": overload}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *MEASURED], default=[])
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of requests and changes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_in(options.serve)
        return
    results = {}
    for name in options.what or MEASURED:
        begin = time.monotonic()
        results[name] = MEASURED[name](options.scale)
        results[name]["seconds"] = round(time.monotonic() - begin)
        print(name, *(f"{key}: {value}" for key, value in results[name].items()), sep="\n  ", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
