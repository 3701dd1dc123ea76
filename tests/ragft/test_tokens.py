"""Texts that say the same have equal tokens, and texts that say something else have not."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragft.tokens import contains_tokens, tokens

_PIECES = [
    "a", "the", "an", "30", "april", "2026", "-", "5", "km", ",", ".", "1,000", "pm", "v", "²", "½", "%", "$", "*",
    "**", "_", "`", "thursday", "may", "of", "T", "00:00", "z", "12:30", ">", "O-", "+", "c++", "#", "1,5", "x", "rc1",
    "~", "!", "=", "'", "mega", "b", "M", "W", "€", "^", "कि", "ที่",
    "(+)", "(-)", "′", '"', "<b>", "</b>", "<br>",
]  # fmt: skip
_LETTERS = st.text(alphabet="ab1.2 -[]/:,+*^<>=!%$'_v\n#–²½theapmT0Z@~|&किО", max_size=14)
TEXTS = st.one_of(
    _LETTERS, st.text(max_size=12), st.lists(st.sampled_from(_PIECES), max_size=8).map(" ".join),
    st.lists(st.sampled_from(_PIECES), max_size=8).map("".join),
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (">= 18", "≥18"),
        ("x ≠ 5", "x != 5"),
        ("O−", "O-"),
        (".5", "0.5"),
        ("10²", "10^2"),
        ("10<sup>2</sup>", "10²"),
        ("1,000,", "1000"),
        ("1\u202f000", "1000"),
        ("1'000", "1000"),
        ("1,00,000", "100000"),
        ("1.000,50", "1000.50"),
        ("5km", "5 km"),
        ("2MB", "2 MB"),
        ("1,5", "1.5"),
        ("5 percent", "5%"),
        ("€5", "5 EUR"),
        ("$1,000", "1000 $"),
        ("5½", "5 1/2"),
        ("+5", "5"),
        ("१२", "12"),
        ("30.04.2026", "2026-04-30"),
        ("04/30/2026", "2026-04-30"),
        ("30-Apr-2026", "2026-04-30"),
        ("Thursday, 30 April 2026", "2026-04-30"),
        ("2026-04-30T00:00:00Z", "2026-04-30"),
        ("2026-04-30 12:00", "2026-04-30 12:00:00"),
        ("3 p.m.", "15:00"),
        ("- 4.2", "`4.2`"),
        ("AB +", "AB+"),
        ("Rh (-).", "Rh-"),
        ("5' 11\"", "5′11″"),
        ('version "5"', "version 5"),
        ("<p><b>4.2</b></p>", "4.2"),
        ("<ul><li>4.2</li></ul>", "4.2"),
        ("*4.2*", "__4.2__"),
        ("a server", "server"),
    ],
)
def test_texts_that_say_the_same(one: str, other: str) -> None:
    assert tokens(one) == tokens(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("≥ 18", "≤ 18"),
        ("> 18", "18"),
        ("O-", "O+"),
        ("O-", "O"),
        ("AB +", "AB -"),
        ("Rh (+)", "Rh (-)"),
        ("5'", '5"'),
        ("40° 26″", "40° 26′"),
        ("<div>", "<span>"),
        ("the <b> tag", "the <i> tag"),
        ("Na+", "Na"),
        ("17+", "17"),
        ("x != 5", "x == 5"),
        ("!x", "x"),
        ("a * b", "a + b"),
        ("5 - 3", "5 + 3"),
        (".5", "5"),
        ("±5", "5"),
        ("~5", "5"),
        ("10²", "102"),
        ("10₂", "102"),
        ("2**3", "23"),
        ("5½", "51/2"),
        ("5/3", "53"),
        ("m²", "m³"),
        ("Vitamin A", "Vitamin"),
        ("Vitamin A", "Vitamin B"),
        ("A or B", "B"),
        ("5 MW", "5 mW"),
        ("5 Mb", "5 MB"),
        ("1,500", "1.5"),
        ("1,5,7", "1.5"),
        ("1.000", "1000"),
        ("कि", "की"),
        ("กา", "กี"),
        ("2026-04-30 12:00", "2026-04-30 13:00"),
        ("2026-02-30", "2026-03-02"),
        ("04/05/2026", "2026-05-04"),
    ],
)
def test_texts_that_say_something_else(one: str, other: str) -> None:
    assert tokens(one) != tokens(other)


def test_a_part_of_a_number_is_not_contained_in_it() -> None:
    for text, part in (
        ("10^2", "10"),
        ("4.2.1", "4.2"),
        ("1,000", "1"),
        ("-5 °C", "5"),
        ("section 5a", "5"),
        ("Update 3w", "Update 3"),
    ):
        assert not contains_tokens(tokens(text), tokens(part))
    assert contains_tokens(tokens("It is 5km away"), tokens("5 km"))


@given(TEXTS)
def test_tokens_are_their_own_tokens(text: str) -> None:
    assume(any(map(str.isalnum, text)))
    assert tokens(" ".join(tokens(text))) == tokens(text)


def _spellings(number: Decimal) -> list[str]:
    grouped = f"{number:,}"
    return [f"{number}", grouped, f"{number} km", f"{number}km"]


@given(
    st.decimals(-(10**6), 10**6, places=2), st.decimals(-(10**6), 10**6, places=2), st.integers(0, 3), st.integers(0, 3)
)
def test_different_numbers_never_have_equal_tokens(one: Decimal, other: Decimal, way: int, other_way: int) -> None:
    assume(one != other)
    assert tokens(_spellings(one)[way]) != tokens(_spellings(other)[other_way])
    assert tokens(_spellings(one)[0]) == tokens(_spellings(one)[1])
    assert tokens(_spellings(one)[2]) == tokens(_spellings(one)[3])


def _written(day: date) -> list[str]:
    return [
        day.isoformat(), f"{day:%d %B %Y}", f"{day:%B %d, %Y}", f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}",
        f"{day:%A, %d %B %Y}", f"{day:%Y-%m-%d}T00:00:00",
    ]  # fmt: skip


@given(
    st.dates(date(1000, 1, 1), date(2999, 12, 31)),
    st.dates(date(1000, 1, 1), date(2999, 12, 31)),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_different_dates_never_have_equal_tokens(one: date, other: date, way: int, other_way: int) -> None:
    assume(one != other)
    # Of two days that differ in the order of day and month alone, each spelling says only one, or neither.
    assert tokens(_written(one)[way]) != tokens(_written(other)[other_way])
    if one.day > 12:
        assert len({tokens(text) for text in _written(one)}) == 1
