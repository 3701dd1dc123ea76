"""What setups cost, from records and rates, worked out by hand; what is not known is said and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.config.cost import CostSection
from ragft.evaluate.costs import answer_cost, cost_lines, costs, gain_beyond_chance, payback, standings, upkeep
from ragft.evaluate.metrics import Measure
from ragft.evaluate.records import Record

HOUR = CostSection(hour=3.6, watts=100)
TOKENS = CostSection(prompt_tokens=2.0, answer_tokens=10.0, training_hour=6.0)


def record(setup: str = "hybrid", **values: Any) -> Record:
    return Record("q", setup, "x", **{"prompt_tokens": 400, "answer_tokens": 20, "total_ms": 1000.0, **values})


def setups(**quality: float) -> dict[str, dict[str, Any]]:
    return {name.replace("_", "-"): {"exact_match": {"mean": value}} for name, value in quality.items()}


def pair(a: str, b: str, difference: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"a": a, "b": b, "metric": "exact_match", "difference": difference, "low": low, "high": high}


def test_tokens_are_priced_by_their_kind() -> None:
    found = answer_cost([record(), record(prompt_tokens=600)], TOKENS, None)
    assert found.price == pytest.approx(1000 * (500 * 2.0 + 20 * 10.0) / 1e6)
    assert (found.prompt_tokens, found.answer_tokens, found.n, found.reason) == (500, 20, 2, "")


def test_hour_is_shared_by_the_questions_that_are_answered_at_once() -> None:
    records = [record(total_ms=time) for time in (1000.0, 3000.0, 2000.0, 2000.0)]
    alone, in_pairs = answer_cost(records, HOUR, 1), answer_cost(records, HOUR, 2)
    assert (alone.seconds, in_pairs.seconds) == (2.0, 1.25)  # 8 s in a row; 3 s and 2 s in two batches
    assert in_pairs.price == pytest.approx(1.25) and in_pairs.kwh == pytest.approx(1000 * 1.25 / 3600 * 0.1)
    searched = answer_cost([record(retrieval_ms=500.0)], HOUR, 1)
    assert searched.seconds == 1.5


@pytest.mark.parametrize(
    ("rates", "records", "at_once", "reason"),
    [
        (HOUR, [record()], None, "how long the machine took"),
        (HOUR, [record(total_ms=None)], 1, "how long the machine took"),
        (TOKENS, [record(prompt_tokens=None)], 1, "how many tokens"),
        (TOKENS, [], 1, "how many tokens"),
        (CostSection(prompt_tokens=1.0), [record()], 1, "needs prompt_tokens and answer_tokens"),
        (CostSection(watts=50), [record()], 1, "needs prompt_tokens and answer_tokens, or hour"),
    ],
)
def test_what_cannot_be_priced_has_a_reason(
    rates: CostSection, records: list[Record], at_once: int | None, reason: str
) -> None:
    found = answer_cost(records, rates, at_once)
    assert found.price is None and reason in found.reason


def test_failed_answers_are_paid_for_by_the_others() -> None:
    records = [record(), record(error="no", total_ms=None, prompt_tokens=None, answer_tokens=None)]
    found = answer_cost(records, HOUR, 2)
    assert (found.n, found.seconds) == (1, 1.0)


def test_frontier_is_what_none_dominates() -> None:
    found = standings(
        {"a": 0.9, "b": 0.8, "c": 0.8, "d": 0.5, "e": None},
        {"a": 2.0, "b": 1.0, "c": 1.0, "d": 1.5, "e": 1.0},
        {"a": 30.0, "b": 10.0, "c": 10.0, "d": 20.0, "e": 1.0},
    )
    assert {name: one.dominated_by for name, one in found.items()} == {
        "a": (), "b": (), "c": (), "d": ("b", "c"), "e": None
    }  # fmt: skip


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=6))
def test_something_is_always_on_the_frontier(figures: list[tuple[int, int, int]]) -> None:
    columns = [{str(at): float(one[n]) for at, one in enumerate(figures)} for n in range(3)]
    assert any(one.dominated_by == () for one in standings(*columns).values())


def test_training_is_paid_for_by_cheaper_answers() -> None:
    prices = {"hybrid": 2.0, "rag-only": 3.0}
    assert payback("hybrid", "rag-only", prices, 10.0).volume == 10_000
    never = payback("hybrid", "rag-only", {"hybrid": 3.0, "rag-only": 3.0}, 10.0)
    assert never.volume is None and never.reason == "its answers save nothing"
    worth = payback("hybrid", "rag-only", {"hybrid": 3.0, "rag-only": 2.0}, None, gain=0.1)
    assert worth.reason.startswith("its answers save nothing, and evaluate.cost.wrong_answer")
    better = payback("hybrid", "rag-only", prices, 10.0, gain=0.2, wrong_answer=0.02)
    assert better.saving == pytest.approx(5.0) and better.volume == 2_000
    assert payback("hybrid", "rag-only", prices, 10.0, gain=0.2).saving == 1.0  # no price of a wrong answer
    for unknown in (payback("hybrid", "rag-only", prices, None), payback("hybrid", "rag-only", {}, 10.0)):
        assert unknown.volume is None and unknown.reason.endswith("is not known")


def test_retrieval_pays_where_documents_change_often_enough() -> None:
    prices = {"hybrid": 3.0, "fine-tuned": 2.0}
    found = upkeep("hybrid", "fine-tuned", prices, 10.0)
    assert (found.surcharge, found.every) == (1.0, 10_000)  # 10 of another training, 0.001 more for each answer
    cheaper = upkeep("hybrid", "fine-tuned", {"hybrid": 2.0, "fine-tuned": 2.0}, None)
    assert cheaper.every is None and cheaper.reason == "its answers cost no more"
    for unknown in (upkeep("hybrid", "fine-tuned", prices, None), upkeep("hybrid", "fine-tuned", {}, 10.0)):
        assert unknown.every is None and unknown.reason.endswith("is not known")
    records = [record("hybrid", prompt_tokens=600), record("fine-tuned", prompt_tokens=100)]
    told = costs(records, setups(hybrid=0.9, fine_tuned=0.5), [], TOKENS, training_seconds=1800)
    assert cost_lines(told)[-1] == (
        "hybrid costs less than training fine-tuned anew: where documents change at least once in 3,000 answers"
    )


def test_quality_is_what_decides_also_where_less_is_better() -> None:
    wrong = Measure("wrong", "wrong facts", "facts", "share", "lower")
    quality = {name: {"wrong": {"mean": mean}} for name, mean in {"hybrid": 0.1, "rag-only": 0.3}.items()}
    pairs = [{**pair("hybrid", "rag-only", -0.2, -0.3, -0.1), "metric": "wrong"}]
    told = costs([record("hybrid"), record("rag-only")], quality, pairs, TOKENS, decides=wrong)
    assert told["standing"]["rag-only"]["dominated_by"] == ("hybrid",)
    assert told["payback"][0]["gain"] == 0.2


def test_better_answers_count_only_beyond_chance() -> None:
    sure, unsure = pair("hybrid", "rag-only", 0.2, 0.1, 0.3), pair("hybrid", "rag-only", 0.2, -0.1, 0.5)
    assert gain_beyond_chance([sure], "hybrid", "rag-only") == 0.2
    assert gain_beyond_chance([pair("rag-only", "hybrid", -0.2, -0.3, -0.1)], "hybrid", "rag-only") == 0.2
    assert gain_beyond_chance([unsure], "hybrid", "rag-only") == 0.0
    assert gain_beyond_chance([pair("hybrid", "rag-only", 0.2, None, None)], "hybrid", "rag-only") == 0.0
    assert gain_beyond_chance([], "hybrid", "rag-only") == 0.0


def test_lines_say_what_is_known_and_what_is_not() -> None:
    records = [record("hybrid", prompt_tokens=300), record("rag-only", prompt_tokens=600)]
    quality = setups(hybrid=0.9, rag_only=0.5)
    told = costs(records, quality, [], TOKENS, training_seconds=1800)
    assert told["training"] == {"hours": 0.5, "price": 3.0}
    assert cost_lines(told) == [
        "A thousand answers of hybrid: 0.8 EUR; on the frontier of quality, price and latency",
        "A thousand answers of rag-only: 1.40 EUR; no better, cheaper or faster than hybrid",
        "Training: 0.5 hours, 3.00 EUR",
        "hybrid pays for its training against rag-only: from 5,000 answers on",
    ]
    worse = costs(records, quality, [pair("hybrid", "rag-only", -0.2, -0.3, -0.1)], TOKENS, training_seconds=1800)
    assert cost_lines(worse)[-1].endswith("from 5,000 answers on, with 20.0 points less quality, by exact match")
    unknown = cost_lines(costs(records, quality, [], HOUR))
    assert unknown[0].startswith("A thousand answers of hybrid: cannot be said: the records do not say how long")
    assert unknown[-1].endswith("cannot be said: the price of answers is not known")
    assert costs(records, quality, [], CostSection()) == {} and cost_lines({}) == []


def test_two_ways_of_pricing_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="by tokens and by the hour"):
        CostSection(hour=1.0, prompt_tokens=1.0)
