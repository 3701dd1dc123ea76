"""Abstention: should a question be refused when retrieval found little, before anything is generated?

Needs no answers but those that exist. Each has a score of what was found for it, and is right, wrong or a refusal of
the model's own. Risk against coverage (El-Yaniv and Wiener, 2010) says how well a score tells wrong answers from right
ones; a threshold is chosen on one half of the documents and measured on the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragft.data.questions import Question
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.text import outcome_of
from ragft.evaluate.records import Record
from ragft.evaluate.statistics import ALPHA, MIN_CLUSTERS, Bounds, Clusters, Columns, estimates

if TYPE_CHECKING:
    from index.search.search import Hit

Kind = Literal["right", "wrong", "refused"]
Mask = NDArray[np.bool_]

ABSTENTION_VERSION = 2
"""Raised whenever the same records would give other figures or words."""

SIGNALS = {"dense": "dense_score", "lexical": "lexical_score", "rank": "score"}
"""What a question may be refused by, each the best of its passages: cosine, BM25, and the score that ranks them; with
the field of a hit that holds it."""

_POINTS = 10  # of a curve
_RESAMPLES = 1000  # of clusters, for the intervals of areas
_SHARE: Bounds = (0.0, 1.0)


@dataclass(frozen=True)
class Case:
    """An answer that exists.

    Attributes:
        kind: `wrong` is also an answer that failed, that guesses behind a refusal, or to a question without one.
        signals: by name; none where nothing was found.
        answerable: whether the documents hold an answer.
    """

    question_id: str
    kind: Kind
    signals: Mapping[str, float]
    answerable: bool = True
    failed: bool = False


def case(question: Question, record: Record, hits: Iterable[Mapping[str, Any]], rules: Rules) -> Case:
    """What is known of one answer.

    Args:
        hits: what the search found, as `retrieval.jsonl` holds it.
    """
    outcome = "wrong" if record.error is not None else outcome_of(question, record, rules)
    kind: Kind = "right" if outcome == "right" else "refused" if outcome == "refused" else "wrong"
    hits = list(hits)
    best = {name: value for name in SIGNALS if (value := best_signal(name, hits)) is not None}
    return Case(question.id, kind, best, question.answerable, record.error is not None)


def best_signal(name: str, hits: Iterable[Mapping[str, Any]]) -> float | None:
    """The best score of one kind among hits, as `Hit.to_json` holds them; None where none has one."""
    values = (hit.get(SIGNALS[name]) for hit in hits)
    return max((float(value) for value in values if value is not None), default=None)


def best_scores(hits: Iterable[Hit]) -> dict[str, float]:
    """The best score of each kind among hits, by the names of `SIGNALS`, where one has it."""
    found = [{field: getattr(hit, field) for field in SIGNALS.values()} for hit in hits]
    return {name: best for name in SIGNALS if (best := best_signal(name, found)) is not None}


def result(cases: Sequence[Case], clusters: Clusters, *, seed: int) -> dict[str, Any]:
    """What refusing by each score would do to the answers of one setup.

    Args:
        clusters: of the questions of the cases, in their order.

    Returns:
        `{n, clusters, failed, answered, right, wrong, refused, refused_rightly, risk, signals, threshold, text}`:
        counts of the answers, `refused_rightly` of refusals where the documents hold no answer; `risk`, the share of
        wrong ones among those given, with its interval; by name of a signal `{aurc, random, best, curve}`, the area
        under risk against coverage beside those of an order by chance and of the best one; what `threshold_of` found,
        and `text`, which says it in words.
    """
    kinds = [one.kind for one in cases]
    wrong, right = (np.array([kind == name for kind in kinds], dtype=bool) for name in ("wrong", "right"))
    given = wrong | right
    # A question that nothing was found for comes last.
    signals = {
        name: np.array([one.signals.get(name, -math.inf) for one in cases])
        for name in SIGNALS
        if any(name in one.signals for one in cases)
    }
    threshold, why = threshold_of(signals, right, wrong, clusters, seed=seed)
    return {
        "n": len(cases), "clusters": clusters.count, "failed": sum(one.failed for one in cases),
        "answered": int(given.sum()), "right": int(right.sum()), "wrong": int(wrong.sum()),
        "refused": kinds.count("refused"),
        "refused_rightly": sum(one.kind == "refused" and not one.answerable for one in cases),
        "risk": _share(wrong, given, clusters),
        "signals": {name: _areas(values, wrong, given, clusters, seed) for name, values in signals.items()},
        "threshold": threshold, "text": why,
    }  # fmt: skip


def aurc(scores: Columns, wrong: Mask) -> float:
    """Area under risk against coverage (Geifman and El-Yaniv, 2017).

    The mean, over all k, of the share of wrong answers among the k with the highest scores. Equal scores stand in any
    order, and what is told is the mean over those.

    >>> aurc(np.array([0.9, 0.8, 0.7]), np.array([False, False, True]))  # (0 + 0 + 1/3) / 3
    0.1111111111111111
    """
    order = np.argsort(-scores, kind="stable")
    _, block, sizes = np.unique(-scores[order], return_inverse=True, return_counts=True)
    expected = (np.bincount(block, weights=wrong[order]) / sizes)[block]
    return float((np.cumsum(expected) / np.arange(1, len(scores) + 1)).mean())


def curve(scores: Columns, wrong: Mask, given: Mask, clusters: Clusters) -> list[dict[str, Any]]:
    """Risk at up to ten thresholds, from the fewest answers to all: `{threshold, coverage, risk}`.

    `coverage` is the share of all questions that are still answered; a threshold of None refuses none. Equal scores are
    never divided.
    """
    ranked = np.sort(scores[given])[::-1]
    wanted = [ranked[max(0, math.ceil(len(ranked) * part / _POINTS) - 1)] for part in range(1, _POINTS + 1)]
    points = []
    for threshold in dict.fromkeys(wanted) if len(ranked) else ():
        kept = given & (scores >= threshold)
        points.append({
            "threshold": float(threshold) if np.isfinite(threshold) else None,
            "coverage": float(kept.sum() / len(scores)), "risk": _share(wrong, kept, clusters),
        })  # fmt: skip
    return points


def threshold_of(
    signals: Mapping[str, Columns], right: Mask, wrong: Mask, clusters: Clusters, *, seed: int
) -> tuple[dict[str, Any] | None, str]:
    """The score below which refusing avoids more wrong answers than it loses right ones, and what that says in words.

    Signal and threshold are chosen on a seeded half of the clusters. It is recommended only if the interval of what it
    gains on the other half lies above 0.

    Returns:
        None where there is nothing to choose, else `{recommended, signal, below, n, refused, avoided, lost, gain}`:
        shares with intervals on the half that it was not chosen on; `avoided` of the wrong answers, `lost` of the right
        ones, `gain` their difference for each question.
    """
    nothing = "No threshold can be recommended: "
    if not signals:
        return None, f"{nothing}the records hold no scores of retrieval."
    if clusters.count < 2 * MIN_CLUSTERS:
        return None, f"{nothing}questions about {clusters.count} documents are too few to choose on a half of them."
    if not wrong.any():
        return None, f"{nothing}no answer is wrong."
    if not right.any():
        return None, f"{nothing}no answer is right, so that whatever is refused, nothing is lost."
    chosen_on = _half(clusters, seed)
    best: tuple[int, str, float] | None = None
    for name, scores in signals.items():
        for below in np.unique(scores[chosen_on & np.isfinite(scores)]):
            refused = chosen_on & (scores < below)
            saved = int((refused & wrong).sum()) - int((refused & right).sum())
            if saved > (best[0] if best else 0):
                best = (saved, name, float(below))
    if best is None:
        return None, f"{nothing}below none would more wrong answers be avoided than right ones lost."
    _, name, below = best
    rest, refuses = ~chosen_on, signals[name] < below
    gains = np.where(rest, np.where(refuses, wrong.astype(float) - right, 0.0), np.nan)
    gain = _estimate(gains, clusters, (-1.0, 1.0))
    avoided, lost = _share(refuses, rest & wrong, clusters), _share(refuses, rest & right, clusters)
    pays = gain["low"] is not None and gain["low"] > 0
    found = {
        "recommended": pays, "signal": name, "below": below, "n": int(rest.sum()),
        "refused": _share(refuses, rest, clusters), "avoided": avoided, "lost": lost, "gain": gain,
    }  # fmt: skip
    told = (
        f"refusing below a {name} score of {below:.4g}, chosen on one half, avoids {_told(avoided)} of the wrong "
        f"answers of the other half and loses {_told(lost)} of the right ones"
    )
    if not pays:
        return found, f"{nothing}{told}, which may be chance."
    keys = f"serve: {{grounding: refuse, refuse_by: {name}, refuse_below: {below:.4g}}}"
    return found, f"{told[0].upper()}{told[1:]}. For the endpoint: {keys}."


def _half(clusters: Clusters, seed: int) -> Mask:
    """Whether each question is of the seeded half of the clusters that a threshold is chosen on."""
    places = np.random.default_rng(seed).permutation(clusters.count)
    return np.asarray(np.isin(clusters.labels, places[: clusters.count // 2]))


def _areas(scores: Columns, wrong: Mask, given: Mask, clusters: Clusters, seed: int) -> dict[str, Any]:
    if not given.any():
        return {"aurc": None, "random": None, "best": None, "curve": []}
    kept, missed = scores[given], wrong[given]
    low, high = _interval(kept, missed, Clusters.of(clusters.labels[given].tolist()), seed)
    return {
        "aurc": {"value": aurc(kept, missed), "low": low, "high": high}, "random": float(missed.mean()),
        "best": aurc(-missed.astype(float), missed), "curve": curve(scores, wrong, given, clusters),
    }  # fmt: skip


def _interval(scores: Columns, wrong: Mask, clusters: Clusters, seed: int) -> tuple[float | None, float | None]:
    """95 % of the areas that other documents would give: clusters are drawn with replacement (Efron, 1979)."""
    # Where all answers are alike, drawing them again shows no other area, whatever other documents would.
    if clusters.count < MIN_CLUSTERS or wrong.all() or not wrong.any():
        return None, None
    members = [np.flatnonzero(clusters.labels == cluster) for cluster in range(clusters.count)]
    draws = np.random.default_rng(seed).integers(0, clusters.count, (_RESAMPLES, clusters.count))
    areas = []
    for draw in draws:
        rows = np.concatenate([members[cluster] for cluster in draw])
        areas.append(aurc(scores[rows], wrong[rows]))
    low, high = np.quantile(areas, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def _share(counted: Mask, of: Mask, clusters: Clusters) -> dict[str, Any]:
    """The share of `counted` among `of`, with its interval."""
    return _estimate(np.where(of, counted.astype(float), np.nan), clusters, _SHARE)


def _estimate(column: Columns, clusters: Clusters, bounds: Bounds) -> dict[str, Any]:
    (found,) = estimates(column[:, None], clusters, bounds=[bounds])
    return asdict(found)


def _told(share: Mapping[str, Any]) -> str:
    if share["mean"] is None:
        return "none (there are none)"
    between = "" if share["low"] is None else f" (95 % interval {share['low']:.0%} to {share['high']:.0%})"
    return f"{share['mean']:.0%}{between}"
