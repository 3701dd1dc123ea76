"""The domains of real text: fair, in form, and such that a perfect answer is scored as one."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from support import ROOT
from support.commands import Ended
from support.domains import application

from ragft.citations import in_plain_words, parse_citations
from ragft.config import Config, load_config
from ragft.data.audit import audit_data
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import METRICS, OPTIONAL, Rules
from ragft.evaluate.records import PassageRef, Record
from ragft.stages.evaluation import score_file

SCRIPT = ROOT / "benchmarks" / "domains.py"
NAMES = ("pubmedqa", "clapnq")
SCORED = {**METRICS, "choice_accuracy": OPTIONAL["choice_accuracy"]}


def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("domains", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


DOMAINS = script()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def data_of(name: str) -> Path:
    """The folder of the data sets; skips where this one is absent."""
    if missing := DOMAINS.DOMAINS[name].missing(DOMAINS.SHARED):
        pytest.skip(f"{missing[0]} is not there")
    shared: Path = DOMAINS.SHARED
    return shared


@pytest.fixture(scope="module", params=NAMES)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The configuration of a domain, with all its data."""
    name = request.param
    data = data_of(name)
    return load_config(DOMAINS.write(DOMAINS.DOMAINS[name], data, tmp_path_factory.mktemp(name)))


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The configuration of a domain of a few dozen documents."""
    domain = DOMAINS.DOMAINS[request.param]
    data = data_of(domain.name)
    for name in domain.needs:
        few = lines(data / domain.name / name)[:15]
        path = tmp_path / "data" / domain.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_lines(few))
    written: Path = DOMAINS.write(domain, tmp_path / "data", tmp_path / "domain")
    return written


@pytest.mark.parametrize("name", NAMES)
def test_refusal_and_example_of_the_prompt_are_in_the_house_format(name: str) -> None:
    answer = load_config(ROOT / "benchmarks" / "domains" / f"{name}.yaml")
    form, value = re.compile(answer.answer.format or ""), re.compile(answer.answer.value or "")
    _, shown = answer.prompt.system.strip().split("Example:\n")
    assert form.fullmatch(shown) and value.search(shown) and parse_citations(shown)
    assert form.fullmatch(answer.answer.refusal) and value.search(answer.answer.refusal)
    for line in answer.answer.refusal.split("\n"):
        assert f'"{line}"' in answer.prompt.system
    assert load_config(ROOT / "benchmarks" / "domains" / f"{name}.yaml", ["recipe=short"]).recipe == "short"


@pytest.mark.medium
def test_audit_finds_nothing_to_mend(config: Config) -> None:
    findings = audit_data(application(config))
    assert findings.errors == []


def test_nothing_that_is_asked_about_is_trained_on(config: Config) -> None:
    examples, questions = lines(config.data.examples), lines(config.data.questions)
    assert config.data.documents is not None
    shown = {path.name for path in config.data.documents.iterdir()}
    live = {path.name for path in config.index.documents.folder.iterdir()}
    assert shown == {f"{row['id']}.md" for row in examples}
    assert live == shown | {f"{row['id']}.md" for row in questions}
    assert {source for row in examples for source in row["sources"]} <= shown
    assert not shown & {f"{row['id']}.md" for row in questions}
    assert not {row["group"] for row in examples} & {row["group"] for row in questions}
    assert not {row["question"].casefold() for row in examples} & {row["question"].casefold() for row in questions}
    titles = [{(folder / name).read_text().split("\n")[0].casefold() for name in names} for folder, names in (
        (config.data.documents, shown), (config.index.documents.folder, live - shown),
    )]  # fmt: skip
    assert not titles[0] & titles[1]


def test_examples_and_questions_have_every_kind_in_the_same_shares(config: Config) -> None:
    shares = []
    for path in (config.data.examples, config.data.questions):
        tags = [row["tags"][0] for row in lines(path)]
        shares.append({tag: tags.count(tag) / len(tags) for tag in set(tags)})
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


def test_every_answer_is_in_the_house_format_with_and_without_its_citation(config: Config) -> None:
    form = re.compile(config.answer.format or "")
    for row in lines(config.data.examples):
        assert form.fullmatch(row["answer"]) and form.fullmatch(in_plain_words(row["answer"])), row["id"]
        assert parse_citations(row["answer"]) == ((1,) if row["sources"] else ())
        assert (row["answer"] == config.answer.refusal) == (not row["sources"])


def test_gold_answers_are_right_in_form_and_grounded(config: Config) -> None:
    for question, item in asked(config):
        for shown in (True, False):
            scores = scored(config, question, item, item.answer, shown=shown)
            expected: dict[str, float | None] = {"format_validity": 1, "exact_match": 1, "wrong": 0, "hedged": 0}
            if question.answerable:
                expected |= dict.fromkeys(["rouge_l", "token_f1", "contains"], 1)
                expected |= dict.fromkeys(["citation_precision", "citation_recall", "citation_validity"], shown or None)
                expected |= {"false_refusal": 0, "choice_accuracy": 1 if config.answer.choices else None}
            else:
                expected |= {"abstention": 1}
            assert {name: scores[name] for name in expected} == expected, (item.id, shown)


def test_refusing_what_can_be_answered_is_in_form_and_not_right(config: Config) -> None:
    for question, item in asked(config):
        if question.answerable:
            scores = scored(config, question, item, config.answer.refusal, shown=True)
            assert (scores["format_validity"], scores["exact_match"], scores["false_refusal"]) == (1, 0, 1), item.id


def asked(config: Config) -> Iterator[tuple[Question, Any]]:
    """The questions of a domain, each with the item that it was made of."""
    items = {item.id: item for item in DOMAINS.DOMAINS[config.name].read(DOMAINS.SHARED / config.name)}
    for question in read_questions(config.data.questions):
        yield question, items[question.id]


def scored(config: Config, question: Question, item: Any, answer: str, *, shown: bool) -> dict[str, float | None]:
    """Every metric of an answer to a question, beside its document and another one, or without passages."""
    passages = [PassageRef(f"{name}#0", name, "", 1.0) for name in (item.file, "other.md")] if shown else []
    record = Record(question.id, "hybrid", answer if shown else in_plain_words(answer), passages=tuple(passages))
    rules = Rules.of(config.answer)
    return {name: one.score(question, record, rules).value for name, one in SCORED.items()}


@pytest.mark.medium
def test_the_longest_reference_answer_is_shorter_than_the_engine_stops(config: Config) -> None:
    from transformers import AutoTokenizer

    from ragft.models import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(config.model.base))
    longest = max(len(tokenizer(row["answer"])["input_ids"]) for row in lines(config.data.examples))
    assert longest < config.engine.max_tokens


@pytest.mark.slow
@pytest.mark.parametrize("small", NAMES, indirect=True)
def test_configured_domain_is_audited_split_and_mixed(small: Path, ragft: Callable[..., Ended]) -> None:
    for words in (["config"], ["data", "audit"], ["data", "split"], ["data", "mix"]):
        ended = ragft(*words, "-c", small, "--json")
        assert ended.status == 0
    rows = lines(Path(ended.values["folder"]) / "train.jsonl")
    kinds = {row["kind"] for row in rows}
    assert {"gold", "closed-book"} <= kinds
    cited = [row for row in rows if row["kind"] == "gold"]
    assert all(parse_citations(row["messages"][-1]["content"])[0] in row["gold"] for row in cited)


@pytest.mark.parametrize("small", NAMES, indirect=True)
def test_comparison_is_shown_with_verdict_causes_and_published_figures(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(small)
    domain = DOMAINS.DOMAINS[config.name]
    items = {item.id: item for item in domain.read(small.parents[1] / "data" / config.name)}
    ids = [row["id"] for row in lines(config.data.questions)]
    rows = [{"question_id": name, "setup": "hybrid", "answer": items[name].answer} for name in ids]
    rows += [{"question_id": name, "setup": "rag-only", "answer": config.answer.refusal} for name in ids]
    records = small.parent / "records.jsonl"
    records.write_bytes(to_lines(rows))
    scored = score_file(application(config), records, config.data.questions)
    comparison = json.loads((scored.folder / "comparison.json").read_text())
    DOMAINS.show(domain, comparison, Console(width=200))
    shown = capsys.readouterr().out
    assert f"{domain.name}, {len(ids)} questions" in shown and "format_validity" in shown
    assert comparison["verdict"]["text"][:40] in shown
    assert f"rag-only: {comparison['causes']['rag-only'][0]['text']}"[:60] in shown
    for name, percent in domain.published.items():
        assert f"{name}: {percent:.1f} %" in shown


def test_absent_data_are_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["domains.py", "clapnq", "--data", str(tmp_path), "--to", str(tmp_path / "made")])
    DOMAINS.main()
    assert "Skipped: clapnq needs" in capsys.readouterr().out
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("small", ["clapnq"], indirect=True)
def test_written_again_a_domain_is_the_same_and_a_folder_of_something_else_is_left_alone(
    small: Path, tmp_path: Path
) -> None:
    domain, folder = DOMAINS.DOMAINS["clapnq"], small.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "documents" / "stray.md").write_text("left over")
    DOMAINS.write(domain, tmp_path / "data", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    own = tmp_path / "own" / "documents" / "handbook.md"
    own.parent.mkdir(parents=True)
    own.write_text("# Ours")
    with pytest.raises(UsageError, match="holds something else"):
        DOMAINS.write(domain, tmp_path / "data", tmp_path / "own")
    assert own.read_text() == "# Ours"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("1. The dose was safe. 2. More is not.", "The dose was safe."),
        ("Growth was 2.5 times as fast (p<0.01). It\nlasted.", "Growth was 2.5 times as fast (p<0.01)."),
        ("No end", "No end"),
    ],
)
def test_conclusion_is_the_first_sentence_without_its_number(text: str, first: str) -> None:
    assert DOMAINS.first_sentence(text) == first
