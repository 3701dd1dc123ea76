"""Risk against coverage, and a threshold that is chosen on one half of the documents and measured on the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import RULES, question, record

from ragft.evaluate.statistics import Clusters
from ragft.evaluate.suites.abstention import Case, aurc, case, curve, result

HIT = {"dense_score": 0.6, "lexical_score": None, "score": 0.03}


def cases(*runs: tuple[int, str, float], **given: bool) -> list[Case]:
    """So many answers of a kind with a score, one run after the other."""
    made = [(kind, score) for count, kind, score in runs for _ in range(count)]
    return [Case(f"q{n}", kind, {"dense": score}, **given) for n, (kind, score) in enumerate(made)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "answer", "given", "kind"),
    [
        (question(), "Answer: 2026-04-30 · Source: [1]", {}, "right"),
        (question(), "Answer: 2026-04-29 · Source: [1]", {}, "wrong"),
        (question(), RULES.refusal, {}, "refused"),
        (question(None), RULES.refusal, {}, "refused"),
        (question(None), "Answer: 2026-04-30 · Source: [1]", {}, "wrong"),
        (question(), "", {"error": "too long"}, "wrong"),
    ],
)
def test_an_answer_is_right_wrong_or_a_refusal(asked: object, answer: str, given: dict[str, str], kind: str) -> None:
    made = case(asked, record(answer, **given), [HIT, {**HIT, "dense_score": 0.7}], RULES)  # type: ignore[arg-type]
    assert (made.kind, made.failed) == (kind, "error" in given)
    assert made.signals == {"dense": 0.7, "rank": 0.03}


def test_nothing_found_is_no_score_and_comes_last() -> None:
    assert case(question(), record("x"), [], RULES).signals == {}
    found = result([*cases((8, "right", 0.9)), Case("q9", "wrong", {})], Clusters.single(9), seed=0)
    assert found["signals"]["dense"]["curve"][-1]["threshold"] is None
    assert found["signals"]["dense"]["aurc"]["value"] == pytest.approx(1 / 81)


def test_the_area_of_a_worked_example() -> None:
    # Of the best 1, 2, 3, 4 answers 0, 1/2, 1/3, 2/4 are wrong.
    scores, wrong = np.array([4.0, 3.0, 2.0, 1.0]), np.array([False, True, False, True])
    assert aurc(scores, wrong) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20))
def test_equal_scores_stand_in_no_order_and_no_order_is_better_than_the_best(rows: list[tuple[int, bool]]) -> None:
    scores, wrong = np.array([float(score) for score, _ in rows]), np.array([missed for _, missed in rows])
    area = aurc(scores, wrong)
    assert area == pytest.approx(aurc(scores[::-1], wrong[::-1]))
    assert aurc(-wrong.astype(float), wrong) <= area + 1e-12 <= aurc(wrong.astype(float), wrong) + 1e-9
    assert aurc(np.zeros(len(rows)), wrong) == pytest.approx(wrong.mean())


def test_a_curve_counts_refusals_against_coverage() -> None:
    scores, wrong = np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, False])
    points = curve(scores, wrong, np.array([True, True, True, False]), Clusters.single(4))
    assert [(p["threshold"], p["coverage"]) for p in points] == [(0.9, 0.25), (0.8, 0.5), (0.7, 0.75)]
    assert [p["risk"]["mean"] for p in points] == [0.0, 0.0, pytest.approx(1 / 3)]


def test_a_threshold_that_pays_is_recommended_with_what_it_avoids_and_loses() -> None:
    made = cases((60, "right", 0.8), (4, "right", 0.3), (30, "wrong", 0.3), (6, "wrong", 0.8))
    found = result(made, Clusters.single(100), seed=0)
    threshold = found["threshold"]
    assert (threshold["recommended"], threshold["signal"], threshold["below"], threshold["n"]) == (
        True,
        "dense",
        0.8,
        50,
    )
    assert threshold["avoided"]["mean"] > 0.7 and threshold["lost"]["mean"] < 0.2
    assert threshold["avoided"]["n"] + threshold["lost"]["n"] == 50
    assert 0 < threshold["gain"]["low"] < threshold["gain"]["mean"]
    assert found["text"].startswith("Refusing below a dense score of 0.8, chosen on one half, avoids ")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (cases((20, "right", 0.5)), "no answer is wrong"),
        (cases((20, "wrong", 0.5)), "no answer is right"),
        (cases((5, "right", 0.5)), "about 5 documents are too few"),
        ([Case(f"q{n}", "wrong", {}) for n in range(9)], "hold no scores"),
        (cases((10, "wrong", 0.9), (10, "right", 0.5)), "below none would more"),
        (cases((3, "wrong", 0.4), (97, "right", 0.5)), "which may be chance"),
    ],
)
def test_where_nothing_can_be_recommended_it_is_said(made: list[Case], why: str) -> None:
    found = result(made, Clusters.single(len(made)), seed=0)
    threshold = found["threshold"]
    assert threshold is None or (not threshold["recommended"] and threshold["gain"]["low"] <= 0)
    assert found["text"].startswith("No threshold can be recommended: ") and why in found["text"]


def test_related_questions_stay_in_one_half() -> None:
    made = cases((60, "right", 0.8), (40, "wrong", 0.3))
    found = result(made, Clusters.of(n % 20 for n in range(100)), seed=1)
    assert found["threshold"]["n"] == 50 and found["threshold"]["gain"]["clusters"] == 10


def test_answers_that_are_all_alike_have_an_area_without_an_interval() -> None:
    found = result(cases((9, "wrong", 0.5), answerable=False), Clusters.single(9), seed=0)
    assert found["signals"]["dense"]["aurc"] == {"value": 1.0, "low": None, "high": None}
    refused = result(cases((9, "refused", 0.5), answerable=False), Clusters.single(9), seed=0)
    assert (refused["refused_rightly"], refused["risk"]["mean"], refused["signals"]["dense"]["curve"]) == (9, None, [])
