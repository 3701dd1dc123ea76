"""Golden questions: a new snapshot goes live only if their sources are still found.

    {"question": "When does Node.js 22 end?", "sources": ["node.md#22"]}

A file of evaluation questions will do; those without sources say nothing about an index and are passed over, and so are
follow-ups without a `standalone` wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragft.data.jsonl import read_objects
from ragft.data.sources import Source, sources_in
from ragft.errors import UsageError

_KEY = "index.refresh.gate.questions"


@dataclass(frozen=True)
class GoldenQuestion:
    """A question and where its answer stands.

    Attributes:
        name: its id, or its line.
        sources: as `document` or `document#section`; all of them are needed.
    """

    name: str
    question: str
    sources: tuple[Source, ...]


def read_golden(path: Path) -> tuple[GoldenQuestion, ...]:
    """Reads golden questions, one JSON object a line.

    Raises:
        UsageError: the file is missing, a line is malformed, or no question has sources.
    """
    read = [_golden(values, where) for where, values in read_objects(path, "golden questions", _KEY)]
    golden = tuple(question for question in read if question.sources)
    if not golden:
        raise UsageError(f"No question in {path} has `sources`: name them, or set {_KEY} to another file.")
    return golden


def _golden(values: Mapping[str, Any], where: str) -> GoldenQuestion:
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise UsageError(f"{where}: field 'question' is missing or empty.")
    sources = sources_in(values, where)
    if values.get("history"):
        question, sources = values.get("standalone") or question, sources if values.get("standalone") else ()
    name = values.get("id", where.rpartition(", ")[2])
    return GoldenQuestion(str(name), question, tuple(dict.fromkeys(sources)))
