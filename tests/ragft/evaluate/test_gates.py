from __future__ import annotations

import pytest
from support.evaluation import RULES, question, record

from ragft.errors import UsageError
from ragft.evaluate.gates import judge, parse_condition, refusal_of
from ragft.evaluate.metrics import METRICS
from ragft.evaluate.score import Comparison, score

PAIR = ("rag-only", "hybrid")


def compared(questions: int, right: dict[str, int]) -> Comparison:
    asked = [question("4.1", id=f"q{at}", sources=(f"d{at}.md",)) for at in range(questions)]
    records = [
        record(
            f"Answer: {'4.1' if at < right[setup] else '9.9'} · Source: none",
            question_id=each.id,
            setup=setup,
            total_ms=190.0 + at % 20,
        )
        for at, each in enumerate(asked)
        for setup in PAIR
    ]
    return score(asked, records, RULES, setups=PAIR, seed=0, resamples=200, max_failed=0)[1]


def judged(text: str, comparison: Comparison) -> bool:
    return judge(parse_condition(text, PAIR, METRICS), comparison).failed


def test_a_clear_difference_passes_and_an_unclear_one_fails() -> None:
    text = "hybrid.exact_match - rag-only.exact_match < 0.02"
    assert not judged(text, compared(60, {"hybrid": 55, "rag-only": 10}))
    assert judged(text, compared(60, {"hybrid": 31, "rag-only": 29})), "it may be noise"


def test_the_order_of_the_two_setups_does_not_matter() -> None:
    comparison = compared(60, {"hybrid": 55, "rag-only": 10})
    assert judged("rag-only.exact_match - hybrid.exact_match < 0.02", comparison)
    assert not judged("rag-only.exact_match - hybrid.exact_match > -0.5", comparison)


def test_a_condition_without_a_metric_is_about_the_one_that_decides() -> None:
    found = parse_condition("hybrid - rag-only < 0.02", PAIR, METRICS, "token_f1")
    assert (found.a, found.b, found.metric) == ("hybrid", "rag-only", "token_f1")
    assert parse_condition("hybrid < 0.8", PAIR, METRICS).metric == "exact_match"
    with pytest.raises(UsageError, match="subtracts token_f1 from exact_match"):
        parse_condition("hybrid.exact_match - rag-only < 0.02", PAIR, METRICS, "token_f1")


def test_one_setup_is_judged_by_the_end_of_its_own_interval() -> None:
    comparison = compared(60, {"hybrid": 54, "rag-only": 0})
    low = comparison.setups["hybrid"]["exact_match"]["low"]
    assert judged(f"hybrid.exact_match < {low + 0.001:.4f}", comparison)
    assert not judged(f"hybrid.exact_match < {low - 0.001:.4f}", comparison)


def test_a_bound_from_above_is_judged_by_the_upper_end() -> None:
    assert judged("hybrid.latency_ms > 150", compared(30, {"hybrid": 30, "rag-only": 0}))
    assert not judged("hybrid.latency_ms > 250", compared(30, {"hybrid": 30, "rag-only": 0}))


def test_the_refusal_says_the_figures() -> None:
    found = [
        judge(parse_condition(text, PAIR, METRICS), compared(60, {"hybrid": 30, "rag-only": 30}))
        for text in ("hybrid.exact_match - rag-only.exact_match < 0.02", "hybrid.exact_match < 0.1")
    ]
    refusal = refusal_of(found)
    assert refusal is not None
    assert "1 of 2 conditions" in refusal
    assert "n = 60" in refusal
    assert refusal_of(found[1:]) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hybrid.exact_match-rag-only.exact_match < 0.02", "is no condition"),
        ("hybrid.exact_match", "is no condition"),
        ("hybrid. < 0.02", "is no condition"),
        ("hybrid.exact_match < 2 %", "is no condition"),
        ("hybrid.exact_match + rag-only.exact_match < 0.02", "is no condition"),
        ("hybrid.exact_match < 0.02 and 1 < 2", "is no condition"),
        ("tuned.exact_match < 0.02", "'tuned' is not compared"),
        ("hybrid.exactmatch < 0.02", "there is no metric 'exactmatch'"),
        ("hybrid.exact_match - rag-only.contains < 0.02", "name the same metric twice"),
        ("hybrid.exact_match - hybrid.exact_match < 0.02", "name two setups"),
        ("hybrid.exact_match < 80", "a share lies between 0 and 1, so 80 bounds nothing"),
        ("hybrid.wrong > 5", "write 5 percent as 0.05"),
        ("hybrid - rag-only < -2", "a difference of shares lies between -1 and 1"),
    ],
)
def test_a_wrong_condition_is_refused_in_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_condition(text, PAIR, METRICS)


def test_a_metric_that_applied_to_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no answers of hybrid were scored by fresh"):
        judged("hybrid.fresh < 0.5", compared(10, {"hybrid": 5, "rag-only": 5}))
