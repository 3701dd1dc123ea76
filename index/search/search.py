"""Finds the chunks that answer a question: dense, lexical, or both fused by reciprocal rank.

The ranking depends on the content of the snapshot alone, not on its history: scores are summed in one order wherever a
row lies, ties are broken by document and position, and no tie is cut at the edge of a ranking.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from index.documents.chunking import Chunk
from index.documents.document import Metadata
from index.encoders.encoder import TextEncoder, Vectors
from index.encoders.reranker import Reranker
from index.search.duplicates import passage_key
from index.search.explanation import Explanation, Place
from index.search.long_queries import encode_queries
from index.search.settings import NONE, SearchSettings
from index.search.surroundings import Numbered, surroundings
from index.store.filters import Filter, Labels, both
from index.store.lexical import Scores
from index.store.snapshot import Snapshot
from index.store.vectors import Rows
from index.store.view import View
from index.timings import Timings

_TIE = 1e-5
"""Scores of FAISS and of `SegmentVectors.scores` differ by less than this (float32 sums over unit vectors)."""

_SPARE = 16
"""Rows that FAISS is asked for beyond the depth, so that a tie at its edge seldom needs a second search."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, or the slice of a document that it was expanded to (`index.search.expansion`).

    Attributes:
        chunk_id: `document_id#start-end`; the same in every snapshot that holds the chunk.
        heading_path: headings above the chunk, the title first; of a slice over several sections, above all of them.
        text: the characters `start:end` of the document.
        passage: heading path and text, as a model reads them.
        score: the score that hits are ranked by: the reranker's, else the fused one or that of the only ranking.
        dense_score: cosine of query and passage; None in lexical mode.
        lexical_score: BM25, 0 if no term occurs; None in dense mode.
        page: page that the chunk begins on, from 1; None if the document has no pages.
        rerank_score: score of the reranker; None without one.
        sections: the heading of each section that the slice is from, in their order; empty if it is one.
        around: the hit's own chunk and those that it may be expanded by, see `surroundings`; empty for nothing.
        explanation: why it ranks where it does; None where nobody asked.
    """

    chunk_id: str
    document_id: str
    title: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    text: str
    passage: str
    score: float
    dense_score: float | None
    lexical_score: float | None
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)
    rerank_score: float | None = None
    sections: tuple[str, ...] = ()
    around: tuple[Numbered, ...] = field(default=(), repr=False, compare=False)
    explanation: Explanation | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, chunk: Chunk, score: float = 0.0, dense_score: float | None = None, lexical_score: float | None = None,
        around: tuple[Numbered, ...] = (),
    ) -> Hit:  # fmt: skip
        """The hit on a chunk."""
        return cls(
            chunk_id=chunk.id, document_id=chunk.document_id, title=chunk.title, heading_path=chunk.heading_path,
            start=chunk.start, end=chunk.end, text=chunk.text, passage=chunk.passage, score=score,
            dense_score=dense_score, lexical_score=lexical_score, page=chunk.page, metadata=chunk.metadata,
            around=around,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The hit as it was found, without its explanation and what an expansion would make of it."""
        names = (item.name for item in fields(self))
        return {name: getattr(self, name) for name in names if name not in ("sections", "around", "explanation")}

    def told(self, number: int) -> dict[str, Any]:
        """The hit as it was found, with why it ranks in this place (from 1) of the result where that was asked."""
        if self.explanation is None:
            return self.to_json()
        return {**self.to_json(), "explanation": self.explanation.to_json(number, self.rerank_score)}


def search(
    snapshot: Snapshot,
    encoder: TextEncoder,
    queries: Sequence[str],
    settings: SearchSettings | None = None,
    *,
    filter: Filter | None = None,  # noqa: A002
    labels: Labels = None,
    reranker: Reranker | None = None,
    timings: Timings | None = None,
    explain: bool = False,
) -> list[list[Hit]]:
    """The best chunks for each query, best first; safe to call from several threads.

    Args:
        queries: questions; a blank one finds nothing. Of one that is longer than the encoder's window, nothing is
            lost: see `index.search.long_queries`.
        filter: filter that chunks must pass, in addition to that of the settings.
        labels: labels of the caller, who finds chunks without labels and chunks with one of these; None finds all. What
            a caller may not see takes no part in the search and leaves no trace in ranks and scores.
        explain: whether hits say why they rank where they do; changes nothing else.

    Raises:
        EncoderMismatch: another encoder built the snapshot.
    """
    settings, timings = settings or SearchSettings(), timings or Timings()
    snapshot.check_encoder(encoder)
    asked = [place for place, query in enumerate(queries) if query.strip()]
    results: list[list[Hit]] = [[] for _ in queries]
    with timings.stage("filter"):
        view = snapshot.view(labels, both(settings.filter, filter))
    if not asked or not view.count:
        return results
    found = _Search(snapshot, view, settings, reranker, timings, explain).run(
        encoder, [queries[place] for place in asked]
    )
    for place, hits in zip(asked, found, strict=True):
        results[place] = hits
    return results


@dataclass(frozen=True)
class _Search:
    """One search of some queries, stage by stage."""

    snapshot: Snapshot
    view: View
    settings: SearchSettings
    reranker: Reranker | None
    timings: Timings
    explain: bool

    def run(self, encoder: TextEncoder, texts: Sequence[str]) -> list[list[Hit]]:
        if self.settings.mode == "lexical":
            return [self._answer(text, None, {}) for text in texts]
        with self.timings.stage("encode"):
            vectors = encode_queries(encoder, texts)
        with self.timings.stage("dense"):
            rankings = _dense_rankings(self.snapshot, self.view, vectors, self._depth)
        return [self._answer(*query) for query in zip(texts, vectors, rankings, strict=True)]

    @property
    def _depth(self) -> int:
        return self.settings.depth(self.reranker is not None)

    def _answer(self, text: str, vector: Vectors | None, dense: dict[int, float]) -> list[Hit]:
        """The hits of one query.

        Args:
            vector: (dimension,) float32; None in lexical mode.
            dense: cosine of each row of the dense ranking, best first.
        """
        settings, snapshot, stage = self.settings, self.snapshot, self.timings.stage
        rankings: list[tuple[float, Iterable[int]]] = []
        lexical = None
        if vector is not None:
            rankings.append((settings.weights[0], dense))
        if settings.mode != "dense":
            with stage("lexical"):
                lexical = self.view.hide(self.view.bm25.scores(text, *settings.bm25))
                rankings.append((settings.weights[1], _lexical_ranking(snapshot, lexical, self._depth).tolist()))
        kept = settings.kept(self.reranker is not None)
        with stage("fuse"):
            best = _fuse(snapshot, rankings, settings.rrf_k, 2 * self._depth if settings.collapse else kept)
            if settings.collapse:
                best = _distinct(snapshot, best, kept)
        with stage("hits"):
            cosines = dense if vector is None else _cosines(snapshot, vector, [row for row, _ in best], dense)
            hits = _hits(snapshot, best, settings.mode, cosines, lexical)
        if self.explain:
            with stage("explain"):
                hits = self._explained(text, hits, best, [list(rows) for _, rows in rankings])
        if self.reranker is not None:
            with stage("rerank"):
                hits = _reranked(self.reranker, text, hits)[: settings.k]
        if settings.expand != NONE:
            with stage("expand"):
                hits = self._with_surroundings(hits, best)
        return hits

    def _explained(
        self, text: str, hits: Sequence[Hit], best: Sequence[tuple[int, float]], rankings: Sequence[Sequence[int]]
    ) -> list[Hit]:
        """The hits with why they rank where they do; `rankings` are those that were fused, as rows, best first."""
        mode, rows = self.settings.mode, [row for row, _ in best]
        names = ("dense", "lexical") if mode == "hybrid" else (mode,)
        ranks = {
            name: {row: rank for rank, row in enumerate(ranking, start=1)}
            for name, ranking in zip(names, rankings, strict=True)
        }
        matched = [()] * len(rows) if mode == "dense" else self.view.bm25.told(text, rows, *self.settings.bm25)

        def place(name: str, row: int, score: float | None) -> Place | None:
            if name not in ranks:
                return None
            rank = ranks[name].get(row)
            weight = self.settings.weights[0 if name == "dense" else 1]
            return Place(rank, score, weight, 0.0 if rank is None else weight / (self.settings.rrf_k + rank))

        return [
            replace(
                hit,
                explanation=Explanation.of(
                    rank, self._depth, self.settings.rrf_k, place("dense", row, hit.dense_score),
                    place("lexical", row, hit.lexical_score), found, hit.heading_path, hit.text,
                ),
            )
            for rank, (row, hit, found) in enumerate(zip(rows, hits, matched, strict=True), start=1)
        ]  # fmt: skip

    def _with_surroundings(self, hits: Sequence[Hit], best: Sequence[tuple[int, float]]) -> list[Hit]:
        rows = {self.snapshot.place(row): row for row, _ in best}
        places = ((hit, rows[hit.document_id, hit.start, hit.end]) for hit in hits)
        expand = self.settings.expand
        return [replace(hit, around=surroundings(self.snapshot, self.view, row, expand)) for hit, row in places]


def _reranked(reranker: Reranker, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits in the reranker's order; hits with equal scores keep theirs."""
    scores = reranker.scores(query, [hit.passage for hit in hits]).tolist()
    scored = [replace(hit, score=score, rerank_score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)


def _dense_rankings(snapshot: Snapshot, view: View, vectors: Vectors, depth: int) -> list[dict[int, float]]:
    """For each query the cosines of the `depth` nearest visible rows, best first."""
    rankings: list[dict[int, float]] = [{} for _ in vectors]
    undecided = list(range(len(vectors)))
    width = depth + _SPARE
    while undecided:
        batch = np.ascontiguousarray(vectors[undecided])
        found = [
            segment.vectors.search(batch, width, mask) if count else [np.zeros(0, dtype=np.int64)] * len(batch)
            for segment, mask, count in zip(snapshot.segments, view.masks, view.counts, strict=True)
        ]
        remaining = []
        for place, *rows in zip(undecided, *found, strict=True):
            ranking = _ranking(snapshot, vectors[place], rows, depth, width if width < view.count else None)
            if ranking is None:
                remaining.append(place)
            else:
                rankings[place] = ranking
        undecided = remaining
        width *= 4
    return rankings


def _ranking(
    snapshot: Snapshot, vector: Vectors, found: Sequence[Rows], depth: int, width: int | None
) -> dict[int, float] | None:
    """The cosines of the best rows of all segments, best first; None if a wider search is needed to break ties.

    `found` are the best rows of each segment, numbered within it. `width` is the number of rows that each segment was
    asked for, None if all visible rows were found.
    """
    rows = np.concatenate([first + local for first, local in zip(snapshot.offsets, found, strict=False)])
    parts = [segment.vectors.scores(vector, local) for segment, local in zip(snapshot.segments, found, strict=True)]
    scores = np.concatenate(parts)
    order = _order(snapshot, rows, scores)[:depth]
    # A segment that gave all the rows it was asked for may hold another one as good as the last that it gave. That
    # matters only if this last one is about as good as the edge of the ranking.
    edge = scores[order[-1]] - _TIE
    if width is not None and any(len(part) == width and part.min() >= edge for part in parts):
        return None
    return dict(zip(rows[order].tolist(), scores[order].tolist(), strict=True))


def _cosines(snapshot: Snapshot, vector: Vectors, rows: list[int], known: dict[int, float]) -> dict[int, float]:
    """The known cosines of a query, and those with the other rows."""
    unknown: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row not in known:
            unknown[snapshot.locate(row)[0]].append(row)
    for segment, missing in unknown.items():
        scores = snapshot.segments[segment].vectors.scores(vector, np.array(missing) - snapshot.offsets[segment])
        known = known | dict(zip(missing, scores.tolist(), strict=True))
    return known


def _lexical_ranking(snapshot: Snapshot, scores: Scores, depth: int) -> Rows:
    """The `depth` best rows that hold any term, best first."""
    rows = np.flatnonzero(scores)
    if len(rows) > depth:
        edge = np.partition(scores[rows], -depth)[-depth]
        rows = rows[scores[rows] >= edge]
    return rows[_order(snapshot, rows, scores[rows])[:depth]]


def _fuse(
    snapshot: Snapshot, rankings: Sequence[tuple[float, Iterable[int]]], rrf_k: int, k: int
) -> list[tuple[int, float]]:
    """The `k` best rows by reciprocal rank fusion with their fused scores; a single ranking keeps its order."""
    fused: dict[int, float] = {}
    for weight, ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            fused[row] = fused.get(row, 0.0) + weight / (rrf_k + rank)
    if len(rankings) == 1:
        return list(fused.items())[:k]
    best = sorted(fused.items(), key=lambda item: -item[1])
    if len(best) > k:
        # Rows below the last hit are left out first, because their ties need not be broken.
        best = [item for item in best if item[1] >= best[k - 1][1]]
    return sorted(best, key=lambda item: (-item[1], snapshot.place(item[0])))[:k]


def _distinct(snapshot: Snapshot, best: Sequence[tuple[int, float]], k: int) -> list[tuple[int, float]]:
    """The first `k` rows that do not repeat one above them word for word.

    The index keeps repetitions, so that every caller finds a copy that it may see, and a refresh stays incremental.
    """
    seen: set[bytes] = set()
    kept: list[tuple[int, float]] = []
    for row, score in best:
        chunk = snapshot.chunk_at(row)
        key = passage_key(chunk.heading_path, chunk.text)
        if key not in seen:
            seen.add(key)
            kept.append((row, score))
            if len(kept) == k:
                break
    return kept


def _order(snapshot: Snapshot, rows: Rows, scores: Scores) -> Rows:
    """The places of the rows by descending score, ties by document and position."""
    order: Rows = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    equal = ranked[1:] == ranked[:-1]
    if not equal.any():
        return order
    # Only rows with equal scores are read: ordering all rows of a snapshot would take longer than many searches.
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    order[tied] = sorted(order[tied].tolist(), key=lambda place: (-scores[place], snapshot.place(int(rows[place]))))
    return order


def _hits(
    snapshot: Snapshot, best: Sequence[tuple[int, float]], mode: str, cosines: dict[int, float], lexical: Scores | None
) -> list[Hit]:
    hits = []
    for row, fused in best:
        chunk = snapshot.chunk_at(row)
        dense_score = cosines.get(row)
        lexical_score = None if lexical is None else float(lexical[row])
        score: Any = {"hybrid": fused, "dense": dense_score, "lexical": lexical_score}[mode]
        hits.append(Hit.of(chunk, score, dense_score, lexical_score))
    return hits
