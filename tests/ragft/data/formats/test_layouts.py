"""Rows of other tools as their pages show them: what they become, what is kept of them, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragft.data.examples import as_line, example_of, read_examples
from ragft.data.formats.importing import import_rows
from ragft.data.formats.layouts import IMPORTED, LAYOUTS, Unheld, layout_of
from ragft.errors import UsageError

ASK = {"role": "user", "content": "When?"}
SAY = {"role": "assistant", "content": "At ten."}
HISTORY = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PLAIN = {"question": "When?", "answer": "At ten."}


@pytest.mark.parametrize(
    ("name", "values", "row"),
    [
        (
            "sharegpt",
            {"id": "a", "conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At ten."}]},
            {**PLAIN, "id": "a"},
        ),
        (
            "sharegpt",
            {"conversations": [ASK], "system": "Be brief.", "chosen": {"from": "gpt", "value": "At ten."},
             "rejected": {"from": "gpt", "value": "Late."}},
            {**PLAIN, "system": "Be brief.", "rejected": "Late."},
        ),
        (
            "alpaca",
            {"instruction": "When", "input": "is it?", "output": "At ten.", "system": "Be brief.",
             "history": [["Hi", "Hello"]]},
            {"question": "When\n\nis it?", "answer": "At ten.", "system": "Be brief.", "history": HISTORY},
        ),
        ("alpaca", {"instruction": "When?", "chosen": "At ten.", "rejected": "Late."}, {**PLAIN, "rejected": "Late."}),
        (
            "alpaca",
            {"instruction": "When?", "output": "Soon.", "chosen": "At ten."},
            {**PLAIN, IMPORTED: {"output": "Soon."}},
        ),
        ("sharegpt", {"conversations": [ASK, SAY], "rejected": "Late."}, {**PLAIN, "rejected": "Late."}),
        (
            "openai",
            {"messages": [{"role": "developer", "content": "Be brief."}, *HISTORY, ASK, SAY], "tools": [{"name": "f"}]},
            {**PLAIN, "system": "Be brief.", "history": HISTORY, IMPORTED: {"tools": [{"name": "f"}]}},
        ),
        (
            "openai",
            {"messages": [HISTORY[0], {**HISTORY[1], "weight": 0}, {**ASK, "name": "Ann"}, {**SAY, "weight": 1}]},
            {**PLAIN, "history": HISTORY, IMPORTED: {"turn 3": {"name": "Ann"}}},
        ),
        ("openai", {"messages": [ASK, {**SAY, "weight": 0}]}, {**PLAIN, "weight": 0}),
        (
            "openai",
            {"messages": [HISTORY[0], {**HISTORY[1], "weight": 1}, ASK, SAY]},
            {**PLAIN, "history": HISTORY, IMPORTED: {"turn 2": {"weight": 1}}},
        ),
        (
            "openai",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": part} for part in ("Wh", "en?")]},
                          SAY, ASK]},
            {**PLAIN, IMPORTED: {"unanswered": [ASK]}},
        ),
        ("openai", {"messages": [ASK, ASK, SAY]}, {"messages": [ASK, ASK, SAY]}),
        (
            "openai-preference",
            {"input": {"messages": [ASK], "parallel_tool_calls": True}, "preferred_output": [SAY],
             "non_preferred_output": [{"role": "assistant", "content": "Late."}]},
            {**PLAIN, "rejected": "Late.", IMPORTED: {"parallel_tool_calls": True}},
        ),
        ("preference", {"prompt": "When?", "chosen": "At ten.", "rejected": "Late."}, {**PLAIN, "rejected": "Late."}),
        (
            "preference",
            {"chosen": [ASK, SAY], "rejected": [ASK, {"role": "assistant", "content": "Late."}]},
            {**PLAIN, "rejected": "Late."},
        ),
        ("prompt-completion", {"prompt": [ASK], "completion": [SAY]}, PLAIN),
        # What an answer's own turn has beside its text is kept under the answer's name.
        (
            "preference",
            {"prompt": [ASK], "chosen": [{**SAY, "score": 9}],
             "rejected": [{"role": "assistant", "content": "Late.", "score": 2}]},
            {**PLAIN, "rejected": "Late.", IMPORTED: {"chosen": {"score": 9}, "rejected": {"score": 2}}},
        ),
        (
            "sharegpt",
            {"conversations": [ASK, SAY], "rejected": {"from": "gpt", "value": "Late.", "model": "m"}},
            {**PLAIN, "rejected": "Late.", IMPORTED: {"rejected": {"model": "m"}}},
        ),
        (
            "alpaca",
            {"instruction": "When?", "output": "Soon.", "chosen": [{**SAY, "score": 9}]},
            {**PLAIN, IMPORTED: {"chosen": {"score": 9}, "output": "Soon."}},
        ),
        (
            "prompt-completion", {"prompt": "When?", "completion": [{**SAY, "model": "m"}]},
            {**PLAIN, IMPORTED: {"completion": {"model": "m"}}},
        ),
        (
            "vertex",
            {"systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
             "contents": [{"role": "user", "parts": [{"text": "When?"}]},
                          {"role": "model", "parts": [{"text": "At ten."}]}]},
            {**PLAIN, "system": "Be brief."},
        ),
        (
            "vertex",
            {"systemInstruction": "Be brief.", "contents": [ASK, SAY], "reviewed_by": "Ann"},
            {**PLAIN, "system": "Be brief.", "reviewed_by": "Ann"},
        ),
        ("ragft", {**PLAIN, "sources": ["a.md"], "tags": ["x"], "source_url": "u"},
         {**PLAIN, "sources": ["a.md"], "tags": ["x"], IMPORTED: {"source_url": "u"}}),
    ],
)  # fmt: skip
def test_rows_become_examples_and_keep_what_ragft_does_not_read(
    name: str, values: dict[str, Any], row: dict[str, Any]
) -> None:
    assert LAYOUTS[name].row(values) == row
    assert layout_of([values], "f").name == name


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("openai", {"messages": [ASK, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "calls a tool"),
        ("openai", {"messages": [ASK, {"role": "tool", "content": "4"}, SAY]}, "turn 2 calls a tool or is its result"),
        ("openai", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAY]}, "such as an image"),
        ("openai", {"messages": [{"role": "narrator", "content": "x"}, SAY]}, "the role 'narrator'"),
        ("openai", {"messages": [ASK]}, "no turn is the assistant's"),
        ("openai", {"messages": [ASK, SAY, SAY]}, "turn 3, the last answer, follows no question"),
        ("openai", {"messages": "x"}, "no list of turns"),
        ("openai", {"messages": [{"role": "user", "content": " "}, SAY]}, "the question or the answer is empty"),
        ("alpaca", {"instruction": "x", "output": "y", "kto_tag": False}, "a worse answer alone"),
        ("alpaca", {"instruction": "x", "output": "y", "history": [["a"]]}, "no list of pairs"),
        ("preference", {"chosen": [ASK, SAY], "rejected": [SAY]}, "do not begin with the same turns"),
        ("openai-preference", {"input": {"messages": [ASK]}, "preferred_output": [SAY, SAY],
                               "non_preferred_output": [SAY]}, "not one answer"),
        ("sharegpt", {"messages": [ASK, SAY]}, "it is not"),
        ("ragft", {**PLAIN, "rejected": "At ten."}, "`rejected` is the answer itself"),
        ("openai", {"messages": [ASK, SAY], "system": ["S"]}, "system prompt is no text"),
        ("vertex", {"contents": [ASK, SAY], "systemInstruction": 5}, "system prompt is no text"),
        ("prompt-completion", {"prompt": 5, "completion": "x"}, "`prompt` is neither a text nor a list"),
        ("alpaca", {"instruction": "i", "output": "o", "history": 5}, "no list of pairs"),
        ("preference", {"chosen": [ASK, SAY], "rejected": 5}, "do not begin with the same turns"),
    ],
)  # fmt: skip
def test_what_no_row_can_be_is_refused_with_its_reason(name: str, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unheld, match=reason):
        LAYOUTS[name].row(values)


@pytest.mark.parametrize("wrong", [5, 1.5, True, "x", ["x"], [5], [["x"]], {"a": 1}, [{"a": 1}], [{"role": ["user"]}]])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_field_of_another_type_is_refused_or_read_and_ends_no_import(name: str, wrong: Any) -> None:
    good = {"system": "s", "history": [["a", "b"]], "chosen": "At ten.", "rejected": "Late.", "systemInstruction": "s"}
    told = {
        "sharegpt": {"conversations": [ASK, SAY]}, "alpaca": {"instruction": "When?", "input": "", "output": "At ten."},
        "openai": {"messages": [ASK, SAY]}, "vertex": {"contents": [ASK, SAY]}, "ragft": PLAIN,
        "openai-preference": {"input": {"messages": [ASK]}, "preferred_output": [SAY], "non_preferred_output": "Late."},
        "preference": {"prompt": "When?", "chosen": "At ten.", "rejected": "Late."},
        "prompt-completion": {"prompt": "When?", "completion": "At ten."},
    }[name]  # fmt: skip
    for field in (*told, *good):
        for row in ({**told, field: wrong}, {**good, **told, field: wrong}):
            try:
                assert LAYOUTS[name].row(row)
            except Unheld as error:
                assert str(error)


def test_a_file_of_two_layouts_is_refused_with_both_and_one_of_none_with_all() -> None:
    with pytest.raises(UsageError, match=r"sharegpt \(1 of 2 rows\), openai \(1 of 2 rows\).*--format"):
        layout_of([{"conversations": [ASK, SAY]}, {"messages": [ASK, SAY]}], "f")
    with pytest.raises(UsageError, match=r"fields Antwort, Frage.*--map question=COLUMN.*vertex: "):
        layout_of([{"Frage": "x", "Antwort": "y"}], "f")


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_an_import_tells_what_it_cannot_hold_and_leaves_nothing_out(tmp_path: Path) -> None:
    rows = (
        {"id": "a", "messages": [ASK, SAY]}, "{broken", "", {"id": "a", "messages": [ASK, SAY]},
        {"messages": [ASK, {"role": "tool", "content": "x"}, SAY]}, {"messages": [ASK, {**SAY, "weight": 0}], "n": 1},
        '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "x"}]}',
    )  # fmt: skip
    path, out = lines(tmp_path / "chat.jsonl", *rows), tmp_path / "examples.jsonl"
    told = import_rows(path, out)
    assert (told.format, told.rows, told.held, told.unheld, told.weightless, told.same_ids) == ("openai", 6, 3, 3, 1, 1)
    unheld = [json.loads(line) for line in (tmp_path / "examples.unheld.jsonl").read_text().splitlines()]
    assert [one["where"].rpartition("line ")[2] for one in unheld] == ["2", "5", "7"]
    assert (
        "no JSON" in unheld[0]["reason"] and "tool" in unheld[1]["reason"] and "half a character" in unheld[2]["reason"]
    )
    assert unheld[1]["row"] == rows[4]
    assert [json.loads(line).get(IMPORTED) for line in out.read_text().splitlines()] == [None, {"id": "a"}, {"n": 1}]
    said = " ".join(told.sentences())
    assert f"Not held: {path}, line 5: turn 2" in said and "3 rows could not be held" in said and "n (1)" in said
    assert [one.question for one in read_examples(out)] == ["When?", "When?"]


def test_an_import_of_which_nothing_can_be_held_writes_nothing(tmp_path: Path) -> None:
    path = lines(tmp_path / "chat.jsonl", {"messages": [ASK]})
    with pytest.raises(UsageError, match=r"None of the 1 rows .*line 1: no turn is the assistant's"):
        import_rows(path, tmp_path / "examples.jsonl")
    assert list(tmp_path.iterdir()) == [path]


def test_an_example_is_read_from_its_line_as_it_was() -> None:
    odd = {
        "messages": [{"role": "system", "content": " "}, ASK, ASK, SAY],
        "id": 7,
        "origin": "augment x",
        "group": "g",
    }
    for values in (odd, {"question": "a", "answer": "b [1]", "sources": ["x.md"], "history": HISTORY, "system": "s"}):
        example = example_of(values, "f, line 3")
        assert example is not None
        assert example_of(as_line(example), "f, line 9") == example


def test_an_origin_is_read_and_no_other_field_is_taken_for_it(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "e.jsonl", {**PLAIN, "origin": "feedback 3", "original": "x"}, {**PLAIN, "origin": {"a": 1}}
    )
    said: list[str] = []
    assert [one.origin for one in read_examples(path, told=said.append)] == ["feedback 3", ""]
    assert "original (1)" in said[0] and "origin (" not in said[0]
