"""Why a passage ranks where it does: its place in each ranking, what these add to the fused score, and its words.

All of it is what the search has computed and ranked by; nothing is estimated afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from index.store.lexical import Matched
from index.store.terms import places_of


@dataclass(frozen=True, slots=True)
class Place:
    """A passage in one ranking.

    Attributes:
        rank: from 1; None if it is not among those that were fused.
        score: cosine or BM25.
        weight: of the ranking in the fusion.
        adds: `weight / (rrf_k + rank)`, what the ranking adds to the fused score; 0 without a rank.
    """

    rank: int | None
    score: float | None
    weight: float
    adds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit ranks where it does.

    Attributes:
        rank: from 1, before a reranker.
        candidates: passages that are read from each ranking.
        rrf_k: constant of reciprocal rank fusion.
        dense, lexical: its place by vectors and by words; None where the search has no such ranking.
        words: the query's terms that it holds, the one that adds most to its BM25 first.
        written: how each of them is written in the passage, headings among it; empty if only a part of a word is it.
        marks: where they stand in the text of the hit, as ranges of characters.
    """

    rank: int
    candidates: int
    rrf_k: int
    dense: Place | None
    lexical: Place | None
    words: tuple[Matched, ...]
    written: tuple[tuple[str, ...], ...]
    marks: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, rank: int, candidates: int, rrf_k: int, dense: Place | None, lexical: Place | None,
        words: Sequence[Matched], heading_path: Sequence[str], text: str,
    ) -> Explanation:  # fmt: skip
        """The explanation of a hit with these headings and this text."""
        marks: list[tuple[int, int]] = []
        written = []
        if words:
            language = words[0].language
            marks = places_of(text, {one.term for one in words}, language)
            for one in words:
                forms = [
                    part[first:end]
                    for part in (*heading_path, text)
                    for first, end in places_of(part, {one.term}, language)
                ]
                written.append(tuple(dict.fromkeys(form.lower() for form in forms)))
        return cls(rank, candidates, rrf_k, dense, lexical, tuple(words), tuple(written), tuple(marks))

    @property
    def fused(self) -> float | None:
        """The fused score; None where there is a single ranking."""
        return None if self.dense is None or self.lexical is None else self.dense.adds + self.lexical.adds

    def sentences(self, number: int, rerank_score: float | None) -> Iterator[str]:
        """The explanation in words.

        Args:
            number: the hit's place in the result, from 1.
            rerank_score: None without a reranker.
        """
        names = (("vectors", "cosine", self.dense), ("words", "BM25", self.lexical))
        for name, measure, place in names:
            if place is not None:
                yield self._sentence(name, measure, place)
        if self.fused is not None:
            yield f"Together {self.fused:.5f}, which is rank {self.rank}."
        if self.lexical is not None:
            told = [
                f"{' / '.join(forms) or one.term} ({one.score:.2f})"
                for one, forms in zip(self.words, self.written, strict=True)
            ]
            yield f"Words of the query in it: {', '.join(told)}." if told else "It holds no word of the query."
        if rerank_score is not None:
            moved = (
                f"moved it from rank {self.rank} to {number}" if number != self.rank else f"left it at rank {number}"
            )
            yield f"The reranker read it with the query, gave it {rerank_score:.4g} and {moved}."

    def _sentence(self, name: str, measure: str, place: Place) -> str:
        scored = "" if place.score is None else f" ({measure} {place.score:.4g})"
        if place.rank is None:
            return f"Not among the first {self.candidates} by {name}{scored}, which adds nothing."
        if self.fused is None:
            return f"Rank {place.rank} by {name}{scored}, the only ranking."
        term = f"{place.weight:g} / ({self.rrf_k} + {place.rank}) = {place.adds:.5f}"
        return f"Rank {place.rank} by {name}{scored} adds {term}."

    def to_json(self, number: int, rerank_score: float | None) -> dict[str, Any]:
        """The explanation as values, and in words; for the arguments see `sentences`."""
        return {
            "rank": self.rank,
            "candidates": self.candidates,
            "rrf_k": self.rrf_k,
            "dense": None if self.dense is None else asdict(self.dense),
            "lexical": None if self.lexical is None else asdict(self.lexical),
            "fused_score": self.fused,
            "words": [
                {"term": one.term, "score": one.score, "written": list(forms)}
                for one, forms in zip(self.words, self.written, strict=True)
            ],
            "marks": [list(place) for place in self.marks],
            "sentences": list(self.sentences(number, rerank_score)),
        }
