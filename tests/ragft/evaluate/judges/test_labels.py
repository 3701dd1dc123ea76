"""Labels of people: every mistake is said with its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.judges import answered, asked

from ragft.errors import UsageError
from ragft.evaluate.judges.labels import Labels, PreferenceLabel, ScoreLabel, answer_hash, read_labels
from ragft.evaluate.judges.plan import answers_of
from ragft.evaluate.judges.rubric import OVERALL, Criterion

QUESTIONS = asked(3)
ANSWERS = answers_of(QUESTIONS, answered(QUESTIONS, a1=lambda n: f"yes {n}", b1=lambda n: f"no {n}"), ("a1", "b1"))
TONE = Criterion("tone", "Is it kind?", (0, 3))


def read(path: Path, *lines: str, criteria: tuple[Criterion, ...] = (OVERALL,)) -> Labels:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_labels(path, criteria, ANSWERS, frozenset(["q0", "q1", "q2", "q9"]))


def test_scores_and_preferences_are_read_from_a_table(tmp_path: Path) -> None:
    scores = read(tmp_path / "s.csv", "question_id,setup,score,person", "q0,a1,4,Ann", "", "q1,b1,2.5,Ann")
    assert scores.scores == (
        ScoreLabel("q0", "a1", "overall", 4.0, "Ann"), ScoreLabel("q1", "b1", "overall", 2.5, "Ann"),
    )  # fmt: skip
    lines = ("question_id;a;b;preference;person", "q0;a1;b1;b1;Ann", "q1;b1;a1;a;Ann", "q2;a1;b1;tie;Ann")
    assert [label.preference for label in read(tmp_path / "p.csv", *lines).preferences] == ["b", "a", "tie"]


def test_labels_are_read_from_json_lines(tmp_path: Path) -> None:
    row = {"question_id": "q0", "a": "a1", "b": "b1", "preference": "tie", "criterion": "tone"}
    found = read(tmp_path / "l.jsonl", json.dumps(row), criteria=(OVERALL, TONE))
    assert found.preferences == (PreferenceLabel("q0", "a1", "b1", "tone", "tie", ""),)


def test_labels_of_what_is_not_judged_are_left_out_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "l.csv", "question_id,setup,score", "q9,a1,4", "q0,a1,4")
    assert len(found.scores) == 1 and found.left_out == 1


def test_several_people_may_label_one_answer(tmp_path: Path) -> None:
    found = read(tmp_path / "l.csv", "question_id,setup,score,person", "q0,a1,4,Ann", "q0,a1,2,Bo")
    assert [label.person for label in found.scores] == ["Ann", "Bo"]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["question_id,setup,score", "q0,a1,6"], "row 2: the score is '6'; write a number from 1 to 5"),
        (["question_id,setup,score", "q0,a1,good"], "row 2: the score is 'good'"),
        (["question_id,setup,score", "q0,a1,nan"], "row 2: the score is 'nan'"),
        (["question_id,setup,score", "q0,a1,4", "q7,a1,4"], "row 3: there is no question 'q7'"),
        (["question_id,setup,score", "q0,else,4"], "row 2: there is no setup 'else'"),
        (["question_id,setup,score", "q0,a1,4", "q0,a1,5"], "row 3: the same person labelled this already (row 2)"),
        (["question_id,setup,score", "q0,a1"], "row 2: 2 cells where the header has 3"),
        (["question_id,setup,score", ",a1,4"], "row 2: 'question_id' is missing"),
        (["question_id,setup,score,criterion", "q0,a1,4,tone"], "row 2: the criterion is 'tone'"),
        (["question_id,a,b,preference", "q0,a1,b1,both"], "row 2: the preference between 'a1' and 'b1' is 'both'"),
        (["question_id,a,b,preference", "q0,a1,b1,a", "q0,b1,a1,a"], "row 3: the same person"),
        (["question_id,setup,score,answer_hash", "q0,a1,4,0123456789ab"], "row 2: the label is of another answer"),
        (["question_id,setup,setup", "q0,a1,4"], "row 1: every column needs a name of its own"),
        (["question_id,setup,score"], "holds no labels"),
        (['question_id,setup,score', 'q0,"a1,4'], "no CSV"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_row(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path / "labels.csv", *lines)
    assert said in str(refused.value) and "labels.csv" in str(refused.value)


def test_a_label_knows_its_answer(tmp_path: Path) -> None:
    row = f"q0,a1,b1,a,{answer_hash('yes 0')},{answer_hash('no 0')}"
    assert read(tmp_path / "l.csv", "question_id,a,b,preference,a_hash,b_hash", row).preferences


@pytest.mark.parametrize("content", [b"\xff\xfe\x00q", None])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"labels\.csv"):
        read_labels(path, [OVERALL], ANSWERS, frozenset(["q0"]))
