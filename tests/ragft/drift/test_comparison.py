"""What counts as moved, what to begin with, and what the words say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ragft.drift.beginning import Kind, kinds, nearness
from ragft.drift.comparison import LEAST_UNITS, Against, Compared, Drift, What, compare
from ragft.drift.sample import Floats, Sample
from ragft.drift.words import advice, lines, to_json, verdict


def vectors(angles: Sequence[float]) -> Floats:
    return np.array([[np.cos(one), np.sin(one)] for one in angles])


def sample(count: int, *, angle: float = 0.0, spread: float = 0.3, text: str = "What does it cost?", seed: int = 0,
           units: Sequence[int] | None = None, scores: float = 0.5, refused: float = 0.0) -> Sample:  # fmt: skip
    """So many questions around an angle, of which a share is refused, with scores around a mean."""
    rng = np.random.default_rng(seed)
    told = tuple(units if units is not None else range(count))
    return Sample(
        (text,) * count, told, told, vectors(angle + spread * rng.uniform(-1, 1, count)),
        scores + 0.1 * rng.uniform(-1, 1, count), (np.arange(count) < refused * count).astype(float),
        np.full(count, np.nan),
    )  # fmt: skip


def of(found: Sequence[Compared], what: What, against: Against = "before") -> Compared:
    (one,) = [one for one in found if (one.what, one.against) == (what, against)]
    return one


def test_what_stays_has_not_moved() -> None:
    others: dict[Against, Sample] = {"evaluation": sample(60, seed=1), "before": sample(80, seed=2)}
    found = compare(sample(50), others, seed=0)
    assert [one.what for one in found] == ["questions", "retrieval", "refused", "length", "language"] * 2
    assert not any(one.has_moved for one in found)


def test_each_change_is_seen_where_it_is_and_not_elsewhere() -> None:
    before: dict[Against, Sample] = {"before": sample(80, seed=2)}
    moved = {
        "questions": sample(60, angle=2.0), "retrieval": sample(60, scores=0.3), "refused": sample(60, refused=0.4),
        "length": sample(60, text="What does it cost, and why does nobody tell us?"),
    }  # fmt: skip
    for what, recent in moved.items():
        found = compare(recent, before, seed=0)
        assert [one.what for one in found if one.has_moved] == [what]
    refused = of(compare(moved["refused"], before, seed=0), "refused")
    assert (refused.recent, refused.reference) == (0.4, 0.0) and refused.low is not None and refused.high is not None
    assert 0.2 < refused.low < 0.4 < refused.high < 0.6


def test_a_small_difference_is_none_however_sure() -> None:
    many = compare(sample(500, refused=0.03), {"before": sample(500, seed=2)}, seed=0)
    assert of(many, "refused").p_holm < 0.05 and not of(many, "refused").has_moved


def test_the_language_that_changed_is_named() -> None:
    english = "What is the price of the ticket that we have?"
    german = "Was ist der Preis und was kostet das mit der Karte?"
    half = replace(sample(60), questions=(english, german) * 30)
    found = of(compare(half, {"before": sample(60, text=english, seed=1)}, seed=0), "language")
    assert found.has_moved and {found.language} <= {"English", "German"} and abs(found.difference) == 0.5


def test_too_few_users_are_not_compared_however_much_they_ask() -> None:
    units = [number % (LEAST_UNITS - 1) for number in range(100)]
    assert compare(sample(100, units=units), {"before": sample(80)}, seed=0) == []
    # Of the evaluation no answers are known: nothing is said of them.
    silent = sample(60, seed=1)
    silent.refused[:] = np.nan
    assert "refused" not in {one.what for one in compare(sample(50), {"evaluation": silent}, seed=0)}


def test_far_is_what_is_farther_than_nearly_all_of_a_group_are_from_each_other() -> None:
    group = replace(sample(5), kin=tuple("aabcd"), vectors=vectors([0, 0.01, 0.2, 0.4, 0.7]))
    asked = sample(3)
    asked.vectors[:] = vectors([0.1, 0.95, 1.2])
    near = nearness(asked, group)
    assert near is not None
    # Each is 0.2, 0.19, 0.19, 0.2 and 0.3 from the nearest that is not kin; the farthest draws the line.
    assert near.least == pytest.approx(np.cos(0.3)) and near.is_far.tolist() == [False, False, True]
    alone = Sample(*(getattr(group, name)[:2] for name in group.__dataclass_fields__))
    assert nearness(asked, alone) is None


def test_one_question_stands_for_those_like_it_and_those_of_many_come_first() -> None:
    rows = vectors([0.0, 1.0, 1.05, 0.95, 2.0, 2.05])
    assert kinds("abcdef", rows, float(np.cos(0.1)), 5) == [Kind("b", 3), Kind("e", 2), Kind("a", 1)]
    assert kinds("abcdef", rows, float(np.cos(0.1)), 1) == [Kind("b", 3)]
    assert kinds((), vectors([]).reshape(0, 2), 0.9, 5) == []


def compared(what: What, recent: float, reference: float, against: Against = "before", p: float = 0.001) -> Compared:
    return Compared(what, against, recent, reference, None, None, p, p, 0.05, 100, 100, language="German")


def told(*found: Compared, **values: Any) -> Drift:
    own = {
        "days": 7.0, "days_before": 28.0, "asked": 100, "looked_at": 100, "asked_before": 400, "units": 90,
        "units_before": 300, "evaluated": 50, "setup": "hybrid", "signal": "dense", "compared": found, "notes": (),
        "far": (Kind("A far one?", 3),), "failing": (Kind("A failing\none?", 1),), **values,
    }  # fmt: skip
    return Drift(**own)


RULES: list[tuple[tuple[Compared, ...], list[str]]] = [
    ((compared("refused", 0.3, 0.1), compared("retrieval", 0.3, 0.5)), ["documents"]),
    ((compared("ungrounded", 0.3, 0.1), compared("retrieval", 0.5, 0.5)), ["train"]),
    ((compared("refused", 0.3, 0.1), compared("retrieval", 0.5, 0.3)), ["train"]),
    # Real questions are harder than the evaluation's, and that is not why more are refused than before.
    ((compared("refused", 0.3, 0.1), compared("retrieval", 0.3, 0.5, "evaluation")), ["train"]),
    ((compared("refused", 0.3, 0.1, "evaluation"), compared("retrieval", 0.3, 0.5, "evaluation")), ["documents"]),
    ((compared("retrieval", 0.3, 0.5),), ["documents"]),
    ((compared("refused", 0.1, 0.3),), []),
    ((compared("questions", 0.4, 0.05, "evaluation"), compared("refused", 0.3, 0.1)), ["train", "questions"]),
    ((compared("language", 0.4, 0.05), compared("length", 9.0, 5.0)), ["language", "length"]),
    ((compared("questions", 0.06, 0.05),), []),
    ((compared("questions", 0.4, 0.05, p=0.06),), []),
]


@pytest.mark.parametrize(("found", "expected"), RULES)
def test_what_to_do_follows_from_what_moved(found: tuple[Compared, ...], expected: list[str]) -> None:
    drift = told(*found)
    assert [one.do for one in advice(drift)] == expected
    values = to_json(drift)
    assert values["drift"] == bool(expected) and values["verdict"].startswith("Nothing has moved") != bool(expected)


def test_the_questions_to_begin_with_stand_below_what_they_are_for() -> None:
    shown = lines(
        told(compared("refused", 0.3, 0.1), compared("questions", 0.4, 0.05, "evaluation"), notes=("A note.",))
    )
    (train, questions) = [place for place, line in enumerate(shown) if line.endswith(":")]
    assert (
        shown[train + 1] == "  A failing one?" and shown[questions + 1] == "  3 × A far one?" and shown[-1] == "A note."
    )
    assert "30.0\u00a0% of the answers refuse, 10.0\u00a0% before (p = 0.001)" in shown[train]
    assert "40.0\u00a0% are farther from every evaluation question than 95.0\u00a0% of those" in shown[questions]


def test_too_few_questions_are_told_with_how_many_it_takes() -> None:
    (few,) = verdict(told(units=5))
    assert (
        "5 users or conversations in the last 7 days, and 20 are needed, which at this rate takes about 21 days" in few
    )
    (none,) = verdict(told(units=0, asked=0))
    assert "too few" in none and "rate" not in none
    assert "nothing to compare" in verdict(told())[0]
    mixed = verdict(told(compared("questions", 0.06, 0.05)))
    assert (
        mixed[0].startswith("Nothing has moved. Differences of 0.") and "mixed otherwise than those before" in mixed[1]
    )
