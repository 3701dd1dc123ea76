"""The 2x2 design: what tuning and retrieval do on average, and whether they do more together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragft.evaluate.statistics.clusters import Clusters
from ragft.evaluate.statistics.intervals import Bounds, Columns, Moments, interval_limits
from ragft.evaluate.statistics.pairs import holm, sign_flip_p

EFFECTS = ("tuning", "retrieval", "interaction")


@dataclass(frozen=True)
class Effect:
    """An effect of the design on one metric.

    Attributes:
        name: tuning: of the tuned model, on average with and without retrieval; retrieval: of passages, on average of
            both models; interaction: of tuning with retrieval, minus that without.
        low, high: 95 % interval; None where there are too few clusters.
        p_holm: corrected for the three effects.
    """

    name: str
    metric: str
    value: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    n: int
    clusters: int


def factor_effects(
    scores: Mapping[str, Columns], metrics: Sequence[str], clusters: Clusters | None = None, *,
    shares: frozenset[str] = frozenset(), seed: int, resamples: int,
) -> list[Effect]:  # fmt: skip
    """The three effects on every metric that all four setups have scores for.

    Args:
        scores: of the four setups, (questions, metrics).
        shares: metrics whose scores lie between 0 and 1.
    """
    with_retrieval = scores["hybrid"] - scores["rag-only"]
    without = scores["fine-tuned"] - scores["prompt-only"]
    passages = scores["hybrid"] - scores["fine-tuned"] + scores["rag-only"] - scores["prompt-only"]
    columns = np.concatenate([(with_retrieval + without) / 2, passages / 2, with_retrieval - without], axis=1)
    clusters = clusters or Clusters.single(len(columns))
    reach = {"tuning": 1.0, "retrieval": 1.0, "interaction": 2.0}
    keys = [(name, metric) for name in EFFECTS for metric in metrics]
    bounds: list[Bounds] = [(-reach[name], reach[name]) if metric in shares else None for name, metric in keys]
    moments = Moments.of(columns, clusters)
    limits = interval_limits(columns, moments, bounds)
    p_values = sign_flip_p(clusters.sums(np.nan_to_num(columns, nan=0.0)), seed=seed, resamples=resamples)
    found: dict[str, list[Effect]] = {metric: [] for metric in metrics}
    for at, (name, metric) in enumerate(keys):
        if moments.n[at]:
            p, n, count = float(p_values[at]), int(moments.n[at]), int(moments.clusters[at])
            found[metric].append(Effect(name, metric, float(moments.mean[at]), *limits[at], p, p, n, count))
    return [
        replace(effect, p_holm=p)
        for of_metric in found.values()
        for effect, p in zip(of_metric, holm([effect.p for effect in of_metric]), strict=True)
    ]
