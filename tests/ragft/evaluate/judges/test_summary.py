"""Judges with known habits, which the reports must find; what failed is no score, and no order matters."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judges import Judge, answered, asked, chance, judged

from ragft.errors import UsageError
from ragft.evaluate.judges.labels import Labels, PreferenceLabel, ScoreLabel
from ragft.evaluate.judges.plan import PreferenceRow, Side
from ragft.evaluate.judges.rubric import OVERALL
from ragft.evaluate.judges.summary import Preferences, Summary, summarise, turned
from ragft.evaluate.shares import Rate, clusters_of

QUESTIONS = asked(300, documents=60)


Answer = Callable[[int], str | None]
NO_LABELS = Labels()


def plain(name: str) -> Answer:
    """What a setup answers to the n-th question, as long as the answer of another."""
    return lambda n: f"{name} says {n:03d}."


def summary(judge: Judge, labels: Labels = NO_LABELS, **texts: Answer) -> Summary:
    scores, preferences = judged(judge, QUESTIONS, answered(QUESTIONS, **texts))
    return summarise(scores, preferences, [OVERALL], clusters_of(QUESTIONS), labels, seed=0)


def within(rate: Rate, value: float) -> bool:
    return rate.low is not None and rate.high is not None and rate.low <= value <= rate.high


def test_a_better_setup_wins_by_as_much_as_it_is_better() -> None:
    better = Judge(quality=lambda answer: chance(answer) + (0.25 if answer.startswith("anna") else 0.0))
    found = summary(better, anna=plain("anna"), bert=plain("bert"))
    (pair,) = found.preferences
    # P(x + 0.25 > y) for two uniform numbers.
    assert within(pair.rate, 1 - 0.75**2 / 2) and pair.p_holm < 0.001
    assert pair.wins + pair.ties + pair.losses == len(QUESTIONS)
    assert [row.setup for row in found.scores] == ["anna", "bert"]
    means = [row.rate.mean or 0 for row in found.scores]
    assert means[0] == pytest.approx(means[1] + 1.0, abs=0.3)
    (habits,) = found.habits
    assert habits.consistency.mean == 1.0 and within(habits.first, 0.5)


def test_a_position_bias_is_found_and_favours_neither() -> None:
    found = summary(Judge(first_bias=0.5), anna=plain("anna"), bert=plain("bert"))
    (habits,), (pair,) = found.habits, found.preferences
    # It takes the first one in half of the cases, and by quality in the others.
    assert within(habits.first, 0.75) and not within(habits.first, 0.5)
    # The two orders disagree unless the better one is first in the biased ones, or none is biased.
    assert within(habits.consistency, 0.5)
    assert pair.disagreed == pair.ties > 100
    assert within(pair.rate, 0.5)


def test_a_bias_for_length_is_found_and_taken_out() -> None:
    longer = {n: chance("length", str(n)) < 0.8 for n in range(len(QUESTIONS))}
    found = summary(
        Judge(longer_bias=0.6),
        anna=lambda n: f"anna says {n:03d}." + " And so on, as ever." * longer[n],
        bert=lambda n: f"bert says {n:03d}." + " And so on, as ever." * (not longer[n]),
    )
    (habits,), (pair,) = found.habits, found.preferences
    assert within(habits.longer, 0.8)  # 0.6, and half of the rest
    assert within(pair.rate, 0.8 * 0.8 + 0.2 * 0.2) and not within(pair.rate, 0.5)
    assert pair.equal_length is not None
    assert pair.equal_length.low < 0.5 < pair.equal_length.high
    assert pair.equal_length.effect_low > 0


def test_without_a_bias_the_rate_at_equal_length_is_the_rate() -> None:
    lengths = {n: int(40 * chance("length", str(n))) for n in range(len(QUESTIONS))}
    found = summary(Judge(), anna=lambda n: f"anna says {n:03d}." + "!" * lengths[n], bert=plain("bert"))
    (pair,) = found.preferences
    assert pair.equal_length is not None and pair.rate.mean is not None
    assert pair.equal_length.win_rate == pytest.approx(pair.rate.mean, abs=0.12)


def test_equal_answers_are_ties_and_are_not_asked_about() -> None:
    records = answered(QUESTIONS[:9], a=plain("x"), b=plain("x"))
    _, rows = judged(Judge(says=lambda shown: "nonsense"), QUESTIONS[:9], records)
    assert {(row.preference, row.settled, row.error) for row in rows} == {("tie", "identical", None)}


@pytest.mark.medium
def test_an_answer_that_failed_is_the_worst_and_is_counted() -> None:
    found = summary(
        Judge(), anna=lambda n: None if n < 40 else "anna.", bert=lambda n: None if n < 20 else f"bert {n}."
    )
    anna, bert = found.scores
    assert (anna.unanswered, bert.unanswered) == (40, 20)
    (pair,) = found.preferences
    assert pair.unanswered == 40 and pair.losses >= 20 and pair.ties >= 20
    assert found.habits[0].consistency.n == 260


def test_a_reply_that_is_nonsense_is_counted_and_no_score() -> None:
    judge = Judge(says=lambda shown: "I like it!" if "Is it 1" in shown else None)
    found = summary(judge, anna=plain("anna"), bert=plain("bert"))
    about = sum(question.question.startswith("Is it 1") for question in QUESTIONS)
    assert [row.failed for row in found.scores] == [about, about]
    assert [row.rate.n for row in found.scores] == [300 - about] * 2
    (pair,) = found.preferences
    assert pair.failed == about and pair.rate.n == 300 - about
    rows = judged(judge, QUESTIONS[:2], answered(QUESTIONS[:2], a=plain("x"), b=plain("y")))[1]
    assert [row.preference is None for row in rows] == [False, True] and "not one JSON object" in str(rows[1].error)


def test_more_pairs_make_each_less_certain() -> None:
    better = Judge(quality=lambda answer: chance(answer) + (0.05 if answer.startswith("anna") else 0.0))
    found = summary(better, anna=plain("anna"), bert=plain("bert"), carl=plain("carl"))
    assert len(found.preferences) == 3
    assert all(pair.p_holm >= pair.p for pair in found.preferences)
    assert max(pair.p_holm / pair.p for pair in found.preferences) > 1


def test_labels_show_that_the_judge_is_wrong_and_by_how_much() -> None:
    # People like both alike; the judge likes anna.
    judge = Judge(quality=lambda answer: chance("judge", answer) + (0.5 if answer.startswith("anna") else 0.0))
    people: dict[int, Side] = {n: "a" if chance("people", str(n)) < 0.5 else "b" for n in range(len(QUESTIONS))}
    chosen = [n for n in range(len(QUESTIONS)) if chance("chosen", str(n)) < 0.3]
    labels = Labels(
        tuple(ScoreLabel(f"q{n}", "anna", "overall", 3.0, "Ann") for n in chosen),
        # Whichever of the two is named first.
        tuple(PreferenceLabel(f"q{n}", "bert", "anna", "overall", turned(people[n]), "Ann") for n in chosen),
    )  # fmt: skip
    found = summary(judge, labels, anna=plain("anna"), bert=plain("bert"))
    (pair,), (scores, preferences) = found.preferences, found.calibration
    anna, bert = found.scores
    share = sum(side == "a" for side in people.values()) / len(people)
    assert pair.rate.low is not None and pair.rate.low > 0.7
    assert pair.corrected is not None and pair.corrected.low < share < pair.corrected.high
    assert pair.corrected.labels == len(chosen)
    assert anna.corrected is not None and anna.corrected.low < 3.0 < anna.corrected.high
    assert bert.corrected is None
    assert preferences.labels == scores.labels == len(chosen)
    assert preferences.kappa.coefficient is not None and abs(preferences.kappa.coefficient) < 0.25


def test_a_setup_that_did_not_answer_a_question_or_twice_is_refused() -> None:
    records = answered(QUESTIONS[:5], a=plain("x"), b=plain("y"))
    with pytest.raises(UsageError, match="b has no answer to 1 of 5 questions, 'q4'"):
        judged(Judge(), QUESTIONS[:5], records[:-1])
    with pytest.raises(UsageError, match="a has two answers to question 'q0'"):
        judged(Judge(), QUESTIONS[:5], [*records, records[0]])


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "tie", None]), st.sampled_from(["a", "b", "tie"]), st.integers(-50, 50)),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=40)
@given(ROWS)
def test_exchanging_the_setups_exchanges_everything(said: list[tuple[str | None, str, int]]) -> None:
    other = {"a": "b", "b": "a", "tie": "tie", None: None}
    one, exchanged = list[PreferenceRow](), list[PreferenceRow]()
    for number, (first, second, longer) in enumerate(said):
        orders = None if first is None else (first, second)
        side = None if first is None else first if first == second else "tie"
        back = None if first is None else (other[second], other[first])
        one.append(PreferenceRow(f"q{number}", "x", "y", "overall", side, orders, None, longer))  # type: ignore[arg-type]
        exchanged.append(PreferenceRow(f"q{number}", "y", "x", "overall", other[side], back, None, -longer))  # type: ignore[arg-type]
    clusters = clusters_of(QUESTIONS)
    left, right = (summarise([], rows, [OVERALL], clusters, Labels(), seed=0) for rows in (one, exchanged))
    a, b = left.preferences[0], right.preferences[0]
    assert (a.wins, a.ties, a.losses, a.failed, a.disagreed) == (b.losses, b.ties, b.wins, b.failed, b.disagreed)
    assert a.p == pytest.approx(b.p)
    if a.rate.mean is not None and b.rate.mean is not None:
        assert a.rate.mean == pytest.approx(1 - b.rate.mean)
    for habit in ("first", "longer"):
        rates = [getattr(found.habits[0], habit) for found in (left, right)]
        assert rates[0].mean == pytest.approx(rates[1].mean) and rates[0].high == pytest.approx(rates[1].high)


def test_a_summary_is_json() -> None:
    found = summary(Judge(), anna=plain("anna"), bert=plain("bert"))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["preferences"][0]["a"] == "anna"
    assert isinstance(found.preferences[0], Preferences)
