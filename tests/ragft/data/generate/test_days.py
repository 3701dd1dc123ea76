"""Days are compared part by part, as far as they are equal, and the days that are asked lie on both sides of a date."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.data.generate.days import day_near, worked

DAYS = st.dates(date(1980, 1, 1), date(2090, 12, 31))


@pytest.mark.parametrize(
    ("first", "second", "steps"),
    [
        ("2028-04-28", "2026-06-01", "years 2028 and 2026 falling"),
        ("2028-04-28", "2028-06-01", "years 2028 and 2028 equal, months 04 and 06 rising"),
        ("2028-04-28", "2028-04-01", "years 2028 and 2028 equal, months 04 and 04 equal, days 28 and 01 falling"),
    ],
)
def test_parts_are_compared_until_two_differ(first: str, second: str, steps: str) -> None:
    assert worked(first, second) == steps


@given(DAYS, DAYS)
def test_the_last_part_tells_the_order(one: date, other: date) -> None:
    last = worked(one.isoformat(), other.isoformat()).rsplit(" ", 1)[1]
    assert last == ("equal" if one == other else "rising" if one < other else "falling")


@given(DAYS, st.integers())
def test_a_day_near_a_date_is_another_one_within_three_years(when: date, seed: int) -> None:
    day = day_near(when.isoformat(), random.Random(seed))
    assert day is not None and 0 < abs((date.fromisoformat(day) - when).days) <= 1_100


def test_both_sides_are_as_likely_and_never_has_no_days_near_it() -> None:
    draw = random.Random(0)
    after = sum((day_near("2026-06-15", draw) or "") > "2026-06-15" for _ in range(2_000))
    assert 900 < after < 1_100
    assert day_near("9999-12-31", draw) is None and day_near("0001-01-01", draw) is None
