from __future__ import annotations

from pathlib import Path

import pytest
from support.evaluation import passage, record

from ragft.citations import passage_matches
from ragft.errors import RagftError, UsageError
from ragft.evaluate.records import append_records, read_questions, read_records

GOOD = '{"id": "q1", "question": "When?", "answers": ["2026"], "tags": ["date"]}'


@pytest.mark.parametrize(
    ("source", "heading", "title", "matches"),
    [
        ("django.md#4.2", "4.2", "Django", True),
        ("django.md#4.2", "Django 4.2", "Django", True),
        ("django.md#4.2", "DJANGO   4.2", "Django", True),
        ("django.md#Django 4.2", "Django 4.2", "Django", True),
        ("django.md#4.2", "Django: 4.2", "Django", True),
        ("django.md#4.2", "Django 4.2.1", "Django", False),
        ("django.md#4.2", "Django 14.2", "Django", False),
        ("django.md#4.2", "Django4.2", "Django", False),
        ("django.md#4.2", "Django 4.2", "", False),
        ("django.md", "anything", "Django", True),
        ("django.md#", "anything", "Django", True),
        ("other.md#4.2", "4.2", "Django", False),
        ("django.mdx#4.2", "4.2", "Django", False),
    ],
)
def test_a_passage_matches_the_section_that_a_source_names(
    source: str, heading: str, title: str, matches: bool
) -> None:
    assert passage_matches(source, "django.md", heading, title) is matches


def test_a_document_may_have_a_hash_in_its_name() -> None:
    assert passage_matches("c#.md#8.0", "c#.md", "C# 8.0", "C#")
    assert not passage_matches("c#.md#8.0", "c", "8.0", "C")


def test_questions_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(GOOD + '\n\n{"id": 2, "question": "What?", "answerable": false, "product": "x"}\n')
    first, second = read_questions(path)
    assert first.answers == ("2026",)
    assert first.tags == ("date",)
    assert first.answerable
    assert (second.id, second.answers, second.answerable) == ("2", (), False)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "q2"', "line 2: no JSON"),
        ('["q2"]', "line 2: write an object"),
        ('{"id": "q2", "answers": ["x"]}', "line 2: field 'question' is missing"),
        ('{"question": "x", "answers": ["x"]}', "line 2: field 'id' is missing"),
        (GOOD, "line 2: id 'q1' was used on line 1"),
        ('{"id": "q2", "question": "x"}', "line 2: answerable but without `answers`"),
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


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "records.jsonl"
    first = record("line one\nline two\u2028 — ü", passages=(passage("4.2"),))
    second = record("", question_id="q2", setup="prompt-only", retrieval_ms=None, error="engine died")
    append_records(path, [first])
    append_records(path, [second])
    assert read_records(path) == (first, second)


@pytest.mark.parametrize("kept", [1, 40, 200])
def test_a_torn_last_line_is_dropped_and_the_next_record_starts_a_line(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [record("one"), record("two ü", question_id="q2")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:kept])
    assert [each.question_id for each in read_records(path)] == ["q1"]
    append_records(path, [record("three", question_id="q3")])
    assert [each.question_id for each in read_records(path)] == ["q1", "q3"]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [record("one")])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append_records(path, [record("two", question_id="q2")])
    assert [each.answer for each in read_records(path)] == ["one", "two"]


def test_a_torn_line_elsewhere_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [record("one")])
    path.write_bytes(path.read_bytes()[:30] + b"\n" + path.read_bytes())
    with pytest.raises(RagftError, match=r"records\.jsonl, line 1 is no record"):
        read_records(path)
    with pytest.raises(RagftError, match="There are no records"):
        read_records(tmp_path / "none.jsonl")


def test_a_record_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"question_id": "q1", "passages": [], "citations": [], "colour": 3}\n')
    with pytest.raises(RagftError, match="line 1 is no record"):
        read_records(path)
