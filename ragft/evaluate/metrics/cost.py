"""Cost metrics: milliseconds and tokens, as they were measured when the record was written."""

from __future__ import annotations

from functools import partial

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, Unit, metric
from ragft.evaluate.records import Record


def _measured(question: Question, record: Record, rules: Rules, *, field: str) -> Score:
    return Score(getattr(record, field))


_TABLE: tuple[tuple[str, str, Unit, str], ...] = (
    ("latency_ms", "latency", "ms", "total_ms"),
    ("ttft_ms", "first token", "ms", "ttft_ms"),
    ("retrieval_ms", "search", "ms", "retrieval_ms"),
    ("prompt_tokens", "prompt tokens", "tokens", "prompt_tokens"),
    ("answer_tokens", "answer tokens", "tokens", "answer_tokens"),
)
for _name, _title, _unit, _field in _TABLE:
    metric(_name, axis="cost", title=_title, better="lower", unit=_unit)(partial(_measured, field=_field))
