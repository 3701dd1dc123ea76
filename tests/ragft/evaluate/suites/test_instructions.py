"""Instructions of IFEval: every rule on an answer that keeps it and on one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragft.errors import UsageError
from ragft.evaluate.suites.instructions import RULES, Instructed, keeps, left_out, read_instructions

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["mom", "C++"]}, "Mom writes c++.", "Mom writes C."),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "War, war!", "War."),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "War.", "War and war."),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Rocks roll.", "Rock, then."),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# one #", "# one",
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "One two-three.", "One two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n***\nTwo\n***", "One\n***\n***\nTwo"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "summary"},
        "One.\n\nSummary, two.", "Summary.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [address]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP. S. More.", "Bye. PS More."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S More.", "Bye.\nP.S. More."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n**two**"),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", "*one* and **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1 a SECTION 2 b", "SECTION 1 a",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<Fruit>>\nPears.", "<< >>\nPears."),
    ("combination:two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a fruit."}, "name a fruit. Pear.", "Pear."),
    ("startend:end_checker", {"end_phrase": "Any more?"}, 'Yes. "Any more?"', "Any more? No."),
    ("startend:quotation", {}, ' "A pear." ', '"A pear.'),
    ("change_case:english_capital", {}, "A PEAR.", "A Pear."),
    ("change_case:english_lowercase", {}, "a pear.", "A pear."),
    ("punctuation:no_comma", {}, "A pear.", "A pear, say."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "kept", "broken"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_tells_what_keeps_it(name: str, values: dict[str, Any], kept: str, broken: str) -> None:
    asked = Instructed("1", "Say something.", ((name, values),))
    assert keeps(asked, kept)
    assert not keeps(asked, broken)


def test_every_rule_is_tested() -> None:
    assert {case[0] for case in CASES} == set(RULES)


def test_all_instructions_must_be_kept_and_silence_keeps_none() -> None:
    asked = Instructed("1", "?", (("punctuation:no_comma", {}), ("startend:quotation", {})))
    assert keeps(asked, '"A pear."')
    assert not keeps(asked, '"A, pear."')
    assert not keeps(Instructed("1", "?", (("punctuation:no_comma", {}),)), " ")


def test_questions_with_an_instruction_without_a_rule_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        {"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"key": 2, "prompt": "?", "instruction_id_list": ["punctuation:no_comma", "language:x"], "kwargs": [{}, {}]},
    ]
    path = tmp_path / "file.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_instructions(path, "some.key")
    assert [one.verifiable for one in found] == [True, False]
    assert left_out(found) == {"language:x": 1}


@pytest.mark.parametrize(
    "changes", [{"prompt": None}, {"key": None}, {"kwargs": []}, {"instruction_id_list": [], "kwargs": []}]
)
def test_a_faulty_line_is_refused_with_its_number(tmp_path: Path, changes: dict[str, Any]) -> None:
    row = {"key": 1, "prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], **changes}
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UsageError, match=r"file\.jsonl, line 1: "):
        read_instructions(path, "some.key")
