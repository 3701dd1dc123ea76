"""Cost metrics: time and tokens, as they were measured when the record was written."""

from __future__ import annotations

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, metric
from ragft.evaluate.records import Record


@metric("latency_ms", axis="cost", title="latency", better="lower", unit="ms")
def latency_ms(question: Question, record: Record, rules: Rules) -> Score:
    """Milliseconds from the question to the complete answer."""
    return Score(record.total_ms)


@metric("ttft_ms", axis="cost", title="first token", better="lower", unit="ms")
def ttft_ms(question: Question, record: Record, rules: Rules) -> Score:
    """Milliseconds to the first token."""
    return Score(record.ttft_ms)


@metric("retrieval_ms", axis="cost", title="search", better="lower", unit="ms")
def retrieval_ms(question: Question, record: Record, rules: Rules) -> Score:
    """Milliseconds spent on search."""
    return Score(record.retrieval_ms)


@metric("prompt_tokens", axis="cost", better="lower", unit="tokens")
def prompt_tokens(question: Question, record: Record, rules: Rules) -> Score:
    """Tokens of the prompt."""
    return Score(record.prompt_tokens)


@metric("answer_tokens", axis="cost", better="lower", unit="tokens")
def answer_tokens(question: Question, record: Record, rules: Rules) -> Score:
    """Tokens of the answer."""
    return Score(record.answer_tokens)
