"""The map of the documents shows where examples and questions are, and where none are."""

from __future__ import annotations

from pathlib import Path

from support.indexes import HashEncoder, WordTokenizer, index_of

from index.documents.document import Document
from ragft.console import Findings
from ragft.data.audit.coverage import coverage_findings, coverage_of
from ragft.data.audit.page import _labels, _map
from ragft.data.questions import Question
from ragft.data.sources import Source


def documents() -> list[Document]:
    """Three documents of three sections each; the sections of one are made of the same words."""
    words = {"cats": "kitten purr whisker", "ships": "anchor keel sail", "bread": "flour yeast oven"}
    parts = {name: "".join(f"## Part {n}\n\n{said} {said} {n}\n\n" for n in "abc") for name, said in words.items()}
    return [Document.of(f"{name}.md", f"# {name.title()}\n\n{text}") for name, text in parts.items()]


def test_what_has_no_example_and_what_has_no_question_is_named(tmp_path: Path) -> None:
    snapshot = index_of(tmp_path, documents(), encoder=HashEncoder(WordTokenizer()))
    examples = {Source("cats.md#Part a"): 3, Source("ships.md"): 2, Source("gone.md"): 4}
    asked = [Question("q", "Which?", ("a",), (Source("cats.md#Part b"),), True)]
    found = coverage_of(snapshot, examples, asked, seed=0)
    assert found == coverage_of(snapshot, examples, asked, seed=0)
    assert sum(one.passages for one in found.clusters) == snapshot.chunk_count
    assert sum(one.examples for one in found.clusters) == 5 and found.unplaced == 4
    assert sum(one.questions for one in found.clusters) == 1
    assert all(0 <= one.x <= 1 and 0 <= one.y <= 1 for one in found.clusters)
    bare = [one for one in found.clusters if not one.examples]
    assert bare and all("Bread" in one.title or "bread.md" in " ".join(one.uncovered) for one in bare)
    assert any("no example" in sentence and "bread.md#" in sentence for sentence in found.suggestions())
    findings = Findings()
    coverage_findings(findings, found)
    assert findings.rows[0].state == "note" and "4 sources of examples not in the index" in findings.rows[0].detail
    assert {one["kind"] for one in _map(found)["bubbles"]} >= {"neither"}


def test_an_index_of_one_passage_has_one_cluster(tmp_path: Path) -> None:
    snapshot = index_of(tmp_path, documents()[:1], encoder=HashEncoder(WordTokenizer()))
    found = coverage_of(snapshot, {}, [], seed=0)
    assert len(found.clusters) >= 1 and found.scarce


def test_names_on_the_map_are_within_it_and_not_over_each_other() -> None:
    labels = _labels(
        [(500.0, 100.0, "The first"), (510.0, 108.0, "over it"), (500.0, 140.0, "below"), (1.0, 9.0, "edge")]
    )
    assert [label["text"] for label in labels] == ["The first", "below", "edge"]
    assert labels[-1]["x"] > len("edge") * 3
