"""Evaluation questions are read strictly, and sampled with a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragft.data.questions import Question, read_questions, sample
from ragft.errors import UsageError

GOOD = '{"id": "q1", "question": "When?", "answers": ["2026"], "tags": ["date"]}'


def test_questions_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(GOOD + '\n\n{"id": 2, "question": "What?", "answerable": false, "product": "x", "group": 3}\n')
    first, second = read_questions(path)
    assert first.answers == ("2026",)
    assert first.tags == ("date",)
    assert first.answerable
    assert (second.id, second.answers, second.answerable) == ("2", (), False)
    assert (first.group, second.group) == (None, "3")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "q2"', "line 2: no JSON"),
        ('["q2"]', "line 2: write an object"),
        ('{"id": "q2", "answers": ["x"]}', "line 2: field 'question' is missing"),
        ('{"question": "x", "answers": ["x"]}', "line 2: field 'id' is missing"),
        (GOOD, "line 2: duplicate id 'q1' (first on line 1)"),
        ('{"id": "q2", "question": "x"}', "line 2: answerable but without `answers`"),
        (
            '{"id": "q2", "question": "x", "answers": ["y"], "answerable": false}',
            "line 2: `answerable` is false, but it has `answers`",
        ),
        ('{"id": "q2", "question": "x", "answers": "x"}', "line 2: `answers` must be a list"),
        ('{"id": "q2", "question": "x", "answers": [" "]}', "line 2: `answers` must be a list"),
        (
            '{"id": "q2", "question": "x", "answer": ["x"]}',
            "line 2: unknown field 'answer': did you mean 'answers'",
        ),
        (
            '{"id": "q2", "question": "x", "answers": ["x"], "stale_answer": ["y"], "stale_answers": ["z"]}',
            "line 2: unknown field 'stale_answer': did you mean 'stale_answers'",
        ),
        (
            '{"id": "q2", "question": "x", "answers": ["x"], "answerable": 1}',
            "`answerable` must be true or false",
        ),
        ('{"id": "q2", "question": "x", "answers": ["x"], "format": "json"}', "there is no format 'json'"),
        ('{"id": "q2", "question": "x", "answers": ["x"], "group": ["a"]}', "`group` must be a name or a number"),
    ],
)
def test_a_wrong_question_is_refused_with_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(UsageError) as error:
        read_questions(path)
    assert complaint in str(error.value)
    assert "questions.jsonl" in str(error.value)


def test_missing_empty_and_binary_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file of questions"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no questions"):
        read_questions(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_questions(tmp_path / "binary.jsonl")


def test_limit_draws_a_seeded_subset_in_the_order_of_the_file() -> None:
    questions = tuple(Question(f"q{number}", "?", (), (), False) for number in range(7))

    def drawn(limit: int | None, seed: int = 0) -> list[str]:
        return [question.id for question in sample(questions, limit, seed)]

    everything = [question.id for question in questions]
    assert drawn(None) == drawn(7) == drawn(99) == everything
    three = drawn(3)
    assert len(three) == 3 and three == sorted(three) == drawn(3)
    assert len({tuple(drawn(3, seed)) for seed in range(9)}) > 1
