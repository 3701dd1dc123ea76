from __future__ import annotations

from ragft.evaluate.statistics import Clusters, Effect, Estimate, PairTest
from ragft.evaluate.verdict import verdict


def pair(a: str, b: str, difference: float, p: float, needed: int | None, metric: str = "exact_match") -> PairTest:
    low, high = difference - 0.04, difference + 0.04
    return PairTest(a, b, metric, difference, low, high, p, p, 1, 1, 1, 200, 0.1, needed)


def estimated(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.03, mean + 0.03, 200)


def effect(name: str, value: float, p: float) -> Effect:
    return Effect(name, "exact_match", value, value - 0.1, value + 0.1, p, p, 200, 200)


def test_the_verdict_names_the_best_setup_and_its_lead() -> None:
    facts = {"rag-only": estimated(0.6), "hybrid": estimated(0.7), "prompt-only": estimated(0.1)}
    tests = [pair("hybrid", "rag-only", 0.1, 0.002, 80), pair("hybrid", "prompt-only", 0.6, 1e-5, 9)]
    words = verdict(facts, {}, {}, tests, [effect("tuning", 0.1, 0.01), effect("interaction", 0.2, 0.001)])
    assert words.best_facts == ("hybrid",)
    assert words.facts.replace("\u00a0", " ") == (
        "On facts, hybrid is best: 70.0 % exact match (67.0 to 73.0), +10.0 points against rag-only, the "
        "next best (p = 0.002)."
    )
    assert words.form == "Form was not scored: no house format is declared."
    assert words.interaction == (
        "Tuning helps facts more with retrieval than without (+20.0 points, +10.0 to +30.0; p = 0.001)."
    )
    assert "tuning changes exact match by +10.0 points (+0.0 to +20.0), p = 0.010" in words.effects


def test_an_effect_is_claimed_only_if_its_test_is_significant() -> None:
    # The interval excludes 0, but not after the correction.
    found = [effect("tuning", 0.11, 0.06), effect("retrieval", 0.4, 0.001), effect("interaction", -0.11, 0.06)]
    words = verdict({"a": estimated(0.5)}, {}, {}, [], found)
    assert "do not show whether tuning and retrieval reinforce each other" in words.interaction
    assert "tuning changes exact match by +11.0 points (+1.0 to +21.0), which may be noise" in words.effects
    assert "less with retrieval" in verdict({}, {}, {}, [], [effect("interaction", -0.2, 0.01)]).interaction


def test_the_verdict_names_unanswered_questions() -> None:
    facts = {"rag-only": estimated(0.6), "hybrid": estimated(0.7)}
    words = verdict(facts, {}, {}, [], unanswered={"rag-only": 0, "hybrid": 24})
    assert words.failures == "hybrid gave no answer to 24 of 200 questions; these count as wrong."
    assert words.failures in words.to_json()["text"]


def test_the_verdict_says_what_few_documents_cannot_tell() -> None:
    facts = {name: estimated(0.6) for name in ("prompt-only", "rag-only", "fine-tuned", "hybrid")}

    def said(*keys: int) -> str:
        return verdict(facts, {}, {}, [], clusters=Clusters.of(keys)).clusters

    assert "All 3 questions are about one document" in said(1, 1, 1)
    # Six pairs: 2 / 2^8 is the first below 5 % / 6.
    assert "about 5 documents or groups: below 8, none is significant" in said(1, 2, 3, 4, 5, 5)
    assert "10 questions count as 8 clusters" in said(1, 2, 3, 4, 5, 6, 7, 8, 8, 8)
    assert said(*range(9)) == ""


def test_the_verdict_says_when_noise_and_how_many_questions_it_would_take() -> None:
    facts = {"rag-only": estimated(0.69), "hybrid": estimated(0.7), "prompt-only": estimated(0.1)}
    # Stored from the loser's side: the verdict turns it round.
    tests = [pair("rag-only", "hybrid", -0.01, 0.7, 18_340), pair("hybrid", "prompt-only", 0.6, 1e-5, 9)]
    words = verdict(facts, facts, facts, tests)
    assert words.best_facts == ("hybrid", "rag-only")
    assert (
        "is not significantly better than rag-only: its lead over rag-only, +1.0 points (−3.0 to +5.0)" in words.facts
    )
    assert "may be noise on 200 questions" in words.facts
    assert "about 19,000 to detect it" in words.facts
    assert "It is significantly better than prompt-only." in words.facts
    assert "may be noise" in words.lenient
    assert words.interaction == ""


def test_the_verdict_of_level_or_single_setups() -> None:
    level = {"a": estimated(0.5), "b": estimated(0.5)}
    assert "a and b are level on 200 questions" in verdict(level, {}, {}, [pair("b", "a", 0.0, 1.0, None)]).facts
    assert "no other setup to compare it with" in verdict({"a": estimated(0.5)}, {}, {}, []).facts
    assert "nothing could be scored" in verdict({"a": Estimate(None, None, None, 0)}, {}, {}, []).facts


def test_a_leader_that_answers_without_knowledge_reach_is_said_not_to_be_better() -> None:
    facts = {"rag-only": estimated(0.5), "hybrid": estimated(0.6)}
    floors = {"refusal": 0.1, "commonest answer": 0.58}
    words = verdict(facts, {}, {}, [pair("hybrid", "rag-only", 0.1, 0.002, 80)], floors=floors)
    assert words.floor.replace("\u00a0", " ") == (
        "hybrid is not shown to be better than always answering the commonest answer, which scores 58.0 %."
    )
    assert words.floor in words.to_json()["text"]
    assert verdict(facts, {}, {}, [], floors={"commonest answer": 0.56}).floor == ""
    assert verdict(facts, {}, {}, []).floor == ""
