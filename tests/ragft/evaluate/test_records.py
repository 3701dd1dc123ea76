"""Records survive writing and reading, and a writer that was killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.evaluation import passage, record

from ragft.errors import RagftError
from ragft.evaluate.records import append_records, read_records


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "records.jsonl"
    joined = replace(passage("Django"), sections=("4.2", "4.1"))
    first = record("line one\nline two\u2028 — ü", passages=(passage("4.2"), joined))
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
    with pytest.raises(RagftError, match=r"records\.jsonl, line 1 is not a record"):
        read_records(path)
    with pytest.raises(RagftError, match="There are no records"):
        read_records(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        '{"question_id": "q1", "passages": [], "citations": [], "colour": 3}',
        '["q1", "hybrid", "an answer"]',
        *[
            f'{{"question_id": "q1", "setup": "hybrid", "answer": {rest}}}'
            for rest in (
                r'"\ud800 broken"',
                '"4.2", "index_version": 5',
                '"4.2", "citations": ["x"]',
                '"4.2", "passages": [{"chunk_id": "a", "document_id": "a", "heading": "h", "score": 1, "text": null}]',
                '"4.2", "passages": [{"chunk_id": "a", "document_id": "a", "heading": "h", "score": 1, "path": "abc"}]',
                '"4.2", "passages": [{"chunk_id": "a"}]',
            )
        ],
    ],
)
def test_a_record_of_another_shape_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(RagftError, match="line 1 is not a record"):
        read_records(path)
