"""Settings of the search compared by what they find: chosen on one part of the questions, judged on the rest.

Knows nothing of indexes or encoders: it is given the passages that each candidate shows for each question. What is
measured of them is what the evaluation measures of a setup with retrieval.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragft.config.tune import TuneSearchSection
from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.metrics.retrieval import ranking_of
from ragft.evaluate.ranking import ndcg, reciprocal_rank
from ragft.evaluate.records import PassageRef
from ragft.evaluate.statistics import ALPHA, Bounds, Clusters, Columns, Estimate, PairTest, estimates, pair_tests

QUALITIES = ("all_sources", "mrr", "ndcg")
MEASURES = (*QUALITIES, "tokens")
"""What is measured of each question: shares, and tokens of the passages in its prompt."""

NOW, SAME, ANY = "now", "same tokens", "any tokens"
"""The present settings; the best of those that show no more tokens; the best of all."""

_SLACK = 1.05
"""Passages of a section are of unequal length: so many times the present tokens count as no more."""


@dataclass(frozen=True)
class Candidate:
    """Settings that are tried, as `index.search` and `index.chunking.max_tokens` name them."""

    top_k: int
    mode: str
    dense_weight: float
    lexical_weight: float
    rerank: bool = False
    chunk_tokens: int | None = None

    def changes(self, now: Candidate) -> dict[str, Any]:
        """The configuration keys that make the present settings these, with their values."""
        keys = {
            "index.search.top_k": (self.top_k, now.top_k),
            "index.search.mode": (self.mode, now.mode),
            "index.search.dense_weight": (self.dense_weight, now.dense_weight),
            "index.search.lexical_weight": (self.lexical_weight, now.lexical_weight),
            "index.chunking.max_tokens": (self.chunk_tokens, now.chunk_tokens),
        }
        changed: dict[str, Any] = {key: new for key, (new, old) in keys.items() if new != old}
        return changed if self.rerank == now.rerank else {**changed, "index.search.reranker": None}

    def described(self) -> str:
        """In one line for people."""
        weights = f" {self.dense_weight:g}:{self.lexical_weight:g}" if self.mode == "hybrid" else ""
        more = [
            *(["reranked"] if self.rerank else []),
            *([f"chunks of {self.chunk_tokens}"] if self.chunk_tokens else []),
        ]
        return ", ".join([f"{self.mode}{weights}", f"top {self.top_k}", *more])


@dataclass(frozen=True)
class Compared:
    """What the held-out questions say.

    Attributes:
        candidates: by name: the present settings and what was chosen, if it is another.
        figures: by the same names, each of `MEASURES`.
        tests: of each choice against the present settings, on each of `MEASURES`; the difference is choice minus now.
        metric: what was chosen by, one of `QUALITIES`.
        chosen_by, questions: numbers of questions that settings were chosen by, and that are reported on.
        clusters: of the latter.
    """

    candidates: Mapping[str, Candidate]
    figures: Mapping[str, Mapping[str, Estimate]]
    tests: tuple[PairTest, ...]
    metric: str
    chosen_by: int
    questions: int
    clusters: int

    def test(self, name: str, metric: str | None = None) -> PairTest:
        """A choice against the present settings, by default on the metric that it was chosen by."""
        return next(test for test in self.tests if test.a == name and test.metric == (metric or self.metric))

    @property
    def recommended(self) -> str | None:
        """The choice that is better than the present settings beyond chance, one of the same tokens first."""
        return next((name for name in self.candidates if name != NOW and self._gains(name)), None)

    def _gains(self, name: str) -> bool:
        test = self.test(name)
        return test.low is not None and test.low > 0 and test.p_holm < ALPHA


def rankings(now: Candidate, space: TuneSearchSection, *, reranker: bool, seed: int) -> list[Candidate]:
    """What is searched with, each with the present `top_k`: the present settings first, none twice, at most `searches`.

    Args:
        reranker: whether one is configured, so that both is tried, with it and without.
    """
    fused = [("hybrid", weight, 1.0) for weight in dict.fromkeys(space.dense_weights)]
    single = [(mode, now.dense_weight, now.lexical_weight) for mode in dict.fromkeys(space.modes) if mode != "hybrid"]
    ways = [*(fused if "hybrid" in space.modes else []), *single]
    chunks = dict.fromkeys((now.chunk_tokens, *space.chunk_tokens))
    tried = [
        Candidate(now.top_k, mode, dense, lexical, rerank, tokens)
        for tokens, rerank, (mode, dense, lexical) in product(chunks, (True, False) if reranker else (False,), ways)
    ]
    others = list({_ranked_by(one): one for one in tried if _ranked_by(one) != _ranked_by(now)}.values())
    if len(others) >= space.searches:
        others = random.Random(seed).sample(others, space.searches - 1)
    return [now, *others]


def _ranked_by(one: Candidate) -> tuple[Any, ...]:
    """What decides the order of passages: of two weights their ratio, and that only in a fusion."""
    ratio = one.dense_weight / one.lexical_weight if one.mode == "hybrid" and one.lexical_weight else None
    return one.mode, ratio, one.rerank, one.chunk_tokens


def measured(question: Question, passages: Sequence[PassageRef], tokens: int) -> tuple[float, float, float, float]:
    """One question's `MEASURES`.

    Args:
        passages: as a prompt shows them, best first.
        tokens: of all of them.
    """
    ranks, gold = ranking_of(question, passages)
    k = max(len(ranks), 1)
    return float(all(gold)), reciprocal_rank(ranks, gold, k), ndcg(ranks, gold, k), float(tokens)


def chosen_and_held_out(clusters: Clusters, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The questions that settings are chosen by, and the others; questions of one cluster are never in both.

    Raises:
        UsageError: all questions are of one cluster.
    """
    if clusters.count < 2:
        raise UsageError(
            "All questions with sources are about one document or of one group, so no part of them is independent of "
            "the rest: ragft tune search needs questions about several."
        )
    return clusters.parted(share, seed)


def compared(
    scores: Mapping[Candidate, Columns], now: Candidate, clusters: Clusters, space: TuneSearchSection, *, seed: int,
    resamples: int,
) -> Compared:  # fmt: skip
    """Chooses settings by one part of the questions, and compares them with the present ones on the others.

    Args:
        scores: (questions, `MEASURES`) of each candidate, the present settings among them.
        clusters: of the questions.
    """
    chosen, held_out = chosen_and_held_out(clusters, space.share, seed)
    means = {candidate: columns[chosen].mean(axis=0) for candidate, columns in scores.items()}
    room = _SLACK * means[now][MEASURES.index("tokens")]
    affordable = [one for one, mean in means.items() if one == now or mean[MEASURES.index("tokens")] <= room]
    candidates = {
        NOW: now,
        SAME: _best(affordable, means, now, space.metric),
        ANY: _best(means, means, now, space.metric),
    }
    candidates = {
        name: one for name, one in candidates.items() if name == NOW or one not in (now, *_before(candidates, name))
    }
    own = Clusters.of(clusters.labels[held_out].tolist())
    columns = {name: scores[one][held_out] for name, one in candidates.items()}
    bounds: list[Bounds] = [*[(0.0, 1.0)] * len(QUALITIES), None]
    figures = {
        name: dict(zip(MEASURES, estimates(of_one, own, bounds=bounds), strict=True))
        for name, of_one in columns.items()
    }
    tests = pair_tests(
        columns, [(name, NOW) for name in candidates if name != NOW], MEASURES, own, shares=frozenset(QUALITIES),
        lower_is_better=frozenset({"tokens"}), seed=seed, resamples=resamples,
    )  # fmt: skip
    return Compared(candidates, figures, tuple(tests), space.metric, len(chosen), len(held_out), own.count)


def _before(candidates: Mapping[str, Candidate], name: str) -> list[Candidate]:
    names = list(candidates)
    return [candidates[other] for other in names[: names.index(name)]]


def _best(
    candidates: Iterable[Candidate], means: Mapping[Candidate, Columns], now: Candidate, metric: str
) -> Candidate:
    """The best by the metric; of equals the present settings, then by nDCG, and then the one of fewest tokens."""

    def order(one: Candidate) -> tuple[float, ...]:
        mean = dict(zip(MEASURES, means[one].tolist(), strict=True))
        # Sums of floats in another order must not decide.
        return (-round(mean[metric], 9), one != now, -round(mean["ndcg"], 9), mean["tokens"])

    return min(candidates, key=order)


def with_k(ranking: Candidate, values: Iterable[int]) -> list[Candidate]:
    """One ranking with each number of passages."""
    return [replace(ranking, top_k=k) for k in dict.fromkeys(values)]
