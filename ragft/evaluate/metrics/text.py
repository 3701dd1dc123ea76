"""The value of an answer, and whether it is the refusal."""

from __future__ import annotations

from ragft.citations import without_citations
from ragft.evaluate.metrics.base import Rules
from ragft.tokens import tokens


def value_of(answer: str, rules: Rules) -> str:
    """The value of an answer, without citation marks: what `rules.value` extracts, or the whole answer."""
    match = rules.value.search(answer) if rules.value else None
    cut = match.group(1) if match else None
    return without_citations(cut if cut and cut.strip() else answer).strip()


def is_refusal(answer: str, rules: Rules) -> bool:
    """Whether an answer is the refusal or starts with it; compared by token, so that "unknown" is not "no"."""
    refusal = tokens(rules.refusal)
    if not refusal:
        return not answer.strip()
    if tokens(value_of(answer, rules)) == tokens(value_of(rules.refusal, rules)):
        return True
    return tokens(answer)[: len(refusal)] == refusal
