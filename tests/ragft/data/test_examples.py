"""Four ways to write an example, one way to hold it; and every error names file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragft.data.examples import Example, read_examples
from ragft.errors import UsageError


def read(folder: Path, *rows: Any, raw: bytes | None = None) -> tuple[Example, ...]:
    path = folder / "examples.jsonl"
    path.write_bytes(raw if raw is not None else "".join(json.dumps(row) + "\n" for row in rows).encode())
    return read_examples(path)


USER, ASSISTANT = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "Now."}


@pytest.mark.parametrize(
    "row",
    [
        {"question": "When?", "answer": "Now."},
        {"messages": [USER, ASSISTANT]},
        {"prompt": "When?", "completion": "Now."},
        {"instruction": "When?", "output": "Now."},
        {"instruction": "When?", "input": "", "output": "Now."},
    ],
)
def test_four_forms_say_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    (example,) = read(tmp_path, row)
    assert example == Example("line-1", "When?", "Now.", group="line-1")


def test_input_stands_below_the_instruction(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {"instruction": "Translate.", "input": "Hallo", "output": "Hello"})
    assert example.question == "Translate.\n\nHallo"


def test_earlier_turns_are_kept(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Short."}
    (example,) = read(tmp_path, {"messages": [system, USER, ASSISTANT, USER, ASSISTANT]})
    assert example.history == (system, USER, ASSISTANT)


def test_optional_fields_are_kept(tmp_path: Path) -> None:
    row = {"question": "a", "answer": "b", "id": 7, "group": "g", "sources": ["a.md#x"], "tags": ["t"], "note": "mine"}
    (example,) = read(tmp_path, row)
    assert example == Example("7", "a", "b", sources=("a.md#x",), group="g", tags=("t",))


def test_example_without_a_group_is_its_own(tmp_path: Path) -> None:
    rows = [{"question": str(n), "answer": "b", "group": None, "id": None} for n in range(2)]
    assert [(example.id, example.group) for example in read(tmp_path, *rows)] == [("line-1",) * 2, ("line-2",) * 2]


def test_ids_name_the_line_of_the_file(tmp_path: Path) -> None:
    line = b'{"question": "%s", "answer": "b"}\n'
    examples = read(tmp_path, raw=line % b"a" + b"\n\r\n" + line % b"c")
    assert [example.id for example in examples] == ["line-1", "line-4"]


def test_line_separators_and_a_byte_order_mark_are_no_lines(tmp_path: Path) -> None:
    text = json.dumps({"question": "a\u2028b\u0085c", "answer": "d"}, ensure_ascii=False)
    (example,) = read(tmp_path, raw=b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    assert example.question == "a\u2028b\u0085c"


def test_example_survives_writing_and_reading(tmp_path: Path) -> None:
    rows = [{"messages": [USER, ASSISTANT, USER, ASSISTANT], "sources": ["a.md"], "tags": ["t"]}]
    (example,) = read(tmp_path, *rows)
    assert Example.from_json(json.loads(json.dumps(example.to_json()))) == example


GOOD = {"question": "a", "answer": "b"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "a"}, "field 'answer' is missing or no text"),
        ({"question": "a", "answer": 5}, "field 'answer' is missing or no text"),
        ({"question": " ", "answer": "b"}, "the question or the answer is empty"),
        ({"prompt": "a"}, "field 'completion' is missing"),
        ({"output": "a"}, "field 'instruction' is missing"),
        ({"instruction": "a", "input": 5, "output": "b"}, "field 'input' must be a text"),
        ({"text": "a"}, "no known form of example"),
        ({**GOOD, "source": ["a.md"]}, "unknown field 'source': did you mean 'sources'?"),
        ({**GOOD, "sources": "a.md"}, "`sources` must be a list of texts"),
        ({**GOOD, "tags": [1]}, "`tags` must be a list of texts"),
        ({"messages": [USER]}, "`messages` must be a list"),
        ({"messages": [ASSISTANT, USER]}, "the last two messages must be the user's and the assistant's"),
        ({"messages": [{"role": "tool", "content": ""}, ASSISTANT]}, "a message needs a `role`"),
        ({"messages": [{"role": "user", "content": None}, ASSISTANT]}, "a message needs a `role`"),
        ({**GOOD, "id": "same"}, "duplicate id 'same' (first on line 1)"),
        ({**GOOD, "answer": "half of \ud83d"}, "half a character"),
        (["a"], "write an object with fields, not a list"),
    ],
)
def test_wrong_line_is_refused_by_file_and_line(tmp_path: Path, row: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, {**GOOD, "id": "same"}, row)
    assert str(refused.value).startswith(f"{tmp_path / 'examples.jsonl'}, line 2: ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"question": "a"\n', "line 1: no JSON (Expecting"),
        (b'{"id": ' + b"1" * 5000 + b"}\n", "line 1: no JSON (a number that is too long)"),
        (b"[" * 100_000, "line 1: no JSON"),
        (b"\n \n", "holds no examples"),
        (b"", "holds no examples"),
        (b'{"question": "\xff"}', "is not UTF-8 text (invalid start byte at byte 14)"),
    ],
)
def test_broken_file_is_refused(tmp_path: Path, raw: bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, raw=raw)
    assert sentence in str(refused.value)


def test_missing_file_names_the_key_to_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file of examples .*set data\.examples"):
        read_examples(tmp_path / "nothing.jsonl")
    with pytest.raises(UsageError, match=r"set data\.mix\.general to a readable file"):
        read_examples(tmp_path, "data.mix.general")


def test_author_may_keep_fields_that_look_like_ours_beside_ours(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {**GOOD, "question_id": 3, "answers": ["b"]})
    assert example.question == "a"


def test_what_is_left_out_or_not_read_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "e.jsonl", list[str]()
    rows = [GOOD, {**GOOD, "weight": 0, "note": "x"}, {**GOOD, "weight": False}, {**GOOD, "weight": 1}]
    rows.append({"messages": [USER, {**ASSISTANT, "weight": 0}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [example.id for example in read_examples(path, told=told.append)] == ["line-1", "line-4"]
    assert told == [
        f"{path}: 3 of 5 examples have weight 0 and are left out.",
        f"{path}: fields that are not read: note (1).",
    ]


def test_system_and_history_of_alpaca_become_turns(tmp_path: Path) -> None:
    row = {"instruction": "And now?", "output": "Now.", "system": "Short.", "history": [["When?", "Now."]]}
    (example,) = read(tmp_path, row)
    assert example.history == ({"role": "system", "content": "Short."}, USER, ASSISTANT)


def test_a_worse_answer_is_kept(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {**GOOD, "rejected": "c"})
    assert example.rejected == "c"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**GOOD, "weight": 0.5}, "`weight` is 0.5, and examples count once (1) or not at all (0)"),
        ({"messages": [USER, ASSISTANT], "question": "a"}, "'question' and 'messages' belong to different forms"),
        ({"messages": [USER, ASSISTANT], "system": "Short."}, "`system` beside `messages`"),
        ({**GOOD, "history": ["a"]}, "turn 1 of `history` is no turn: write a list of turns"),
        ({**GOOD, "rejected": "b "}, "`rejected` is the answer itself"),
        ({**GOOD, "answer": "b [2]", "sources": ["a.md"]}, "cites [2], but `sources` names 1"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_line(tmp_path: Path, row: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match="line 1: ") as refused:
        read(tmp_path, row)
    assert sentence in str(refused.value)
