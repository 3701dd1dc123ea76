"""Small questions and records for the tests of evaluation; what a test does not care about has a default."""

from __future__ import annotations

from typing import Any

from ragft.citations import parse_citations
from ragft.config import AnswerSection
from ragft.data.questions import Question
from ragft.data.sources import Source
from ragft.evaluate.metrics import METRICS, Rules
from ragft.evaluate.records import PassageRef, Record

RULES = Rules.of(
    AnswerSection(
        format=r"Answer: .+ · Source: (\[\d+\]|none)",
        value=r"Answer: (.+?) · Source",
        refusal="Answer: unknown · Source: none",
    )
)
SETUPS = ("prompt-only", "rag-only", "fine-tuned", "hybrid")


def question(answer: str | None = "2026-04-30", **given: Any) -> Question:
    """A question about Django 4.2; None: one without an answer."""
    values: dict[str, Any] = {
        "id": "q1",
        "question": "When does Django 4.2 end?",
        "answers": () if answer is None else (answer,),
        "sources": () if answer is None else ("django.md#4.2",),
        "answerable": answer is not None,
    }
    values |= given
    return Question(**{**values, "sources": tuple(map(Source, values["sources"]))})


def record(answer: str, **given: Any) -> Record:
    """An answer of hybrid, citing what its text cites."""
    values: dict[str, Any] = {
        "question_id": "q1",
        "setup": "hybrid",
        "answer": answer,
        "passages": (),
        "citations": parse_citations(answer),
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "answer_tokens": 10,
        "retrieval_ms": 5.0,
        "ttft_ms": 50.0,
        "total_ms": 200.0,
        "index_version": "s1",
        "model_version": "m1",
        "error": None,
    }
    return Record(**{**values, **given})


def passage(heading: str, document: str = "django.md") -> PassageRef:
    """A passage of a document titled Django."""
    return PassageRef(f"{document}:{heading}", document, heading, 0.5, "Django")


def value(metric: str, asked: Question, given: Record, rules: Rules = RULES) -> float | None:
    """What a metric makes of one record."""
    return METRICS[metric].score(asked, given, rules).value
