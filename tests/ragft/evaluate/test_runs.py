from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluation import RULES, question, record

from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, as_line, read_questions
from ragft.errors import UsageError
from ragft.evaluate.runs import compare_runs, read_run, sentences
from ragft.evaluate.score import score, write_comparison

PAIR = ("rag-only", "hybrid")


def run(folder: Path, questions: list[Question], right: int) -> Path:
    """An evaluation in which hybrid is right on the first so many questions, and rag-only on none."""
    records = [
        record(
            f"Answer: {'4.1' if setup == 'hybrid' and at < right else '9.9'} · Source: none",
            question_id=each.id,
            setup=setup,
        )
        for at, each in enumerate(questions)
        for setup in PAIR
    ]
    rows, comparison = score(questions, records, RULES, setups=PAIR, seed=0, resamples=200, max_failed=0)
    write_comparison(folder, rows, comparison)
    (folder / "questions.jsonl").write_bytes(to_lines(map(as_line, questions)))
    return folder


def asked(count: int, first: int = 0) -> list[Question]:
    return [question("4.1", id=f"q{at}", sources=(f"d{at}.md",)) for at in range(first, first + count)]


def test_two_runs_are_compared_question_by_question(tmp_path: Path) -> None:
    before, after = run(tmp_path / "a", asked(40), 10), run(tmp_path / "b", asked(40), 30)
    found = compare_runs(read_run(before), read_run(after))
    test = next(each for each in found.tests if (each["setup"], each["metric"]) == ("hybrid", "exact_match"))
    assert test["difference"] == pytest.approx(0.5)
    assert (test["wins"], test["losses"]) == (20, 0)
    assert test["p_holm"] < 0.001
    assert {each["question_id"] for each in found.changed} == {f"q{at}" for at in range(10, 30)}
    assert {each["change"] for each in found.changed} == {"gained"}
    assert any("hybrid, now right on 20" in line for line in sentences(found))


def test_the_same_run_twice_shows_no_difference(tmp_path: Path) -> None:
    found = compare_runs(*[read_run(run(tmp_path / "a", asked(30), 10))] * 2)
    assert found.changed == []
    assert all(test["difference"] == 0 and test["p_holm"] == 1 for test in found.tests)


def test_questions_of_one_run_only_are_left_out_and_named(tmp_path: Path) -> None:
    found = compare_runs(
        read_run(run(tmp_path / "a", asked(20), 10)), read_run(run(tmp_path / "b", asked(20, first=5), 10))
    )
    assert found.questions == 15
    assert found.only_before == ["q0", "q1", "q2", "q3", "q4"]
    assert any("asked before only: q0, q1, q2 and 2 more" in line for line in sentences(found))


def test_runs_of_different_questions_are_refused(tmp_path: Path) -> None:
    before = read_run(run(tmp_path / "a", asked(10), 5))
    with pytest.raises(UsageError, match="no question in common"):
        compare_runs(before, read_run(run(tmp_path / "b", asked(10, first=10), 5)))
    other = [question("4.2", id=f"q{at}") for at in range(10)]
    with pytest.raises(UsageError, match=r"different things under the same id \(q0, q1, q2 and 7 more\)"):
        compare_runs(before, read_run(run(tmp_path / "c", other, 5)))


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no evaluation"):
        read_run(tmp_path)
    (run(tmp_path / "a", asked(5), 1) / "questions.jsonl").unlink()
    with pytest.raises(UsageError, match="ragft score"):
        read_run(tmp_path / "a")


def test_ends_of_lines_within_an_answer_end_no_line(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", asked(3), 1)
    lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[0])
    row["details"] = {"exact_match": "value\u2028one\u0085two"}
    lines[0] = json.dumps(row, ensure_ascii=False)
    (folder / "scores.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(read_run(folder).rows) == len(lines)


@pytest.mark.parametrize("name", ["scores.jsonl", "comparison.json"])
def test_a_torn_evaluation_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    folder = run(tmp_path / "a", asked(3), 1)
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(UsageError, match=r"scores\.jsonl|run `ragft score` to write it anew"):
        read_run(folder)


def test_questions_are_written_as_they_are_read(tmp_path: Path) -> None:
    made = [*asked(2), question(None, id="q9", tags=("a", "b"), stale_answers=("x",))]
    (tmp_path / "questions.jsonl").write_bytes(to_lines(map(as_line, made)))
    assert list(read_questions(tmp_path / "questions.jsonl")) == made
