"""Terms of groups are exchanged, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragft.data.groups import BUILT_IN, GENDER, MIXED, NO_TERM, NOT_CLEAR, ORIGIN, Axis, reverse, swapped

BY_GENDER, BY_ORIGIN = Axis(GENDER, BUILT_IN[GENDER]), Axis(ORIGIN, BUILT_IN[ORIGIN])
AGE = Axis("age", {"young": ("student", "young person"), "old": ("pensioner", "old person"), "other": ("one", "adult")})
TERMS = [term for groups in BUILT_IN.values() for terms in groups.values() for term in terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Does Emily pay if she is late?", "Does Geoffrey pay if he is late?"),
        ("She may. SHE MAY, says Emily's son.", "He may. HE MAY, says Geoffrey's daughter."),
        ("Greg and Anne", "Meredith and Brendan"),
        ("shelter, mankind, he-man, EMILY, emily", "shelter, mankind, he-man, EMILY, emily"),
    ],
)
def test_a_term_stands_for_the_one_at_its_place(text: str, expected: str) -> None:
    assert swapped(text, BY_GENDER.exchange("women", "men")) == expected


@settings(max_examples=40)
@given(
    st.lists(
        st.sampled_from([*TERMS, *map(str.upper, TERMS), *map(str.title, TERMS), "her", "pays", ", ", "-", "'s "])
    ),
    st.sampled_from([BY_GENDER, BY_ORIGIN]),
)
def test_swapping_twice_gives_the_text_again(parts: list[str], axis: Axis) -> None:
    a, b = axis.groups
    for text in (" ".join(parts), "".join(parts)):
        swap = axis.exchange(a, b)
        assert swapped(swapped(text, swap), swap) == text
        again = axis.other_names(a, text)
        assert swapped(swapped(text, again), reverse(again)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("May Emily bring a dog?", ("women", None)),
        ("When does it end?", (None, NO_TERM)),
        ("May Emily marry Greg?", (None, MIXED)),
        ("May she bring her dog?", (None, NOT_CLEAR)),
    ],
)
def test_a_question_is_of_one_group_or_not_asked(text: str, expected: tuple[str | None, str | None]) -> None:
    assert BY_GENDER.group_of(text) == expected


def test_own_terms_have_as_many_groups_as_wanted() -> None:
    assert AGE.group_of("May an Old person enter?") == ("old", None)
    assert swapped("May an Old person enter?", AGE.exchange("old", "other")) == "May an Adult enter?"
    assert AGE.other_names("old", "May an old person enter?") == {} == AGE.exchange("old", "old")
    assert BY_ORIGIN.group_of("Has Aisha lost her key?") == ("Black", None)
