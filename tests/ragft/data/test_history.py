"""Earlier turns, read from questions and examples, or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragft.data.copies import repeated, trained
from ragft.data.examples import read_examples
from ragft.data.golden import read_golden
from ragft.data.history import read_history
from ragft.data.questions import as_line, read_questions
from ragft.errors import UsageError

USER, ASSISTANT = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "Now."}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def question(name: str = "q", text: str = "And there?", **fields: Any) -> dict[str, Any]:
    return {"id": name, "question": text, "answers": ["here"], **fields}


def test_questions_and_examples_have_the_same_turns(tmp_path: Path) -> None:
    history = [USER, ASSISTANT]
    row = question(history=history, standalone="When there?")
    (asked,) = read_questions(write(tmp_path / "q.jsonl", row))
    assert asked.history == (USER, ASSISTANT) and asked.standalone == "When there?"
    assert asked.spoken == "User: When?\nAssistant: Now.\nUser: And there?"
    assert json.loads(json.dumps(as_line(asked)))["history"] == history
    (example,) = read_examples(write(tmp_path / "e.jsonl", {"question": "And?", "answer": "So.", "history": history}))
    assert example.history == asked.history
    assert read_history(write(tmp_path / "turns.json", history)) == asked.history


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ("When?", "`history` must be a list of turns"),
        ({"role": "user"}, "`history` must be a list of turns"),
        ([1], "turn 1 of `history` is no turn"),
        ([ASSISTANT, USER], "turn 1 of `history` has the role 'assistant'"),
        ([USER, USER], "turn 2 of `history` has the role 'user'"),
        ([{"role": "system", "content": "x"}, USER, ASSISTANT], "has the role 'system' (a system prompt is no turn)"),
        ([USER, {"role": "tool", "content": "x"}], "turn 2 of `history` has the role 'tool'"),
        (
            [USER, {"role": "assistant", "content": " "}],
            "turn 2 of `history` has no text as its `content`, or an empty",
        ),
        ([USER, {"role": "assistant"}], "turn 2 of `history` has no text"),
        ([USER, ASSISTANT, USER], "`history` ends with the user's turn"),
        ([["When?"]], "a pair in `history` must be [question, answer]"),
    ],
)
def test_what_is_no_history_is_refused_by_line(tmp_path: Path, history: Any, sentence: str) -> None:
    path = write(tmp_path / "rows.jsonl", {**question(history=history), "answers": ["b"]})
    with pytest.raises(UsageError, match="line 1: ") as refused:
        read_questions(path)
    assert sentence in str(refused.value)
    path = write(tmp_path / "rows.jsonl", {"question": "a", "answer": "b", "history": history})
    with pytest.raises(UsageError, match="line 1: ") as refused:
        read_examples(path)
    assert sentence in str(refused.value)


def test_golden_questions_are_those_that_are_understood_alone(tmp_path: Path) -> None:
    told = {"history": [USER, ASSISTANT], "sources": ["a.md"]}
    rows = [question("a", **told), question("b", **told, standalone="When there?"), question("c", sources=["a.md"])]
    golden = read_golden(write(tmp_path / "q.jsonl", *rows))
    assert [(one.name, one.question) for one in golden] == [("b", "When there?"), ("c", "And there?")]


def test_a_file_of_turns_must_hold_some(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"role": "user"}'):
        path = tmp_path / "turns.json"
        path.write_text(text)
        with pytest.raises(UsageError, match=r"turns.json"):
            read_history(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_history(tmp_path / "nothing.json")


def test_a_follow_up_is_a_copy_only_behind_the_same_turns(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "How much are the tickets for dogs?"}, ASSISTANT]
    rows = [question("a", history=[USER, ASSISTANT]), question("b", history=other), question("c", history=other)]
    asked = read_questions(write(tmp_path / "q.jsonl", *rows))
    assert [(copy.question, copy.of) for copy in repeated(asked)] == [("c", "b")]
    taught = {"question": "And there?", "answer": "x", "history": other}
    examples = read_examples(write(tmp_path / "e.jsonl", taught))
    assert [copy.question for copy in trained(examples, asked)] == ["b", "c"]
    # What an earlier turn answers is known as well.
    alone = read_questions(write(tmp_path / "q.jsonl", question("d", other[0]["content"]), question("e", "And when?")))
    assert [(copy.question, copy.of, copy.kind) for copy in trained(examples, alone)] == [("d", "line-1", "same")]
