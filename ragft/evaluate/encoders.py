"""Compares two encoders on questions whose passages are known: rankings, measures, and which one is better."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from index.encoders.encoder import Encoder
from index.encoders.reranker import Reranker
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact
from ragft.evaluate.ranking import ndcg, recall, reciprocal_rank
from ragft.evaluate.statistics import estimates

if TYPE_CHECKING:
    from rich.table import Table

    from index.search.hard_negatives import Pair

MODES = ("dense", "hybrid")
RANKS = 10


def scores(
    snapshot: Snapshot,
    encoder: Encoder,
    pairs: Sequence[Pair],
    settings: SearchSettings,
    reranker: Reranker | None = None,
) -> dict[str, list[float]]:
    """Every measure in every mode of search, question by question, by names such as `dense nDCG@10`."""
    measured: dict[str, list[float]] = {}
    measures = (("nDCG", ndcg, RANKS), ("MRR", reciprocal_rank, RANKS), ("recall", recall, settings.k))
    for mode in MODES:
        varied = replace(settings, mode=mode, k=max(RANKS, settings.k))
        found = search(snapshot, encoder, [pair.question for pair in pairs], varied, reranker=reranker)
        rankings = [[hit.chunk_id for hit in hits] for hits in found]
        for name, measure, k in measures:
            measured[f"{mode} {name}@{k}"] = [
                measure(ranking, pair.gold, k) for ranking, pair in zip(rankings, pairs, strict=True)
            ]
    return measured


def comparison(before: Mapping[str, list[float]], after: Mapping[str, list[float]], mode: str) -> dict[str, Any]:
    """Means and paired differences with 95 % intervals, and whether the new encoder is significantly better.

    It is better if the interval of the difference in nDCG@10, in the configured mode, lies above 0.
    """
    old, new = (np.array([part[name] for name in before], dtype=np.float64).T for part in (before, after))
    differences = estimates(new - old, bounds=[(-1.0, 1.0)] * new.shape[1])
    rows: dict[str, dict[str, Any]] = {
        name: {"before": fmean(before[name]), "after": fmean(after[name]), "difference": asdict(difference)}
        for name, difference in zip(before, differences, strict=True)
    }
    decides = f"{mode} nDCG@{RANKS}"
    return {"measures": rows, "decided_by": decides, "better": (rows[decides]["difference"]["low"] or 0.0) > 0}


def figures_table(artifact: Artifact) -> Table:
    """Both encoders side by side, for the terminal."""
    from rich.table import Table

    questions = artifact.figures["questions"]
    table = Table(
        f"{questions['held_out']} held-out questions", "before", "after", "difference (95 %)",
        caption=f"trained on {questions['train']}",
    )  # fmt: skip
    for name, row in artifact.figures["measures"].items():
        difference = row["difference"]
        interval = f"{difference['mean']:+.3f} ({_limits(difference)})"
        table.add_row(name, f"{row['before']:.3f}", f"{row['after']:.3f}", interval)
    return table


def verdict(artifact: Artifact) -> str:
    """Whether to use the trained encoder, in words."""
    figures = artifact.figures
    decides = figures["decided_by"]
    difference = figures["measures"][decides]["difference"]
    numbers = (
        f"{decides} changed by {difference['mean']:+.3f} (95 % {_limits(difference)}) "
        f"on {difference['n']} held-out questions"
    )
    if figures["better"]:
        line = json.dumps(str((artifact.folder / "encoder").resolve()), ensure_ascii=False)
        return (
            f"Better: {numbers}. The configuration is unchanged; to use the trained encoder, set\n\n"
            f"  index:\n    encoder:\n      model: {line}\n\n"
            "there and run `ragft index build --rebuild`."
        )
    return (
        f"No significant improvement: {numbers}. Keep the current encoder; more questions with sources would help both "
        "the training and the comparison."
    )


def _limits(difference: Mapping[str, Any]) -> str:
    if difference["low"] is None or difference["high"] is None:
        return "too few questions for an interval"
    return f"{difference['low']:+.3f} to {difference['high']:+.3f}"
