"""Question -> passages -> prompt -> engine -> answer: the one path of `ragft ask`, the evaluation and the endpoint.

What is measured is what is deployed, because there is only this path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from index.documents.folder import Metadata
from index.encoders.encoder import Encoder
from index.encoders.reranker import Reranker
from index.search.search import Hit, search
from index.store.filters import Filter, Labels, both, parse_filter
from index.store.snapshot import Snapshot
from index.timings import Timings
from ragft.citations import parse_citations
from ragft.config import Config
from ragft.engine.base import Delta, Engine, Generation, Sampling
from ragft.prompts import Message, conversation
from ragft.setups import Setup


@dataclass(frozen=True)
class Retrieved:
    """What one search found, and in which snapshot, so that an answer never mixes two.

    Attributes:
        milliseconds: of the whole search; of several questions at once, each one's share.
        timings_ms: of its stages, as `index.timings.STAGES` names them.
    """

    hits: tuple[Hit, ...]
    index_version: str
    milliseconds: float
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """A question ready for an engine.

    Attributes:
        retrieved: None for a setup without retrieval.
    """

    setup: Setup
    messages: list[Message]
    retrieved: Retrieved | None

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The passages in the prompt; passage number `n` is `hits[n - 1]`."""
        return self.retrieved.hits if self.retrieved else ()


@dataclass(frozen=True)
class Citation:
    """A passage that an answer names, with where it stands."""

    number: int
    document_id: str
    title: str
    heading: str
    start: int
    end: int
    text: str
    score: float
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a user gets, with the versions of all that it came from."""

    text: str
    setup: str
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    index_version: str | None
    model_version: str
    finish_reason: str
    prompt_tokens: int
    answer_tokens: int
    retrieval_ms: float
    ttft_ms: float
    total_ms: float
    prompt_token_ids: tuple[int, ...] = field(repr=False, default=())


def citations_of(text: str, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The passages that an answer names; numbers beyond the passages are left out."""
    return tuple(
        Citation(
            number=number,
            document_id=hit.document_id,
            title=hit.title,
            heading=" > ".join(hit.heading_path),
            start=hit.start,
            end=hit.end,
            text=hit.text,
            score=hit.score,
            page=hit.page,
            metadata=hit.metadata,
        )
        for number in parse_citations(text)
        if 1 <= number <= len(hits)
        for hit in [hits[number - 1]]
    )


class Retriever:
    """The live snapshot and its encoder. A refresh replaces the snapshot by one assignment; a search in flight
    finishes on the one that it began with.
    """

    def __init__(self, snapshot: Snapshot, encoder: Encoder, config: Config, reranker: Reranker | None = None) -> None:
        self.snapshot = snapshot
        self.encoder = encoder
        self.reranker = reranker
        self._config = config.index
        self._filter = parse_filter(self._config.filter) if self._config.filter is not None else None

    @property
    def index_version(self) -> str:
        """Id of the live snapshot."""
        return self.snapshot.id

    def search(
        self,
        questions: Sequence[str],
        k: int | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
    ) -> list[Retrieved]:
        """The best passages for each question, all from one snapshot.

        Args:
            k: passages per question; None: `index.top_k`.
            filter: what passages must pass beside `index.filter`.
            labels: of the caller, who gets nothing else than they open; None: everything.
        """
        snapshot = self.snapshot
        config = self._config
        timings = Timings()
        begin = time.perf_counter()
        found = search(
            snapshot,
            self.encoder,
            questions,
            k=k or config.top_k,
            mode=config.mode,
            weights=(config.dense_weight, config.lexical_weight),
            rrf_k=config.rrf_k,
            depth=config.depth,
            filter=both(self._filter, filter),
            labels=labels,
            reranker=self.reranker,
            rerank_depth=config.rerank_depth,
            timings=timings,
            collapse=config.duplicates == "collapse",
            bm25=(config.bm25_k1, config.bm25_b),
        )
        count = max(1, len(questions))
        each = (time.perf_counter() - begin) * 1000 / count
        stages = {stage: spent / count for stage, spent in timings.milliseconds.items()}
        return [Retrieved(tuple(hits), snapshot.id, each, stages) for hits in found]


class Pipeline:
    """The setups of one application over at most two engines and one retriever."""

    def __init__(self, config: Config, engines: Mapping[str, Engine], retriever: Retriever | None) -> None:
        """
        Args:
            engines: by `Setup.model`: `"base"`, `"tuned"` or both.
            retriever: None where no setup retrieves.
        """
        self.config = config
        self.engines = engines
        self.retriever = retriever

    def engine_of(self, setup: Setup) -> Engine:
        """The engine that answers for a setup."""
        return self.engines[setup.model]

    def sampling(self, max_tokens: int | None = None) -> Sampling:
        """How answers are generated unless a request says otherwise: greedily."""
        return Sampling(max_tokens=max_tokens or self.config.engine.max_tokens)

    def render(self, setup: Setup, question: str, retrieved: Retrieved | None) -> Prompt:
        """The prompt for a question whose passages are known already."""
        passages = None
        if setup.retrieval:
            if retrieved is None:
                raise ValueError(f"setup {setup.name} needs passages")
            passages = [hit.passage for hit in retrieved.hits]
        messages = conversation(self.config.prompt.system, question, passages)
        return Prompt(setup, messages, retrieved if setup.retrieval else None)

    async def prepare(
        self,
        setup: Setup,
        question: str,
        k: int | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
    ) -> Prompt:
        """Retrieve what the caller may see, if the setup retrieves, and render."""
        retrieved = None
        if setup.retrieval:
            if self.retriever is None:
                raise ValueError(f"setup {setup.name} needs an index")
            # Off the event loop: encoding a query takes milliseconds in which streams would stall.
            (retrieved,) = await asyncio.to_thread(self.retriever.search, [question], k, filter=filter, labels=labels)
        return self.render(setup, question, retrieved)

    async def answer(
        self,
        setup: Setup,
        question: str,
        sampling: Sampling | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
    ) -> Answer:
        """Retrieve, render, generate, cite."""
        prompt = await self.prepare(setup, question, filter=filter, labels=labels)
        return await self.generate(prompt, sampling)

    async def generate(self, prompt: Prompt, sampling: Sampling | None = None) -> Answer:
        """Generate and cite for a prompt that is ready."""
        engine = self.engine_of(prompt.setup)
        generation = await engine.generate(prompt.messages, sampling or self.sampling())
        return self._cited(prompt, engine.model_version, generation)

    async def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> AsyncIterator[Delta | Answer]:
        """The pieces of an answer as they come, and at the end the whole answer with its citations."""
        engine = self.engine_of(prompt.setup)
        begin = time.perf_counter()
        first: float | None = None
        pieces: list[Delta] = []
        async for delta in engine.stream(prompt.messages, sampling or self.sampling()):
            first = first or time.perf_counter()
            pieces.append(delta)
            yield delta
        end = time.perf_counter()
        generation = Generation(
            text="".join(piece.text for piece in pieces),
            token_ids=tuple(token for piece in pieces for token in piece.token_ids),
            prompt_token_ids=pieces[0].prompt_token_ids if pieces else (),
            finish_reason=(pieces[-1].finish_reason if pieces else None) or "abort",
            ttft_ms=((first or end) - begin) * 1000,
            total_ms=(end - begin) * 1000,
        )
        yield self._cited(prompt, engine.model_version, generation)

    def _cited(self, prompt: Prompt, model_version: str, generation: Generation) -> Answer:
        retrieved = prompt.retrieved
        return Answer(
            text=generation.text,
            setup=prompt.setup.name,
            citations=citations_of(generation.text, prompt.hits),
            hits=prompt.hits,
            index_version=retrieved.index_version if retrieved else None,
            model_version=model_version,
            finish_reason=generation.finish_reason,
            prompt_tokens=len(generation.prompt_token_ids),
            answer_tokens=len(generation.token_ids),
            retrieval_ms=retrieved.milliseconds if retrieved else 0.0,
            ttft_ms=generation.ttft_ms,
            total_ms=generation.total_ms,
            prompt_token_ids=generation.prompt_token_ids,
        )
