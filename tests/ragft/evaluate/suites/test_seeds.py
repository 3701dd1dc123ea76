"""What the suite `seeds` claims of scores by several trainings."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ragft.evaluate.metrics import METRICS
from ragft.evaluate.statistics import Clusters, Columns
from ragft.evaluate.suites.seeds import Run, outcome_of, result, seeds_tables
from ragft.setups import SETUPS

COUNT = 60
EASY = np.random.default_rng(5).permutation(COUNT)
"""Which questions a setup answers rightly first; the same for all, as questions are easy or hard for all."""


def column(right: Sequence[int] | float) -> Columns:
    """Scores of which these places, or that share, are 1."""
    found = np.zeros(COUNT)
    found[EASY[: round(right * COUNT)] if isinstance(right, float) else list(right)] = 1.0
    return found


def run(**reached: tuple[float, float]) -> Run:
    """One training: exact match and format validity by setup; nothing else was scored."""
    made = {}
    for name in SETUPS:
        columns = np.full((COUNT, len(METRICS)), np.nan)
        exact, form = reached[name.replace("-", "_")]
        for metric, share in (("exact_match", exact), ("contains", exact), ("format_validity", form)):
            columns[:, list(METRICS).index(metric)] = column(share)
        made[name] = columns
    return made


def runs(*hybrid: float, fine_tuned: Sequence[float] = ()) -> dict[int, Run]:
    """Trainings whose hybrids reach these shares of exact match."""
    tuned = fine_tuned or [0.3] * len(hybrid)
    return {
        seed: run(prompt_only=(0.0, 0.1), rag_only=(0.2, 0.2), fine_tuned=(alone, 1.0), hybrid=(share, 1.0))
        for seed, (share, alone) in enumerate(zip(hybrid, tuned, strict=True))
    }


def claimed(found: Mapping[str, Any], a: str, b: str, metric: str = "exact_match") -> dict[str, Any]:
    (pair,) = [one for one in found["pairs"] if (one["a"], one["b"], one["metric"]) == (a, b, metric)]
    return dict(pair)


def of(trainings: Mapping[int, Run], clusters: Clusters | None = None) -> dict[str, Any]:
    return result(trainings, clusters or Clusters.single(COUNT), seed=0, resamples=200)


def test_a_verdict_that_every_seed_shows_stands() -> None:
    found = of(runs(0.80, 0.75, 0.70))
    pair = claimed(found, "hybrid", "rag-only")
    assert (pair["outcome"], pair["significant"]) == ("stands", 3)
    assert pair["runs"] == pytest.approx([0.6, 0.55, 0.5]) and pair["mean"] == pytest.approx(0.55)
    assert pair["low"] < 0.5 and pair["high"] > 0.6, "other questions and other seeds"
    said = "On exact match, hybrid is above rag-only on all 3 seeds, by 50.0 to 60.0 points, significantly on each; for"
    assert any(text.startswith(said) for text in found["text"])
    assert "On facts, the verdict is the same on all 3 seeds: hybrid is best." in found["text"]
    assert found["verdicts"]["form"] == {str(seed): ["fine-tuned", "hybrid"] for seed in range(3)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_difference_that_two_trainings_show_is_no_finding() -> None:
    found = of(runs(0.40, 0.20, 0.36))
    pair = claimed(found, "hybrid", "rag-only")
    assert pair["outcome"] == "like two runs" and pair["noise_floor"] > pair["mean"]
    assert any("no more than two runs of one recipe do" in text for text in found["text"])
    said = next(text for text in found["text"] if text.startswith("On facts"))
    assert said.startswith("On facts, the verdict depends on the seed: ") and "with seeds 0 and 2" in said


def test_setups_without_training_are_asked_once_and_have_no_noise() -> None:
    found = of(runs(0.8, 0.7, 0.75))
    reached = found["setups"]
    assert reached["rag-only"]["exact_match"]["runs"] == [0.2]
    assert reached["rag-only"]["exact_match"]["noise_floor"] is None
    assert len(reached["hybrid"]["exact_match"]["runs"]) == 3
    assert set(reached["hybrid"]) == {"exact_match", "contains", "format_validity"}
    assert not any({pair["a"], pair["b"]} == {"prompt-only", "rag-only"} for pair in found["pairs"])
    assert any("prompt-only and rag-only were asked once" in text for text in found["text"])


def test_two_seeds_make_a_rough_floor_which_is_said() -> None:
    two, three = of(runs(0.8, 0.75)), of(runs(0.8, 0.75, 0.775))
    assert any("2 seeds make a rough noise floor" in text for text in two["text"])
    assert not any("rough" in text for text in three["text"])
    floors = [one["setups"]["hybrid"]["exact_match"]["noise_floor"] for one in (two, three)]
    assert floors[0] > 2 * floors[1]


def test_trainings_that_do_not_differ_leave_the_comparison_as_it_is() -> None:
    found = of(runs(0.8, 0.8, 0.8))
    pair = claimed(found, "hybrid", "fine-tuned")
    assert (pair["noise_floor"], pair["outcome"]) == (pytest.approx(0.0), "stands")
    assert any("on all 3 seeds, by 50.0 points, significantly" in text for text in found["text"])
    level = claimed(found, "hybrid", "fine-tuned", "format_validity")
    assert (level["mean"], level["outcome"]) == (0.0, "like two runs")


def test_one_document_gives_no_interval_and_nothing_stands() -> None:
    found = of(runs(0.8, 0.8, 0.8), Clusters.of([0] * COUNT))
    pair = claimed(found, "hybrid", "rag-only")
    assert (pair["low"], pair["high"], pair["outcome"], pair["significant"]) == (None, None, "open", 0)
    assert any("too few documents to say how other questions would differ" in text for text in found["text"])


@pytest.mark.medium
@settings(max_examples=8)
@given(st.permutations([0.9, 0.5, 0.7]), st.permutations([0.3, 0.6, 0.4]))
def test_the_order_of_seeds_changes_no_claim(hybrid: list[float], alone: list[float]) -> None:
    trainings = runs(*hybrid, fine_tuned=alone)
    found, turned = of(trainings), of(dict(reversed(trainings.items())))
    for one, other in zip(found["pairs"], turned["pairs"], strict=True):
        assert one["outcome"] == other["outcome"] and one["mean"] == pytest.approx(other["mean"])
        assert one["runs"] == other["runs"][::-1]


SHARE = st.floats(-1, 1)


@given(st.lists(SHARE, min_size=2, max_size=5), st.floats(0, 1), st.none() | st.floats(0, 1))
def test_a_claim_holds_for_every_seed_beyond_the_floor_and_beyond_its_interval(
    values: list[float], floor: float, half: float | None
) -> None:
    mean = sum(values) / len(values)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    found = outcome_of(values, mean, low, high, floor)
    if found == "stands":
        assert low is not None and high is not None
        assert abs(mean) > floor and low * high > 0
        assert all(value > 0 for value in values) or all(value < 0 for value in values)
    if found == "depends on the seed":
        assert min(values) <= 0 <= max(values) and abs(mean) > floor
    ends = (None, None) if low is None or high is None else (-high, -low)
    assert found == outcome_of([-value for value in values], -mean, *ends, floor)


def test_people_see_what_seeds_reach_and_what_differences_are_worth() -> None:
    console = Console(width=160, file=io.StringIO())
    for part in seeds_tables(of(runs(0.80, 0.75, 0.70))):
        console.print(part)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "seed 2" in shown and "hybrid - rag-only" in shown and "stands" in shown and "like two runs" in shown
