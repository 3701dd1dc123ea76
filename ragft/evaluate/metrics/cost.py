"""Cost metrics: milliseconds and tokens, as they were measured when the record was written.

An evaluation asks many questions at once, so its times are not those of one user who asks alone: an answer waits for
those beside it, and a search over all questions is divided by their number. The names say so.

>>> tried("latency_ms", "4.2", "4.2", total_ms=12.5), tried("answer_tokens", "4.2", "4.2", answer_tokens=3)
(12.5, 3)
"""

from __future__ import annotations

from functools import partial

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, Unit, metric
from ragft.evaluate.records import Record


def _measured(question: Question, record: Record, rules: Rules, *, field: str) -> Score:
    return Score(getattr(record, field))


_TABLE: tuple[tuple[str, str, Unit, str], ...] = (
    ("latency_ms", "answer, many asked at once", "ms", "total_ms"),
    ("ttft_ms", "first token, many asked at once", "ms", "ttft_ms"),
    ("search_cost_ms", "search per question, all at once", "ms", "retrieval_ms"),
    ("prompt_tokens", "prompt tokens", "tokens", "prompt_tokens"),
    ("answer_tokens", "answer tokens", "tokens", "answer_tokens"),
)
for _name, _title, _unit, _field in _TABLE:
    metric(_name, axis="cost", title=_title, better="lower", unit=_unit)(partial(_measured, field=_field))
