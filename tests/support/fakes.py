"""Stand-ins for what takes long: the index, the retriever and the engines."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from index.documents.chunking import Chunk
from index.encoders.encoder import Progress, Vectors
from index.search.search import Hit
from index.store.filters import Filter, Labels
from ragft.artifacts import model_version
from ragft.engine.adapter import Adapter
from ragft.engine.base import ChatRequest, Completion, EngineDead, NotInPlace, TextRequest
from ragft.errors import RagftError
from ragft.pipeline import Retrieved
from ragft.prompts import Message

MODEL_VERSION = "0123456789abcdef"
INDEX_VERSION = "fedcba9876543210"
USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def hit(document: str, heading: str, text: str, score: float = 0.5) -> Hit:
    """A passage as a search finds it; the whole section is the passage."""
    title = document.removesuffix(".md").title()
    start = abs(hash(heading)) % 1000
    return Hit(
        chunk_id=f"{document}#{heading}",
        document_id=document,
        title=title,
        heading_path=(title, heading),
        start=start,
        end=start + len(text),
        text=text,
        passage=f"{title} > {heading}\n{text}",
        score=score,
        dense_score=score,
        lexical_score=None,
    )


class FakeSnapshot:
    """Sections of documents, one chunk each (or several, with the same heading)."""

    id = INDEX_VERSION

    def __init__(self, sections: Sequence[tuple[str, str, str]]) -> None:
        """`sections`: (document, heading, text)."""
        self._chunks = [
            Chunk(document, document.removesuffix(".md").title(), (heading,), number, number + len(text), text, "")
            for number, (document, heading, text) in enumerate(sections)
        ]

    @property
    def chunk_count(self) -> int:
        return len(self._chunks)

    def chunks(self) -> list[Chunk]:
        return self._chunks

    def hits(self) -> list[Hit]:
        """Every chunk as a hit, in order."""
        return [
            Hit(
                c.id, c.document_id, c.title, c.heading_path, c.start, c.end, c.text, c.passage, 0.5, 0.5, None
            )
            for c in self._chunks
        ]  # fmt: skip


HITS = (hit("tickets.md", "Prices", "A ticket costs 12 euros."), hit("dogs.md", "Prices", "Dogs travel free."))


class FakeEncoder:
    """Vectors of a text's first letters and length; a token for each word."""

    source, fingerprint, dimension, max_tokens = "fake", "fake", 8, 32
    query_prefix = "query: "

    @staticmethod
    def tokenizer(texts: str | list[str], **_: Any) -> dict[str, Any]:
        if isinstance(texts, str):
            return {"input_ids": texts.split()}
        return {"input_ids": [text.split() for text in texts]}

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        rows = [[len(text), *(ord(letter) for letter in text[:7].ljust(7))] for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode_passages([self.query_prefix + text for text in texts])


class WordsEncoder(FakeEncoder):
    """Texts that share words are alike, as far as 64 places for them tell."""

    fingerprint, dimension = "words", 64

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self.dimension] += 1
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@dataclass
class FakeRetriever:
    """Finds the same passages for every question; `asked` holds each question with the `k` that came with it."""

    hits: tuple[Hit, ...] = HITS
    index_version: str = INDEX_VERSION
    asked: list[tuple[str, int | None]] = field(default_factory=list)
    restrictions: list[tuple[Filter | None, Labels]] = field(default_factory=list)
    encoder: FakeEncoder = field(default_factory=FakeEncoder)

    @property
    def snapshot(self) -> FakeSnapshot:
        return FakeSnapshot([(hit.document_id, hit.heading_path[-1], hit.text) for hit in self.hits])

    def query(self, question: str, history: Sequence[Message], condense: str, labels: Labels = None) -> str:
        """The last question of the user before it, and the question."""
        earlier = [turn["content"] for turn in history if turn["role"] == "user"][-1:]
        return " ".join([*earlier, question]) if condense != "off" else question

    def search(
        self,
        questions: Sequence[str],
        k: int | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
        explain: bool = False,
    ) -> list[Retrieved]:
        self.asked += [(question, k) for question in questions]
        self.restrictions += [(filter, labels) for _ in questions]
        return [
            Retrieved(self.hits[: k or len(self.hits)], self.index_version, 1.5, query=question)
            for question in questions
        ]


@dataclass
class FakeEngine:
    """Answers every conversation with the same tokens.

    Attributes:
        pause: seconds before each token.
        failures: what the last user's turn of a conversation is answered with instead, by its question.
        error: what every conversation is answered with instead.
        fails_after: tokens of a stream before `error`; None: none.
        ids: gives each answer its id.
        not_in_place: why another model cannot take the place of its own; empty: it can.
        dead: whether it says so when it is asked for its health.
        requests: what it was asked.
        running: conversations in progress; `cancelled` ones ended before their answer did.
    """

    tokens: Sequence[str] = ("Costs ", "12 euros ", "[1].")
    version: str = MODEL_VERSION
    pause: float = 0.0
    failures: dict[str, Exception] = field(default_factory=dict)
    error: Exception | None = None
    fails_after: int | None = None
    ids: Callable[[], str] = lambda: "chatcmpl-1"
    not_in_place: str = ""
    dead: bool = False
    started: bool = False
    closed: bool = False
    requests: list[ChatRequest] = field(default_factory=list)
    texts: list[TextRequest] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0

    @property
    def asked(self) -> list[str]:
        """The last turn of every conversation."""
        return [request.messages[-1]["content"] for request in self.requests]

    def preload(self) -> None: ...

    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        self.started, self.closed = False, True

    async def drain(self) -> None:
        while self.running:
            await asyncio.sleep(0.01)

    async def replace(self, folder: Path) -> None:
        if self.not_in_place:
            raise NotInPlace(self.not_in_place)
        await self.drain()
        self.version = model_version(folder)

    async def check_health(self) -> None:
        if self.dead:
            raise EngineDead("it was killed")

    async def chat(self, request: ChatRequest) -> Completion:
        self._accept(request)
        async with self._slot():
            for _ in self.tokens:
                await asyncio.sleep(self.pause)
            text = "".join(self.tokens)
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            body = {
                "id": self.ids(), "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                "usage": USAGE,
            }  # fmt: skip
            return Completion(body, text, (1, 2, 3), (7, 8), "stop", 10.0, 20.0, 5.0)

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        """One token for each word."""
        return sum(len(turn["content"].split()) for turn in messages) + len(str(tools or "").split())

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        self._accept(request)
        async with self._slot():
            for _ in self.tokens:
                await asyncio.sleep(self.pause)
            choice = {"index": 0, "text": "".join(self.tokens), "logprobs": None, "finish_reason": "stop"}
            return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        self._accept(request)
        identity = self.ids()
        async with self._slot():
            for place, token in enumerate(self.tokens):
                await asyncio.sleep(self.pause)
                if place == self.fails_after and self.error is not None:
                    raise self.error
                end = "stop" if place == len(self.tokens) - 1 else None
                for index in range(request.options.get("n", 1)):
                    what = {"delta": {"content": token}} if isinstance(request, ChatRequest) else {"text": token}
                    choice = {"index": index, **what, "finish_reason": end}
                    yield {"id": identity, "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
            if (request.options.get("stream_options") or {}).get("include_usage"):
                chunk = {"id": identity, "object": "chat.completion.chunk", "model": "m", "choices": []}
                yield {**chunk, "usage": USAGE, "metrics": {"queue_time_ms": 5.0}}

    def _accept(self, request: ChatRequest | TextRequest) -> None:
        if isinstance(request, TextRequest):
            self.texts.append(request)
        else:
            self.requests.append(request)
            question = self.asked[-1].rpartition("Question: ")[2]
            if question in self.failures:
                raise self.failures[question]
        if self.error is not None and self.fails_after is None:
            raise self.error

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        self.running += 1
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


@dataclass
class FakeHost(FakeEngine):
    """An engine that applies adapters; an answer is the name of its adapter, or `base`.

    Attributes:
        loaded: versions of the adapters that it has.
        unusable: folders of adapters that it refuses.
        starts: how often it was started.
    """

    adapter_rank: int | None = 16
    loaded: list[str] = field(default_factory=list)
    unusable: set[str] = field(default_factory=set)
    starts: int = 0

    async def start(self) -> None:
        self.starts += not self.started
        await super().start()

    async def load_adapter(self, adapter: Adapter) -> None:
        if adapter.folder.name in self.unusable:
            raise RagftError("vLLM cannot apply the adapter")
        self.loaded.append(adapter.version)

    async def unload_adapter(self, version: str) -> None:
        if version in self.loaded:
            self.loaded.remove(version)

    async def chat(self, request: ChatRequest, adapter: str | None = None) -> Completion:
        assert adapter is None or adapter in self.loaded
        answer = await super().chat(request)
        # Until its end: an adapter that is taken away meanwhile would be missed.
        assert adapter is None or adapter in self.loaded
        answer.body["choices"][0]["message"]["content"] = adapter or "base"
        return replace(answer, text=adapter or "base")

    async def complete(self, request: TextRequest, adapter: str | None = None) -> dict[str, Any]:
        return {**await super().complete(request), "model": adapter or "base"}

    async def stream(
        self, request: ChatRequest | TextRequest, adapter: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        async for chunk in super().stream(request):
            assert adapter is None or adapter in self.loaded
            yield {**chunk, "model": adapter or "base"}
