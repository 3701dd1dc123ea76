"""Finds the chunks that answer a question: dense, lexical, or both fused by reciprocal rank.

The ranking depends on the content of the snapshot alone, never on how it came about: scores are summed in
one order wherever a row lies, ties are broken by document and position, and no tie is cut in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from index.documents.folder import Metadata
from index.encoders.encoder import TextEncoder, Vectors
from index.encoders.reranker import Reranker
from index.refresh.planning import check_encoder
from index.search.duplicates import passage_key
from index.store.filters import Filter, Labels
from index.store.lexical import K1, B, Scores
from index.store.snapshot import Snapshot
from index.store.view import View
from index.timings import Timings

MODES = ("hybrid", "dense", "lexical")

_TIE = 1e-5
"""FAISS and `SegmentVectors.scores` differ by less than this (float32 sums of unit vectors)."""

_SPARE = 16
"""Rows asked of FAISS beyond the depth, so that a tie at its edge seldom needs a second search."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found.

    Attributes:
        chunk_id: Stable name, `document_id#start-end`.
        document_id: Where it comes from.
        title: The document's title.
        heading_path: Headings above the chunk, the title first.
        start: First character in the document.
        end: One past the last character.
        text: The slice of the document.
        passage: What to show a model: the heading path, then the text.
        score: What the ranking went by: that of the reranker, else the fused score, or that of the one mode.
        dense_score: Cosine of query and passage; None if the mode did not look at it.
        lexical_score: BM25, 0 if no term occurs; None if the mode did not look at it.
        page: The page that it begins on, from 1; None where the document has no pages.
        metadata: Of the document.
        rerank_score: What the reranker said of query and passage; None without one.
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


def search(
    snapshot: Snapshot,
    encoder: TextEncoder,
    queries: Sequence[str],
    k: int = 5,
    mode: str = "hybrid",
    weights: tuple[float, float] = (1.0, 1.0),
    rrf_k: int = 60,
    depth: int = 50,
    *,
    filter: Filter | None = None,  # noqa: A002
    labels: Labels = None,
    reranker: Reranker | None = None,
    rerank_depth: int = 20,
    timings: Timings | None = None,
    collapse: bool = False,
    bm25: tuple[float, float] = (K1, B),
) -> list[list[Hit]]:
    """The best chunks for each query, best first; safe to call from several threads.

    Args:
        snapshot: Where to search.
        encoder: The one that built the snapshot.
        queries: Questions; a blank one finds nothing.
        k: Hits for each query; fewer if fewer are visible, or if no term occurs in lexical mode.
        mode: One of `MODES`.
        weights: Of the dense and the lexical ranking in the fusion.
        rrf_k: Constant of reciprocal rank fusion: the larger, the less the first ranks stand out.
        depth: How far down each ranking is read for the fusion; a single ranking is read no further than `k`.
        filter: Only chunks that pass it are found.
        labels: Of the caller, who finds chunks without labels and those that share one; None finds all. What a
            caller may not see takes no part in the search and leaves no trace in ranks and scores.
        reranker: Orders the best candidates anew; None for none.
        rerank_depth: How many candidates it reads for a query, at least `k`.
        timings: Collects how long each stage took.
        collapse: Of hits that repeat each other word for word, give only the best; fewer than `k` are given where the
            depth holds no more.
        bm25: k1 and b of the lexical ranking; see `Bm25.scores`.

    Raises:
        EncoderMismatch: the encoder is another one.
        ValueError: an argument makes no sense.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    if k < 1 or rrf_k < 0 or min(weights) < 0:
        raise ValueError(f"k is {k}, rrf_k is {rrf_k}, weights are {weights}; k starts at 1, the others at 0")
    timings = timings or Timings()
    check_encoder(snapshot, encoder)
    asked = [place for place, query in enumerate(queries) if query.strip()]
    results: list[list[Hit]] = [[] for _ in queries]
    with timings.stage("filter"):
        view = snapshot.view(labels, filter)
    if not asked or not view.count:
        return results
    texts = [queries[place] for place in asked]
    candidates = max(k, rerank_depth) if reranker is not None else k
    depth = max(depth, candidates) if mode == "hybrid" or collapse else candidates
    vectors = dense = None
    if mode != "lexical":
        with timings.stage("encode"):
            vectors = encoder.encode_queries(texts)
        with timings.stage("dense"):
            dense = _dense_rankings(snapshot, view, vectors, depth)
    for number, place in enumerate(asked):
        rankings: list[tuple[float, Iterable[int]]] = []
        lexical_scores = None
        if dense is not None:
            rankings.append((weights[0], dense[number]))
        if mode != "dense":
            with timings.stage("lexical"):
                lexical_scores = view.hide(snapshot, view.bm25(snapshot).scores(texts[number], *bm25))
                rankings.append((weights[1], _lexical_ranking(snapshot, lexical_scores, depth).tolist()))
        with timings.stage("fuse"):
            best = _fuse(snapshot, rankings, rrf_k, 2 * depth if collapse else candidates)
            if collapse:
                best = _distinct(snapshot, best, candidates)
        with timings.stage("hits"):
            cosines = None
            if vectors is not None and dense is not None:
                cosines = _cosines(snapshot, vectors[number], [row for row, _ in best], dense[number])
            results[place] = _hits(snapshot, best, mode, cosines, lexical_scores)
        if reranker is not None:
            with timings.stage("rerank"):
                results[place] = _reranked(reranker, texts[number], results[place])[:k]
    return results


def _reranked(reranker: Reranker, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits in the reranker's order; equal scores keep the order that they had."""
    scores = reranker.scores(query, [hit.passage for hit in hits]).tolist()
    scored = [replace(hit, score=score, rerank_score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)


def _dense_rankings(snapshot: Snapshot, view: View, vectors: Vectors, depth: int) -> list[dict[int, float]]:
    """For each query the rows of the `depth` nearest visible chunks, best first, with their cosines."""
    rankings: list[dict[int, float]] = [{} for _ in vectors]
    open_places = list(range(len(vectors)))
    width = depth + _SPARE
    while open_places:
        batch = np.ascontiguousarray(vectors[open_places])
        found = [
            segment.vectors.search(batch, width, mask) if count else [np.zeros(0, dtype=np.int64)] * len(batch)
            for segment, mask, count in zip(snapshot.segments, view.masks, view.counts, strict=True)
        ]
        undecided = []
        for number, place in enumerate(open_places):
            rows = np.concatenate(
                [first + local[number] for first, local in zip(snapshot.offsets, found, strict=False)]
            )
            scores = np.concatenate(
                [
                    segment.vectors.scores(vectors[place], local[number])
                    for segment, local in zip(snapshot.segments, found, strict=True)
                ]
            )
            order = _order(snapshot, rows, scores)
            # Each segment gave its best `width` rows. One that gave so many may hold another row as good
            # as the last that it gave; that matters only if this last one is about as good as the edge of the
            # ranking.
            edge = scores[order[min(depth, len(order)) - 1]]
            if width < view.count and _may_miss(scores, found, number, width, edge):
                undecided.append(place)
            else:
                best = order[:depth]
                rankings[place] = dict(zip(rows[best].tolist(), scores[best].tolist(), strict=True))
        open_places = undecided
        width *= 4
    return rankings


def _may_miss(scores: Scores, found: Sequence[list[Rows]], number: int, width: int, edge: float) -> bool:
    """Whether a segment may hold rows that tie with the edge of the ranking but were not given."""
    first = 0
    for local in found:
        count = len(local[number])
        if count == width and scores[first : first + count].min() >= edge - _TIE:
            return True
        first += count
    return False


def _cosines(snapshot: Snapshot, vector: Vectors, rows: list[int], known: dict[int, float]) -> list[float]:
    """Cosine of one query with each row; computed only for those whose cosine is not known."""
    unknown = [row for row in rows if row not in known]
    if unknown:
        scores = _dense_scores(snapshot, vector, np.array(unknown, dtype=np.int64))
        known = known | dict(zip(unknown, scores.tolist(), strict=True))
    return [known[row] for row in rows]


def _dense_scores(snapshot: Snapshot, vector: Vectors, rows: Rows) -> Scores:
    """Cosine of one query with rows of any segments: (len(rows),) float64."""
    if len(snapshot.segments) == 1:
        return snapshot.segments[0].vectors.scores(vector, rows)
    scores = np.empty(len(rows), dtype=np.float64)
    place = np.searchsorted(snapshot.offsets, rows, side="right") - 1
    for number in np.unique(place):
        mine = place == number
        local = rows[mine] - snapshot.offsets[number]
        scores[mine] = snapshot.segments[number].vectors.scores(vector, local)
    return scores


def _lexical_ranking(snapshot: Snapshot, scores: Scores, depth: int) -> Rows:
    """Rows of the `depth` best chunks that hold any term, best first."""
    rows = np.flatnonzero(scores)
    if len(rows) > depth:
        edge = np.partition(scores[rows], -depth)[-depth]
        rows = rows[scores[rows] >= edge]
    return rows[_order(snapshot, rows, scores[rows])[:depth]]


def _fuse(
    snapshot: Snapshot, rankings: Sequence[tuple[float, Iterable[int]]], rrf_k: int, k: int
) -> list[tuple[int, float]]:
    """The `k` best rows with their fused scores, best first; a single ranking keeps its order."""
    fused: dict[int, float] = {}
    for weight, ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            fused[row] = fused.get(row, 0.0) + weight / (rrf_k + rank)
    if len(rankings) == 1:
        return list(fused.items())[:k]
    best = sorted(fused.items(), key=lambda item: -item[1])
    if len(best) > k:
        # What is worse than the last of the hits has no place among them, so its ties need not be broken.
        best = [item for item in best if item[1] >= best[k - 1][1]]
    return sorted(best, key=lambda item: (-item[1], snapshot.place(item[0])))[:k]


def _distinct(snapshot: Snapshot, best: Sequence[tuple[int, float]], k: int) -> list[tuple[int, float]]:
    """The first `k` rows that do not repeat one above them: of equal ones, the best, then the first by document.

    Done here and not in the index, so that every caller sees a copy that it may see, and a refresh stays incremental.
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
    """The order of rows by score, ties by document and position."""
    order: Rows = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    equal = ranked[1:] == ranked[:-1]
    if not equal.any():
        return order
    # Only rows whose scores are equal are read: to order all rows of a snapshot takes longer than many searches.
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    inside = sorted(order[tied].tolist(), key=lambda number: (-scores[number], snapshot.place(int(rows[number]))))
    order[tied] = inside
    return order


def _hits(
    snapshot: Snapshot,
    best: Sequence[tuple[int, float]],
    mode: str,
    cosines: list[float] | None,
    lexical_scores: Scores | None,
) -> list[Hit]:
    rows = [row for row, _ in best]
    lexical = lexical_scores[rows].tolist() if lexical_scores is not None else [None] * len(rows)
    hits = []
    dense = cosines if cosines is not None else [None] * len(rows)
    for (row, fused), dense_score, lexical_score in zip(best, dense, lexical, strict=True):
        chunk = snapshot.chunk_at(row)
        hits.append(
            Hit(
                chunk_id=chunk.id,
                document_id=chunk.document_id,
                title=chunk.title,
                heading_path=chunk.heading_path,
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                passage=chunk.passage,
                score={"hybrid": fused, "dense": dense_score, "lexical": lexical_score}[mode],
                dense_score=dense_score,
                lexical_score=lexical_score,
                page=chunk.page,
                metadata=chunk.metadata,
            )
        )
    return hits
