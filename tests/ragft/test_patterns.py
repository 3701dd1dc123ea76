"""Regular expressions of a configuration end, and find labels in any case."""

from __future__ import annotations

import re

import pytest

from ragft.patterns import LIMIT_S, Bounded, SlowPattern, with_labels_in_any_case


def test_an_expression_that_does_not_end_is_refused_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragft.patterns.LIMIT_S", 0.05)
    slow = Bounded(r"(a|aa|a)+$", "answer.value")
    with pytest.raises(SlowPattern, match=r"answer\.value takes more than 0\.05 s .* 41 characters .*simplify"):
        slow.search("a" * 40 + "b")
    with pytest.raises(SlowPattern):
        slow.finditer("a" * 40 + "b")
    assert LIMIT_S >= 1, "a loaded machine must not refuse an expression that is not slow"


def test_an_expression_finds_what_re_finds() -> None:
    pattern, text = r"(?m)^Answer: (.+)$", "x\nAnswer: 4.2\nAnswer: 5"
    bounded = Bounded(pattern, "answer.value")
    assert [match[1] for match in bounded.finditer(text)] == re.findall(pattern, text)
    assert bounded.search(text)[1] == "4.2" and bounded.fullmatch(text) is None


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        (r"(?m)^Answer: (.+)$", "ANSWER: Yes", "Yes"),
        (r"\b(?:answer|choice): ([A-D])\b", "Choice: B", "B"),
        (r"Answer: ([A-D])", "answer: b", None),
        (r"\b([A-D])\b", "I have a guess", None),
        (r"Answer: (.+?) · Source", "answer: 5 · source", "5"),
        (r"\[(?P<value>[)(]+)\] end", "[(()] END", "(()"),
        (r"x(y)|z(w)", "X", None),
        (r"(?:Answer: (.+))", "answer: 5", None),
    ],
)
def test_the_case_of_labels_does_not_count_and_that_of_values_does(pattern: str, text: str, value: str | None) -> None:
    found = Bounded(with_labels_in_any_case(pattern), "answer.value").search(text)
    assert (found and found[1]) == value
