from __future__ import annotations

from ragft.evaluate.statistics import Estimate, PairTest
from ragft.evaluate.verdict import verdict


def pair(a: str, b: str, difference: float, p: float, needed: int | None, metric: str = "exact_match") -> PairTest:
    low, high = difference - 0.04, difference + 0.04
    return PairTest(a, b, metric, difference, low, high, p, p, 1, 1, 1, 200, 0.1, needed)


def estimated(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.03, mean + 0.03, 200)


def test_the_verdict_names_the_best_setup_and_its_lead() -> None:
    facts = {"rag-only": estimated(0.6), "hybrid": estimated(0.7), "prompt-only": estimated(0.1)}
    tests = [pair("hybrid", "rag-only", 0.1, 0.002, 80), pair("hybrid", "prompt-only", 0.6, 1e-5, 9)]
    words = verdict(facts, {}, {}, tests, Estimate(0.2, 0.1, 0.3, 200))
    assert words.best_facts == ("hybrid",)
    assert words.facts.replace("\u00a0", " ") == (
        "On facts, hybrid is best: 70.0 % exact match (67.0 to 73.0), 10.0 points above rag-only, the next "
        "best (p = 0.002)."
    )
    assert words.form == "Form was not scored: no house format is declared."
    assert words.interaction == ("Tuning helps facts more with retrieval than without (+20.0 points, +10.0 to +30.0).")


def test_the_verdict_says_when_noise_and_how_many_questions_it_would_take() -> None:
    facts = {"rag-only": estimated(0.69), "hybrid": estimated(0.7), "prompt-only": estimated(0.1)}
    # Stored from the loser's side: the verdict turns it round.
    tests = [pair("rag-only", "hybrid", -0.01, 0.7, 18_340), pair("hybrid", "prompt-only", 0.6, 1e-5, 9)]
    words = verdict(facts, facts, facts, tests, None)
    assert words.best_facts == ("hybrid", "rag-only")
    assert "is not significantly better than rag-only: its lead over rag-only, 1.0 points (−3.0 to +5.0)" in words.facts
    assert "may be noise on 200 questions" in words.facts
    assert "about 19,000 to detect it" in words.facts
    assert "It is significantly better than prompt-only." in words.facts
    assert "may be noise" in words.lenient
    assert words.interaction == ""


def test_the_verdict_of_level_or_single_setups() -> None:
    level = {"a": estimated(0.5), "b": estimated(0.5)}
    assert "a and b are level on 200 questions" in verdict(level, {}, {}, [pair("b", "a", 0.0, 1.0, None)], None).facts
    assert "no other setup to compare it with" in verdict({"a": estimated(0.5)}, {}, {}, [], None).facts
    assert "nothing could be scored" in verdict({"a": Estimate(None, None, None, 0)}, {}, {}, [], None).facts
