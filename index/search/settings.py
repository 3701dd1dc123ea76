"""How passages are searched, as one value that serving, evaluation, mixing, encoder training and the gate share."""

from __future__ import annotations

from dataclasses import dataclass

from index.store.filters import Filter
from index.store.lexical import K1, B

MODES = ("hybrid", "dense", "lexical")

NONE, NEIGHBOURS, SECTION = "none", "neighbours", "section"
EXPANSIONS = (NONE, NEIGHBOURS, SECTION)


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How passages are searched.

    Attributes:
        k: passages to return for a query; fewer if fewer are visible, or if no term occurs in lexical mode.
        candidates: passages of each ranking that are fused; a single ranking is read only as far as necessary.
        weights: weights of the dense and the lexical ranking in the fusion.
        rrf_k: constant of reciprocal rank fusion (Cormack et al., 2009); larger values flatten the advantage of top
            ranks.
        bm25: k1 and b of BM25; see `Bm25.scores`.
        rerank_candidates: passages that a reranker reads for a query, at least `k`.
        collapse: return only the best of passages that repeat each other word for word, so that fewer than `k` may be
            returned.
        filter: filter that passages must pass, in addition to that of a single search.
        expand: what a hit brings along from around it: see `surroundings`; `none`: nothing.

    Raises:
        ValueError: a value is out of its range.
    """

    k: int = 5
    mode: str = "hybrid"
    candidates: int = 50
    weights: tuple[float, float] = (1.0, 1.0)
    rrf_k: int = 60
    bm25: tuple[float, float] = (K1, B)
    rerank_candidates: int = 20
    collapse: bool = False
    filter: Filter | None = None
    expand: str = NONE

    def __post_init__(self) -> None:
        for name, value, choices in (("mode", self.mode, MODES), ("expand", self.expand, EXPANSIONS)):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if self.k < 1 or self.rrf_k < 0 or min(self.weights) < 0:
            raise ValueError(
                f"k is {self.k}, rrf_k is {self.rrf_k}, weights are {self.weights}; k must be at least 1, the others 0"
            )

    def kept(self, reranked: bool) -> int:
        """Number of passages to keep after the fusion: those that a reranker reads, else those to return."""
        return max(self.k, self.rerank_candidates) if reranked else self.k

    def depth(self, reranked: bool) -> int:
        """Number of passages to read from each ranking."""
        kept = self.kept(reranked)
        return max(self.candidates, kept) if self.mode == "hybrid" or self.collapse else kept
