"""`ragft tune search`: settings of the search, chosen on one part of the evaluation questions and judged on the rest.

Questions are encoded once, and passages are scored by the reranker once; the settings are then searched with one after
the other. Publishes nothing and writes nothing but indexes of other chunks, which are deleted again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ragft.console import counted, some
from ragft.data.gold import located
from ragft.data.questions import Question
from ragft.errors import RagftError, UsageError
from ragft.evaluate.records import PassageRef
from ragft.evaluate.search_tuning import Candidate, Compared, compared, measured, rankings, with_k
from ragft.evaluate.statistics import Columns, cluster_questions
from ragft.stages.application import Application
from ragft.stages.index import live_snapshot, refresh

if TYPE_CHECKING:
    from index.encoders.reranker import Reranker
    from index.search.search import Hit
    from index.search.settings import SearchSettings
    from index.store.snapshot import Snapshot

_TIMED = 40
"""Held-out questions that are searched for alone, one after the other, to tell how long a search takes."""


@dataclass(frozen=True)
class SearchTuned:
    """What `ragft tune search` found.

    Attributes:
        tried: numbers of candidates, and of searches that they took.
        milliseconds: median of a search for one question, encoding it included, by the names of `compared.candidates`.
        left_out: questions without sources in the index.
    """

    compared: Compared
    now: Candidate
    tried: int
    searches: int
    milliseconds: Mapping[str, float]
    left_out: int


def tune_search(app: Application) -> SearchTuned:
    """Searches with every candidate, chooses by one part of the questions and compares on the others.

    Raises:
        UsageError: there are no questions with sources in the index, all are about one document, or more passages are
            to be tried than a search ranks.
        RagftError: chunks are to be tried, and the documents changed since the index was built.
    """
    space = app.config.tune.search
    now = _now(app)
    _refuse_too_many_passages(app)
    snapshot = live_snapshot(app)
    questions, left_out = _questions(app, snapshot)
    clusters = cluster_questions(questions, {document for one in questions for p in one.places for document, _ in p})
    reranked = app.reranker is not None
    searched = rankings(now, space, reranker=reranked, seed=app.config.seed)
    finder = _Finder(app, questions)
    scores: dict[Candidate, Columns] = {}
    with _snapshots(app, snapshot, now, searched) as snapshots:
        with app.reporter.progress("Searching") as advance:
            for done, ranking in enumerate(searched):
                advance(done, len(searched), ranking.described())
                scores |= finder.scores(snapshots(ranking), with_k(ranking, [now.top_k, *space.top_k]))
            advance(len(searched), len(searched), "")
        found = compared(scores, now, clusters, space, seed=app.config.seed, resamples=app.config.evaluate.resamples)
        milliseconds = finder.milliseconds({name: (one, snapshots(one)) for name, one in found.candidates.items()})
    return SearchTuned(found, now, len(scores), len(searched), milliseconds, left_out)


def _now(app: Application) -> Candidate:
    search = app.config.index.search
    return Candidate(
        search.top_k, search.mode, search.dense_weight, search.lexical_weight, search.reranker is not None,
        app.config.index.chunking.max_tokens,
    )  # fmt: skip


def _refuse_too_many_passages(app: Application) -> None:
    """The first of many passages are those of a search for few only where as many candidates are ranked."""
    search, most = app.config.index.search, max((*app.config.tune.search.top_k, app.config.index.search.top_k))
    limits = {"candidates": search.candidates}
    if search.reranker is not None:
        limits["rerank_candidates"] = search.rerank_candidates
    for key, limit in limits.items():
        if most > limit:
            raise UsageError(
                f"ragft tune search cannot try {most} passages, because index.search.{key} is {limit}: raise it, or "
                "leave such values out of tune.search.top_k."
            )


def _questions(app: Application, snapshot: Snapshot) -> tuple[list[Question], int]:
    """The answerable single questions whose sources all stand in the index, and how many others there are."""
    sourced = [one for one in app.questions if one.answerable and one.sources and not one.history]
    where = located(sourced, snapshot.chunks())
    found = [question for question in where.questions if question.id not in where.absent]
    if where.absent:
        named = some(f"{source} ({name})" for name, sources in where.absent.items() for source in sources)
        app.reporter.say(f"The index lacks sources of {counted(len(where.absent), 'question')}: {named}.")
    if not found:
        raise UsageError(
            f"No question of {app.config.data.questions} names sources that the index holds: give questions `sources`."
        )
    return found, len(app.questions) - len(found)


@contextmanager
def _snapshots(
    app: Application, live: Snapshot, now: Candidate, searched: Sequence[Candidate]
) -> Iterator[Callable[[Candidate], Snapshot]]:
    """Gives the index that a candidate is searched in; those of other chunks exist until the end."""
    made: dict[int | None, Snapshot] = {now.chunk_tokens: live}
    others = [size for size in dict.fromkeys(one.chunk_tokens for one in searched) if size not in made]
    if not others:
        yield lambda one: made[one.chunk_tokens]
        return
    if not refresh(app, dry_run=True).plan.is_empty:
        raise RagftError(
            f"The documents changed since the index in {app.index_root} was built: run `ragft index refresh` first, so "
            "that chunks are compared on the same documents."
        )
    folder = app.workspace / "tuning"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".search-") as growing:
        for size in others:
            made[size] = _indexed(app, size, Path(growing) / str(size))
        yield lambda one: made[one.chunk_tokens]


def _indexed(app: Application, chunk_tokens: int | None, root: Path) -> Snapshot:
    """An index of the live documents in other chunks."""
    from index.store.snapshot import Snapshot

    index = app.config.index
    chunking = index.chunking.model_copy(update={"max_tokens": chunk_tokens})
    changed = app.config.model_copy(update={"index": index.model_copy(update={"chunking": chunking})})
    app.reporter.say(f"Indexing the documents in chunks of {chunk_tokens} tokens")
    refresh(Application(changed, app.reporter), root=root, encoder=app.encoder)
    return Snapshot.open(root)


class _Finder:
    """Searches for the questions with one candidate after the other."""

    def __init__(self, app: Application, questions: Sequence[Question]) -> None:
        self._labels = app.labels
        self._settings = app.config.index.search.settings()
        self._encoder, self._reranker = app.encoder, app.reranker
        self._known_queries: Any = _KnownQueries(app.encoder)
        self._known_scores = None if app.reranker is None else _KnownScores(app.reranker)
        self._tokenizer = app.tokenizer
        self._tokens: dict[str, int] = {}
        self._questions = questions

    def scores(self, snapshot: Snapshot, candidates: Sequence[Candidate]) -> dict[Candidate, Columns]:
        """(questions, measures) of candidates that differ in `top_k` alone, from one search."""
        widest = max(candidates, key=lambda one: one.top_k)
        texts = [question.question for question in self._questions]
        reranker = self._known_scores if widest.rerank else None
        found = self._search(snapshot, texts, self._as_settings(widest), self._known_queries, reranker)
        return {one: self._measured([hits[: one.top_k] for hits in found]) for one in candidates}

    def milliseconds(self, candidates: Mapping[str, tuple[Candidate, Snapshot]]) -> dict[str, float]:
        """Median of the searches for single questions, those of the candidates in turns."""
        spent: dict[str, list[float]] = {name: [] for name in candidates}
        for question in [self._questions[0], *self._questions[:_TIMED]]:
            for name, (one, snapshot) in candidates.items():
                begin = time.perf_counter()
                reranker = self._reranker if one.rerank else None
                self._search(snapshot, [question.question], self._as_settings(one), self._encoder, reranker)
                spent[name].append(1000 * (time.perf_counter() - begin))
        # The first search of each reads what the others find in memory.
        return {name: float(np.median(times[1:])) for name, times in spent.items()}

    def _as_settings(self, one: Candidate) -> SearchSettings:
        weights = (one.dense_weight, one.lexical_weight)
        return replace(self._settings, k=one.top_k, mode=one.mode, weights=weights)

    def _search(
        self, snapshot: Snapshot, texts: Sequence[str], settings: SearchSettings, encoder: Any,
        reranker: Reranker | None,
    ) -> list[list[Hit]]:  # fmt: skip
        from index.search.search import search

        return search(snapshot, encoder, texts, settings, labels=self._labels, reranker=reranker)

    def _measured(self, found: Sequence[Sequence[Hit]]) -> Columns:
        from index.search.expansion import additions, expanded

        shown = [expanded(hits, additions(hits)) for hits in found]
        self._count({hit.passage for hits in shown for hit in hits})
        return np.array([
            measured(
                question,
                [
                    PassageRef(hit.chunk_id, hit.document_id, hit.heading_path[-1], hit.score, hit.title, hit.sections,
                               hit.heading_path)
                    for hit in hits
                ],
                sum(self._tokens[hit.passage] for hit in hits),
            )
            for question, hits in zip(self._questions, shown, strict=True)
        ])  # fmt: skip

    def _count(self, passages: set[str]) -> None:
        """Counts the tokens of passages that were not counted yet."""
        new = sorted(passages - self._tokens.keys())
        if new:
            ids = self._tokenizer(new, add_special_tokens=False)["input_ids"]
            self._tokens.update(zip(new, map(len, ids), strict=True))


class _KnownQueries:
    """An encoder that encodes every query once."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._vectors: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_queries(self, texts: Sequence[str]) -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode_queries(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


class _KnownScores:
    """A reranker that scores every passage for a query once."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self.source, self.fingerprint = reranker.source, reranker.fingerprint
        self._scores: dict[tuple[str, str], float] = {}

    def scores(self, query: str, passages: Sequence[str]) -> Any:
        new = [passage for passage in dict.fromkeys(passages) if (query, passage) not in self._scores]
        if new:
            scored = self._reranker.scores(query, new).tolist()
            self._scores.update(zip(((query, passage) for passage in new), scored, strict=True))
        return np.array([self._scores[query, passage] for passage in passages])
