"""The freshness suite over a real index of small pages, with an engine that reads and one that remembers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.evaluated import Evaluated, evaluated
from support.fakes import FakeEngine
from support.indexes import HashEncoder, WordTokenizer

from ragft.artifacts import Artifact, model_version
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import UsageError
from ragft.stages import evaluation, records
from ragft.stages.application import Application
from ragft.stages.freshness import freshness, freshness_lines

COUNT = 6
RULES = {"value": r"Answer: (.+)", "refusal": "Answer: unknown"}
DAYS = {f"Product{n}": f"2026-0{n + 1}-10" for n in range(COUNT)}


@dataclass
class Reader(FakeEngine):
    """Answers by all that the passages say of a product; the tuned model by what it learned."""

    learned: bool = False

    async def chat(self, request: ChatRequest) -> Completion:
        turn = request.messages[-1]["content"]
        product = turn.rpartition("When does ")[2].partition(" end")[0]
        found = dict.fromkeys(re.findall(rf"{product} ends (\S+)\.", turn))
        said = DAYS.get(product, "Ann") if self.learned else " or ".join(found) or "unknown"
        return replace(await super().chat(request), text=f"Answer: {said}")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    retriever, live, current = Application.retriever, records.live_snapshot, evaluation.current_id
    made = evaluated(tmp_path, monkeypatch)
    pages = tmp_path / "documents"
    pages.mkdir()
    for name, day in DAYS.items():
        (pages / f"{name}.md").write_text(f"# {name}\n\n## Support\n\nThe support of {name} ends {day}.\n")
    (pages / "other.md").write_text("# Other\n\nNobody asks about this page.\n")
    rows = [
        {"id": name, "question": f"When does {name} end?", "answers": [day], "sources": [f"{name}.md"]}
        for name, day in DAYS.items()
    ]
    rows.append({"id": "who", "question": "Who leads Product1?", "answers": ["Ann"], "sources": ["Product1.md"]})
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = HashEncoder(WordTokenizer())
    monkeypatch.setattr(Application, "encoder", property(lambda app: encoder))
    monkeypatch.setattr(Application, "model_tokenizer", None)
    monkeypatch.setattr(Application, "retriever", retriever)
    monkeypatch.setattr(records, "live_snapshot", live)
    monkeypatch.setattr(evaluation, "current_id", current)

    def engine(app: Application, folder: Path, **_: Any) -> Reader:
        return Reader(version=model_version(folder), learned=folder.name == "tuned")

    monkeypatch.setattr(Application, "engine", engine)
    return made


def suite(run: Evaluated) -> Artifact:
    return run.suite(freshness, **sections(run))


def sections(run: Evaluated) -> dict[str, Any]:
    index = {"documents": {"folder": run.folder / "documents"}, "search": {"top_k": 3}}
    return {"answer": RULES, "index": index, "evaluate": {"setups": ["rag-only", "hybrid"]}}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def means(found: dict[str, Any]) -> dict[str, float]:
    """The outcomes that there are, with their shares."""
    return {name: one["mean"] for name, one in found.items() if name != "n" and one and one["mean"]}


def test_who_reads_follows_the_documents_and_who_remembers_does_not(run: Evaluated) -> None:
    run(**sections(run))
    before = contents(run.folder / "documents"), contents(run.folder / "out" / "index")
    made = suite(run)
    reads, remembers = made.figures["setups"]["rag-only"], made.figures["setups"]["hybrid"]
    assert {edit: one["facts"] for edit, one in reads.items()} == {"changed": 2, "contradicted": 2, "deleted": 2}
    assert means(reads["changed"]["all"]) == {"new": 1.0} and means(reads["deleted"]["all"]) == {"refused": 1.0}
    assert means(reads["contradicted"]["where_shown"]) == {"both": 1.0}
    assert all(means(one["all"]) == {"old": 1.0} for one in remembers.values())
    assert (remembers["changed"]["where_shown"]["n"], remembers["changed"]["where_right"]["n"]) == (2, 2)
    assert remembers["deleted"]["finds_document"] == 0
    seconds = made.figures["seconds"]
    assert (seconds["n"], seconds["found"]) == (2, 2) and 0 < seconds["median"] <= seconds["longest"]
    # Neither the documents nor the live index are touched, and no copy stays.
    assert (contents(run.folder / "documents"), contents(run.folder / "out" / "index")) == before
    assert sorted(path.name for path in made.folder.iterdir()) == ["freshness.jsonl", "manifest.json"]
    rows = [json.loads(line) for line in (made.folder / "freshness.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * COUNT + 1 and rows[-1]["question_id"] == "who" and rows[-1]["outcome"] == "not asked"
    lines = freshness_lines(made)
    assert any(line.startswith("hybrid: of 2 facts whose document was deleted 100%") for line in lines)
    assert lines[-2].startswith("1 question not asked: no date") and "2 found" in lines[-1]


def test_what_cannot_be_told_is_refused(run: Evaluated) -> None:
    evaluation_made = run(**sections(run))
    page = run.folder / "documents" / "Product1.md"
    page.write_text(page.read_text() + "\nNews.\n")
    with pytest.raises(UsageError, match="run `ragft index refresh` first"):
        freshness(run.application(**sections(run)), evaluation_made)
    page.write_text(page.read_text().removesuffix("\nNews.\n"))
    path = run.folder / "questions.jsonl"
    path.write_text(path.read_text().replace('"answers": ["2', '"answers": ["x2'))
    with pytest.raises(UsageError, match=r"No fact can be edited: no date.*\(7\)"):
        freshness(run.application(**sections(run)), evaluation_made)
