"""The example that ships: made by its script byte for byte, and fair: nothing that is asked was taught."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.domains import application

from index.documents.folder import read_documents
from index.documents.sections import sections
from ragft.citations import parse_citations
from ragft.config import load_config
from ragft.data.audit import audit_data
from ragft.data.questions import Question, read_questions
from ragft.data.sources import Source

EXAMPLE = ROOT / "examples" / "lifecycle"
KINDS = {"end-of-life", "released", "latest", "supported", "comparison"}
CONFIG = load_config(ROOT / "configs" / "lifecycle.yaml")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    return lines(EXAMPLE / "examples.jsonl")


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return read_questions(EXAMPLE / "questions.jsonl")


def test_script_gives_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLE / "make.py", "--to", tmp_path], check=True)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    committed = {
        path.relative_to(EXAMPLE)
        for name in ("documents-*/*.md", "examples.jsonl", "questions.jsonl", "conversations.jsonl")
        for path in EXAMPLE.glob(name)
    }
    assert made == committed
    assert [str(path) for path in made if (tmp_path / path).read_bytes() != (EXAMPLE / path).read_bytes()] == []


@pytest.mark.medium
def test_audit_finds_nothing_to_mend() -> None:
    findings = audit_data(application(CONFIG))
    assert findings.errors == []


def test_example_is_large_enough_to_tell_setups_apart(
    examples: list[dict[str, Any]], questions: tuple[Question, ...]
) -> None:
    tags = Counter(tag for question in questions for tag in question.tags)
    assert len(questions) >= 500
    assert sum(not question.answerable for question in questions) == tags["unanswerable"] >= 60
    assert tags["changed"] >= 120
    assert all(question.stale_answers for question in questions if "changed" in question.tags)
    for folder in (CONFIG.index.documents.folder, CONFIG.data.documents):
        assert folder is not None and 90 <= len(list(folder.glob("*.md"))) <= 400
    for tagged in ([row["tags"] for row in examples], [question.tags for question in questions]):
        counted = Counter(tags[0] for tags in tagged)
        assert set(counted) == KINDS | {"unanswerable"}
        assert min(counted.values()) >= 20


@pytest.mark.medium
def test_no_product_that_is_asked_about_was_taught(
    examples: list[dict[str, Any]], questions: tuple[Question, ...]
) -> None:
    taught = {source.partition("#")[0] for row in examples for source in row["sources"]}
    asked = {source.partition("#")[0] for question in questions for source in question.sources}
    assert taught and asked and not taught & asked
    titles = {
        document.title for document in read_documents(CONFIG.index.documents.folder)[0] if document.id in asked
    }  # fmt: skip
    # By name as well, where no source tells: in refusals.
    named = [
        (row["id"], title)
        for row in examples
        for title in titles
        if re.search(rf"(?<!\w){re.escape(title)} (?=\S*\d)", f"{row['question']} ")
    ]
    longer = {title for title in titles for other in taught_titles(taught) if title != other and title in other}
    assert [pair for pair in named if pair[1] not in longer] == []


def taught_titles(taught: set[str]) -> set[str]:
    folder = CONFIG.data.documents
    assert folder is not None
    return {document.title for document in read_documents(folder)[0] if document.id in taught}


def test_no_question_is_an_example(examples: list[dict[str, Any]], questions: tuple[Question, ...]) -> None:
    assert not {row["question"].casefold() for row in examples} & {item.question.casefold() for item in questions}
    assert len({row["question"] for row in examples}) == len(examples)
    assert len({item.question for item in questions}) == len(questions)


def test_every_answer_is_in_the_house_format(examples: list[dict[str, Any]]) -> None:
    form, value = re.compile(CONFIG.answer.format or ""), re.compile(CONFIG.answer.value or "")
    assert form.fullmatch(CONFIG.answer.refusal)
    for row in examples:
        assert form.fullmatch(row["answer"]), row["id"]
        assert value.search(row["answer"])
        assert parse_citations(row["answer"]) == tuple(range(1, len(row["sources"]) + 1))
        assert (row["answer"] == CONFIG.answer.refusal) == (not row["sources"]) == ("unanswerable" in row["tags"])


def test_every_source_is_a_section_of_its_page(examples: list[dict[str, Any]], questions: tuple[Question, ...]) -> None:
    for folder, named in (
        (CONFIG.data.documents, {source for row in examples for source in row["sources"]}),
        (CONFIG.index.documents.folder, {source for question in questions for source in question.sources}),
    ):
        assert folder is not None
        pages = {document.id: document for document in read_documents(folder)[0]}
        for source in named:
            page = pages[source.partition("#")[0]]
            assert any(Source(source).matches(page.id, section.path, page.title) for section in sections(page)), source


def test_answers_stand_on_the_live_page(questions: tuple[Question, ...]) -> None:
    for question in questions:
        if question.tags[0] in ("end-of-life", "released", "latest"):
            text = (CONFIG.index.documents.folder / question.sources[0].partition("#")[0]).read_text(encoding="utf-8")
            section = text.split(f"## {question.sources[0].partition('#')[2]}\n")[1].split("\n## ")[0]
            assert question.answers[0] in section, question.id


def test_answerable_questions_and_refusals_are_told_apart(questions: tuple[Question, ...]) -> None:
    for question in questions:
        assert bool(question.answers) == bool(question.sources) == question.answerable
        assert not set(question.answers) & set(question.stale_answers)
