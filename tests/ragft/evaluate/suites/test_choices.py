"""Multiple choice: files of questions, and which choice is a model's answer."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from ragft.errors import UsageError
from ragft.evaluate.suites import choices, forgetting
from ragft.evaluate.suites.choices import ChoiceQuestion, is_right, is_right_per_character, read_choices

ROW = {"id": "1", "question": "2 + 2?", "choices": ["four", "a large number"], "labels": ["1", "2"], "answer": "2"}


@pytest.mark.parametrize("module", [choices, forgetting])
def test_examples_in_docstrings_hold(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def read(folder: Path, **changes: Any) -> ChoiceQuestion:
    path = folder / "file.jsonl"
    path.write_text(json.dumps({key: value for key, value in {**ROW, **changes}.items() if value is not None}))
    (question,) = read_choices(path, "some.key")
    return question


def test_a_question_knows_its_right_choice_by_label(tmp_path: Path) -> None:
    assert read(tmp_path) == ChoiceQuestion("1", "2 + 2?", ("four", "a large number"), 1)
    assert read(tmp_path, labels=None, answer="A").right == 0
    assert read(tmp_path).prompt == "Question: 2 + 2?\nAnswer:"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": None}, "field 'id' is missing"),
        ({"question": " "}, "field 'question' is missing"),
        ({"choices": ["one"]}, "two texts or more, and it holds 1"),
        ({"choices": "one"}, "`choices` must be a list"),
        ({"labels": ["A", "A"]}, "2 different texts"),
        ({"labels": ["A"]}, "2 different texts"),
        ({"answer": "C"}, "`answer` is 'C', which is none of the labels 1, 2"),
        ({"answer": None}, "`answer` is None"),
    ],
)
def test_a_faulty_line_is_refused_with_its_number(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=rf"file\.jsonl, line 1: .*{told}"):
        read(tmp_path, **changes)


def test_an_id_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n")
    with pytest.raises(UsageError, match="duplicate id '1'"):
        read_choices(path, "some.key")


def test_the_first_of_equally_likely_choices_is_the_answer() -> None:
    question = ChoiceQuestion("1", "?", ("aa", "bb"), 0)
    assert is_right(question, [-1.0, -1.0])
    assert is_right_per_character(question, [-1.0, -1.0])
