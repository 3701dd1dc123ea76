"""What the script of the loop knows and does between its commands; the commands themselves have tests of their own."""

from __future__ import annotations

import importlib
import json
import re
from types import ModuleType
from typing import Any

import pytest
from support import ROOT

EXAMPLE = ROOT / "examples" / "lifecycle"


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        return importlib.import_module("loop")


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLE / "questions.jsonl").read_text().splitlines()]


def test_the_halves_share_no_document(loop: ModuleType, questions: list[dict[str, Any]]) -> None:
    heard, rest = loop.halves(questions)
    documents = [{source.partition("#")[0] for row in half for source in row["sources"]} for half in (heard, rest)]
    assert not documents[0] & documents[1]
    assert len(heard) + len(rest) == len(questions) and min(len(heard), len(rest)) > len(questions) / 3


def test_examples_of_before_stand_on_sections_that_are_there(loop: ModuleType) -> None:
    examples = loop.lines(EXAMPLE / "examples.jsonl")
    drawn = loop.practised(examples, 50)
    assert len(drawn) == 50 and drawn == loop.practised(list(reversed(examples)), 50)
    gone = [row for row in examples if not all(map(loop.is_there, row["sources"]))]
    assert gone and not [row for row in loop.practised(examples, len(examples)) if row in gone]


def test_the_expert_knows_the_answer_of_every_question(loop: ModuleType, questions: list[dict[str, Any]]) -> None:
    cards = loop.right_cards()
    for row in questions:
        card = cards[row["question"]]
        assert card.rpartition("Answer: ")[2] == (row["answers"][0] if row["answerable"] else "unknown")
        cited = re.findall(r"\[\d+\]", card)
        assert len(cited) == len(row["sources"]), "a number for each source"


def test_a_card_cites_the_passages_that_were_shown(loop: ModuleType) -> None:
    passages = [
        {"number": 1, "document_id": "b.md", "heading": "B > B 2"},
        {"number": 2, "document_id": "a.md", "heading": "A > A 2"},
        {"number": 3, "document_id": "a.md", "heading": "A > A 1"},
    ]
    card = "Source: [1][2] A 1 and 2\nRecord: [1] is no citation\nAnswer: 2"
    numbered = loop.by_passages(card, ["a.md#A 1", "a.md#A 2"], passages)
    assert numbered == "Source: [3][2] A 1 and 2\nRecord: [1] is no citation\nAnswer: 2"
    assert loop.by_passages(card, ["a.md#A 1", "a.md#A 3"], passages) is None
    assert loop.by_passages(loop.REFUSAL, [], passages) == loop.REFUSAL
