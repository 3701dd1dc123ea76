"""The value is read whatever its markup, the last one counts, and one that was cut off does not."""

from __future__ import annotations

import pytest
from support.evaluation import RULES, question, record, value

from ragft.config import AnswerSection
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.reading import equals_any, plain, read

LINES = Rules.of(AnswerSection(value=r"(?m)^Answer: (.+)$", format=r"Answer: .+"))
RIGHT = "2026-04-30"


@pytest.mark.parametrize(
    "answer",
    [
        "Answer: 2026-04-30",
        "**Answer:** 2026-04-30",
        "**Answer: 2026-04-30**",
        "__Answer:__ 2026-04-30",
        "*Answer:* `2026-04-30`",
        "answer: 2026-04-30",
        "  ANSWER: 2026-04-30  ",
        "- Answer: 2026-04-30",
        "> Answer: **2026-04-30** [1]",
        "## Answer: 30 April 2026",
        "```text\nAnswer: 2026-04-30\n```",
        "1. Answer: 30.04.2026",
        "<b>Answer:</b> 2026-04-30T00:00:00Z",
        "Answer: 2026-04-30 at 12:00 UTC",
    ],
)
def test_markup_is_no_question_of_facts(answer: str) -> None:
    assert value("exact_match", question(RIGHT), record(answer), LINES) == 1


def test_the_form_of_an_answer_is_still_judged() -> None:
    assert value("format_validity", question(RIGHT), record("**Answer:** 2026-04-30"), LINES) == 0


def test_the_last_value_counts_and_the_others_are_told() -> None:
    draft = "Answer: 2026-04-30\nWait.\nAnswer: 2025-01-01"
    assert value("exact_match", question(RIGHT), record(draft), LINES) == 0
    assert read(draft, LINES).detail == "2025-01-01 (before it, other values: 2026-04-30)"
    corrected = "Answer: 2025-01-01\n**Answer:** 2026-04-30\nAnswer: 30 April 2026"
    assert value("exact_match", question(RIGHT), record(corrected), LINES) == 1
    assert read(corrected, LINES).others == ("2025-01-01",)


def test_an_answer_that_was_cut_off_counts_only_if_its_value_is_complete() -> None:
    def scores(answer: str) -> tuple[float | None, float | None]:
        given = record(answer, finish_reason="length")
        return value("exact_match", question(RIGHT), given, LINES), value(
            "format_validity", question(RIGHT), given, LINES
        )

    assert scores("Answer: 2026-04-30") == (0, 0)
    assert scores("Answer: 2026-04-30\nBecause the") == (1, 0)
    assert scores("Answer: 2026-04-30\nAnswer: 20") == (0, 0)
    assert value("contains", question("4.2"), record("It is 4.2", finish_reason="length"), LINES) == 0
    assert value("contains", question("4.2"), record("It is 4.2 since", finish_reason="length"), LINES) == 1
    assert read("Answer: 20", LINES, cut_off=True).detail == "cut off before its value is complete"


def test_markup_that_belongs_to_the_rule_is_found() -> None:
    rules = Rules.of(AnswerSection(value=r"\*\*(.+?)\*\*"))
    assert read("It is **4.2**, I think.", rules).value == "4.2"


def test_values_that_look_like_citations_are_not_eaten() -> None:
    for gold in ("list[0]", "args[1]", "[RFC 2119]", "[1, 2]"):
        assert equals_any(read(gold, RULES), [gold])
        assert value("exact_match", question(gold), record(f"Answer: {gold}"), LINES) == 1
    assert value("exact_match", question("1"), record("Answer: [1]"), LINES) == 0
    assert value("exact_match", question("4.2 [1]"), record("Answer: 4.2 [2]"), LINES) == 1


@pytest.mark.parametrize(
    ("gold", "other"),
    [
        ("range [1, 5]", "range [2, 9]"),
        ("95 % CI [1, 5]", "95 % CI [2, 9]"),
        ("vector [1, 2, 3]", "vector [3, 2, 1]"),
        ("regex [1-5]", "regex [1-9]"),
        ("step [1] of [3]", "step [2] of [5]"),
    ],
)
def test_brackets_of_a_right_answer_are_a_part_of_it(gold: str, other: str) -> None:
    asked = question(gold)
    for right in (gold, f"{gold} [2]", f"{gold}."):
        assert value("exact_match", asked, record(f"Answer: {right}"), LINES) == 1, right
    for metric in ("exact_match", "contains"):
        assert value(metric, asked, record(f"Answer: {other}"), LINES) == 0
    assert value("rouge_l", asked, record(f"Answer: {other}"), LINES) < 1  # F1 takes no order
    assert value("contains", asked, record(f"It is the {gold} [3], I think."), LINES) == 1


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("京都", "答えは京都です。"), ("การบินไทย", "สายการบินคือการบินไทยครับ"), ("東京都庁", "東京都庁です")],
)
def test_writing_without_spaces_is_compared_by_pairs_of_characters(gold: str, answer: str) -> None:
    assert value("contains", question(gold), record(answer), RULES) == 1
    assert 0 < value("token_f1", question(gold), record(answer), RULES) < 1
    assert 0 < value("rouge_l", question(gold), record(answer), RULES) < 1
    assert value("exact_match", question(gold), record(answer), RULES) == 0
    assert value("exact_match", question(gold), record(gold + "。"), RULES) == 1


def test_plain_text_keeps_what_is_no_markup() -> None:
    assert plain("* a\n  - **b**\n# c\n2. 5 km\n3 * 4 = 12") == "a\nb\nc\n2. 5 km\n3 * 4 = 12"


def test_a_rule_that_does_not_match_leaves_the_whole_answer() -> None:
    assert read("2026-04-30 [1]", RULES).value == RIGHT
    assert not read("2026-04-30 [1]", RULES).found
