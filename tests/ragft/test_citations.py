"""Citation marks are read, renumbered and taken out by one notion of what a mark is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.citations import in_plain_words, parse_citations, with_citations


@pytest.mark.parametrize(
    ("cited", "plain"),
    [
        ("Source: [1] Django 4.2\nAnswer: 4", "Source: Django 4.2\nAnswer: 4"),
        ("Source: [1][2] Django", "Source: Django"),
        ("30 days [1].", "30 days."),
        ("[1] says so.", "says so."),
        ("30 days [1, 2] a year", "30 days a year"),
        ("Answer: 30\nSource: [1]", "Answer: 30\nSource:"),
        ("in [2026] and [here](x) and [1](http://x)", "in [2026] and [here](x) and [1](http://x)"),
    ],
)
def test_answer_without_marks_reads_as_if_there_had_been_none(cited: str, plain: str) -> None:
    assert in_plain_words(cited) == plain


@given(numbers=st.lists(st.integers(1, 9), min_size=1, max_size=5), together=st.booleans())
def test_every_form_of_a_mark_is_renumbered(numbers: list[int], together: bool) -> None:
    mark = f"[{', '.join(map(str, numbers))}]" if together else "".join(f"[{n}]" for n in numbers)
    moved = with_citations(f"So it is {mark}.", lambda number: number + 10)
    assert parse_citations(moved) == tuple(dict.fromkeys(number + 10 for number in numbers))
    assert parse_citations(in_plain_words(moved)) == ()
