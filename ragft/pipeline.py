"""Question -> passages -> prompt -> engine -> answer: the one path of `ragft ask`, the evaluation and the endpoint.

What is measured is what is deployed, because there is only this path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from index.documents.document import Metadata
from index.encoders.encoder import Encoder
from index.encoders.reranker import Reranker
from index.search.expansion import additions, expanded
from index.search.long_queries import note_on_length
from index.search.search import Hit, search
from index.search.settings import SearchSettings
from index.store.filters import Filter, Labels
from index.store.snapshot import Snapshot
from index.timings import Timings
from ragft.citations import parse_citations
from ragft.config import Config
from ragft.config.serve import Condense
from ragft.conversation import newest_turns, questions_in, standalone
from ragft.engine.base import ChatRequest, Engine
from ragft.fitting import expanded_to_fit, largest
from ragft.messages import Message
from ragft.prompts import conversation
from ragft.rewriting import Rewrites
from ragft.setups import Setup

_NOT_REWRITTEN = (
    "The model did not rewrite the question in time or in one line, so that earlier words were added to it instead."
)


@dataclass(frozen=True)
class Retrieved:
    """What one search found, and in which snapshot, so that an answer never mixes two.

    Attributes:
        milliseconds: of the whole search; of several questions at once, each one's share.
        query: what was searched for: the question, or what a follow-up became.
        timings_ms: of its stages, as `index.timings.STAGES` names them.
        notes: what whoever asked should know about the search, a sentence each.
    """

    hits: tuple[Hit, ...]
    index_version: str
    milliseconds: float
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    query: str = ""

    @property
    def passages(self) -> tuple[Hit, ...]:
        """What a prompt shows that has room for everything: the hits, expanded as they may be and joined."""
        return expanded(self.hits, additions(self.hits))


@dataclass(frozen=True)
class Prompt:
    """A question ready for an engine.

    Attributes:
        retrieved: None for a setup without retrieval; its hits are the passages in the prompt, expanded and joined as
            `index.search.expand` says.
        passages_dropped: number of the last passages found that are not, because the prompt would have been too long.
        dropped_turns: number of the oldest turns that are not in it, for the same reason.
    """

    setup: Setup
    messages: list[Message]
    retrieved: Retrieved | None
    passages_dropped: int = 0
    dropped_turns: int = 0

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
    """What a user gets, with the versions of all that it came from.

    Attributes:
        hits: the passages in the prompt.
        query: see `Retrieved`; None without retrieval.
        invalid_citations: how many passages it names that it was not given.
        passages_dropped, dropped_turns: see `Prompt`.
        notes: see `Retrieved`.
    """

    text: str
    setup: str
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    index_version: str | None
    model_version: str
    finish_reason: str
    prompt_tokens: int | None
    answer_tokens: int | None
    retrieval_ms: float
    ttft_ms: float | None
    total_ms: float
    query: str | None = None
    invalid_citations: int = 0
    passages_dropped: int = 0
    dropped_turns: int = 0
    notes: tuple[str, ...] = ()
    prompt_token_ids: tuple[int, ...] = field(repr=False, default=())
    token_ids: tuple[int, ...] = field(repr=False, default=())


def citations_of(text: str, hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The passages that an answer names; numbers beyond the passages are left out."""
    return tuple(_citation(number, hits[number - 1]) for number in parse_citations(text) if 1 <= number <= len(hits))


def invalid_citations(text: str, hits: Sequence[Hit]) -> int:
    """How many numbers an answer cites that no passage of its prompt has."""
    return sum(not 1 <= number <= len(hits) for number in parse_citations(text))


def all_cited(hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """All passages of a prompt, in the form of citations."""
    return tuple(_citation(number, hit) for number, hit in enumerate(hits, start=1))


def _citation(number: int, hit: Hit) -> Citation:
    return Citation(
        number, hit.document_id, hit.title, " > ".join(hit.heading_path), hit.start, hit.end, hit.text, hit.score,
        hit.page, hit.metadata,
    )  # fmt: skip


@dataclass
class Retriever:
    """The live snapshot and its encoder. A refresh replaces the snapshot by one assignment; a search in flight
    finishes on the one that it began with.
    """

    snapshot: Snapshot
    encoder: Encoder
    settings: SearchSettings
    reranker: Reranker | None = None

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
        explain: bool = False,
    ) -> list[Retrieved]:
        """The best passages for each question, all from one snapshot.

        Args:
            k: passages per question; None: `index.search.top_k`.
            filter: passages must pass it beside `index.search.filter`.
            labels: the caller's, who gets only what they open; None: everything.
            explain: whether hits say why they rank where they do.
        """
        snapshot = self.snapshot
        settings = self.settings if k is None else replace(self.settings, k=k)
        timings = Timings()
        begin = time.perf_counter()
        found = search(
            snapshot, self.encoder, questions, settings,
            filter=filter, labels=labels, reranker=self.reranker, timings=timings, explain=explain,
        )  # fmt: skip
        count = max(1, len(questions))
        each = (time.perf_counter() - begin) * 1000 / count
        stages = {stage: spent / count for stage, spent in timings.milliseconds.items()}
        return [
            Retrieved(tuple(hits), snapshot.id, each, stages, self._notes(question, settings), question)
            for question, hits in zip(questions, found, strict=True)
        ]

    def query(self, question: str, history: Sequence[Message], condense: Condense, labels: Labels = None) -> str:
        """What is searched for a question behind earlier turns, found without a model.

        Args:
            condense: `model` is taken for `heuristic`.
            labels: the caller's, in whose passages alone words are looked up.
        """
        if condense == "off" or not questions_in(history):
            return question
        return standalone(question, history, self.snapshot.view(labels).bm25.words)

    def _notes(self, question: str, settings: SearchSettings) -> tuple[str, ...]:
        note = None if settings.mode == "lexical" else note_on_length(self.encoder, question)
        return () if note is None else (note,)


@dataclass(frozen=True)
class Pipeline:
    """The setups of one application over at most two engines and one retriever.

    Attributes:
        engines: by `Setup.model`: `"base"`, `"tuned"` or both; another engine may take the place of one.
        retriever: None where no setup retrieves.
    """

    config: Config
    engines: MutableMapping[str, Engine]
    retriever: Retriever | None
    _rewrites: Rewrites = field(default_factory=Rewrites, repr=False)

    def engine_of(self, setup: Setup) -> Engine:
        """The engine that answers for a setup."""
        return self.engines[setup.model]

    def rewriter_of(self, setup: Setup) -> Engine:
        """The engine that rewrites follow-ups of a setup, where `serve.condense` is `model`: the one that answers."""
        return self.engine_of(setup)

    @property
    def room(self) -> int:
        """Tokens that a prompt may take beside an answer, which gets half the window at most."""
        settings = self.config.engine
        return settings.max_model_len - min(settings.max_tokens, settings.max_model_len // 2)

    def render(
        self, setup: Setup, question: str, retrieved: Retrieved | None, *,
        history: Sequence[Message] = (), following: Sequence[Message] = (), tools: Any = None,
    ) -> Prompt:  # fmt: skip
        """The prompt for a question whose passages are known already.

        It loses the oldest turns beyond `prompt.history_tokens`, and its last passages if it would not fit. If it has
        room for all, these are expanded as far as there is room. Counting tokens takes milliseconds; may be called from
        any thread.

        Args:
            history, following: see `conversation`.
            tools: see `Engine.prompt_length`.
        """
        if setup.retrieval and retrieved is None:
            raise ValueError(f"setup {setup.name} needs passages")

        def assemble(history: Sequence[Message], passages: Sequence[str] | None) -> list[Message]:
            return conversation(
                self.config.prompt.system, question, passages if setup.retrieval else None,
                history=history, following=following, arrangement=setup.arrangement, shots=setup.shots,
            )  # fmt: skip

        first = next((place for place, one in enumerate(history) if one["role"] != "system"), len(history))
        opening, turns = history[:first], history[first:]
        kept_turns = self._remembered(setup, turns, lambda turns: assemble([*opening, *turns], ()), tools)
        turns_before = partial(assemble, [*opening, *kept_turns])
        dropped = len(turns) - len(kept_turns)
        if retrieved is None or not setup.retrieval:
            return Prompt(setup, turns_before(None), None, dropped_turns=dropped)
        hits, fits = retrieved.hits, self._room(setup, lambda hits: turns_before([hit.passage for hit in hits]), tools)
        kept = largest(len(hits), len(hits), lambda count: fits(hits[:count]))
        shown = expanded_to_fit(hits[:kept], fits, adding=kept == len(hits))
        passages = [hit.passage for hit in shown]
        return Prompt(setup, turns_before(passages), replace(retrieved, hits=shown), len(hits) - kept, dropped)

    def _remembered(
        self, setup: Setup, turns: Sequence[Message], assemble: Callable[[Sequence[Message]], list[Message]], tools: Any
    ) -> Sequence[Message]:
        """The last turns that have room: all where the engine is not there to be asked.

        Args:
            assemble: the prompt behind turns, without passages.
        """
        engine = self.engines.get(setup.model)
        if engine is None or not turns:
            return turns
        alone, room = engine.prompt_length(assemble([]), tools), self.room
        wanted = self.config.prompt.history_tokens
        budget = min(room // 2 if wanted is None else wanted, room - alone)
        return newest_turns(turns, lambda kept: engine.prompt_length(assemble(kept), tools) - alone <= budget)

    def _room(
        self, setup: Setup, assemble: Callable[[Sequence[Hit]], Sequence[Message]], tools: Any
    ) -> Callable[[Sequence[Hit]], bool]:
        """Whether passages leave room for an answer.

        They do if the engine is not there to be asked. None may be too many still: the engine then refuses.
        """
        engine, room = self.engines.get(setup.model), self.room
        return lambda hits: engine is None or engine.prompt_length(assemble(hits), tools) <= room

    async def query(
        self, setup: Setup, question: str, history: Sequence[Message], *, labels: Labels = None,
        deadline: float | None = None,
    ) -> tuple[str, tuple[str, ...]]:  # fmt: skip
        """What is searched for a question behind earlier turns, as `serve.condense` says, and notes about it.

        Args:
            labels: see `Retriever.query`.
            deadline: seconds that the model has to rewrite it; None: as long as it takes.

        Raises:
            EngineDead: the engine died.
        """
        if self.retriever is None:
            raise ValueError(f"setup {setup.name} needs an index")
        if not questions_in(history):
            return question, ()
        condense = self.config.serve.condense
        notes: tuple[str, ...] = ()
        if condense == "model":
            rewritten = await self._rewrites.of(self.rewriter_of(setup), question, history, deadline)
            if rewritten is not None:
                return rewritten, ()
            notes = (_NOT_REWRITTEN,)
        return await asyncio.to_thread(self.retriever.query, question, history, condense, labels), notes

    async def retrieve(
        self,
        setup: Setup,
        question: str,
        k: int | None = None,
        *,
        history: Sequence[Message] = (),
        filter: Filter | None = None,  # noqa: A002
        labels: Labels = None,
        deadline: float | None = None,
    ) -> Retrieved | None:
        """What the caller may see of the best passages for a question; None for a setup without retrieval.

        Args:
            history, deadline: see `query`; the time that this takes counts as part of the search.
        """
        if not setup.retrieval:
            return None
        if self.retriever is None:
            raise ValueError(f"setup {setup.name} needs an index")
        begin = time.perf_counter()
        query, notes = await self.query(setup, question, history, labels=labels, deadline=deadline)
        spent = (time.perf_counter() - begin) * 1000
        # Off the event loop: encoding a query takes milliseconds in which streams would stall.
        (retrieved,) = await asyncio.to_thread(self.retriever.search, [query], k, filter=filter, labels=labels)
        return replace(retrieved, milliseconds=retrieved.milliseconds + spent, notes=(*retrieved.notes, *notes))

    def request(self, prompt: Prompt, options: Mapping[str, Any] = MappingProxyType({})) -> ChatRequest:
        """What an engine is asked: greedily, and for at most `engine.max_tokens`, unless the options say otherwise."""
        defaults = {"temperature": 0}
        if "max_completion_tokens" not in options:
            defaults["max_tokens"] = self.config.engine.max_tokens
        return ChatRequest(prompt.messages, {**defaults, **options})

    async def answer(self, prompt: Prompt, engine: Engine | None = None) -> Answer:
        """Generates and cites.

        Args:
            engine: what answers; None: the engine of the setup.
        """
        engine = engine or self.engine_of(prompt.setup)
        completion = await engine.chat(self.request(prompt))
        retrieved = prompt.retrieved
        return Answer(
            text=completion.text,
            setup=prompt.setup.name,
            citations=citations_of(completion.text, prompt.hits),
            hits=prompt.hits,
            index_version=retrieved.index_version if retrieved else None,
            model_version=engine.version,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            answer_tokens=completion.answer_tokens,
            retrieval_ms=retrieved.milliseconds if retrieved else 0.0,
            ttft_ms=completion.ttft_ms,
            total_ms=completion.total_ms,
            query=retrieved.query if retrieved else None,
            invalid_citations=invalid_citations(completion.text, prompt.hits),
            passages_dropped=prompt.passages_dropped,
            dropped_turns=prompt.dropped_turns,
            notes=retrieved.notes if retrieved else (),
            prompt_token_ids=completion.prompt_token_ids,
            token_ids=completion.token_ids,
        )
