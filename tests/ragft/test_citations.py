"""Citation marks are read, renumbered and taken out by one notion of what a mark is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.citations import in_plain_words, parse_citations, with_citations, without_citations


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


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("x [1-3]", (1, 2, 3)),
        ("x [1–2]", (1, 2)),
        ("x【1】", (1,)),
        ("x 【2†source】", (2,)),
        ("x [1 and 2]", (1, 2)),
        ("x [1, 2, and 3]", (1, 2, 3)),
        ("x [Source 1]", (1,)),
        ("x [Source 1, Source 3]", (1, 3)),
        ("x [^2]", (2,)),
        ("supported[1].", (1,)),
        ("since 2026[1]", (1,)),
        ("(2026)[1]", (1,)),
        ("(1)", ()),
        ("GitHub[1]", (1,)),
        ("Node.js[1] and max_tokens[2], pH[3], option(s)[4]", (1, 2, 3, 4)),
        ("plan b[1]", (1,)),
        ("self.args[1], my_list[2], userList[3]", ()),
        ("Use `nums = [1, 2]` here [3].", (3,)),
        ("so `[1]` it is", (1,)),
        ("```python\nnums = [1, 2]\nprint(values[1])\n```\nSee [3].", (3,)),
        ("```\nAnswer: 4.2 [1]\n```", (1,)),
        ("list[0]", ()),
        ("args[1]", ()),
        ("x[1]", ()),
        ("sys.argv[1]", ()),
        ("f()[1]", ()),
        ("`foo[2]`", ()),
        ("data[1] = 5", ()),
        ("[RFC 2119]", ()),
        ("[10-500]", ()),
    ],
)
def test_forms_of_citations(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_citations(text) == numbers
    if not numbers:
        assert in_plain_words(text) == without_citations(text) == text


def test_a_range_is_renumbered_as_a_list() -> None:
    assert with_citations("x [1-3]", lambda number: {1: 7, 2: 2, 3: 9}[number]) == "x [7, 2, 9]"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["_", "x.y_", "f(", "a"])
def test_a_long_line_of_anything_is_read_in_one_go(name: str) -> None:
    """The endpoint reads citations of whatever a model writes; tries that grow with the cube would never end here."""
    assert parse_citations(name * 20_000 + " [1]") == (1,)


def test_many_marks_in_one_line_of_code_are_read_in_one_go() -> None:
    assert parse_citations("`" + "[1] " * 50_000 + "x` [2]") == (2,)
    assert parse_citations("a[1]" * 50_000) == (1,)
