"""Citations: which passages an answer points to, and whether those were the right ones.

Precision and recall as in ALCE (Gao et al., 2023), but against the question's declared sources instead of a
judge.
"""

from __future__ import annotations

from ragft.citations import passage_matches
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, metric
from ragft.evaluate.records import PassageRef, Question, Record


def matched_sources(question: Question, passage: PassageRef) -> frozenset[str]:
    """Those of the question's sources that this passage is."""
    return frozenset(
        source
        for source in question.sources
        if passage_matches(source, passage.document_id, passage.heading, passage.title)
    )


def can_cite(question: Question, record: Record) -> bool:
    """Applies where there is something to cite: passages, and an answer whose sources are known."""
    return question.answerable and bool(record.passages) and bool(question.sources)


@metric("citation_precision", axis="facts", applies=can_cite)
def citation_precision(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the cited passages that are among the question's sources.

    An answer that cites nothing scores 0 where a source was among its passages, and does not count where none
    was.
    """
    relevant = {number for number, ref in enumerate(record.passages, start=1) if matched_sources(question, ref)}
    cited = set(record.citations)
    if not cited:
        return Score(0.0, "nothing cited") if relevant else NOT_APPLICABLE
    wrong = sorted(cited - relevant)
    return Score(len(cited & relevant) / len(cited), f"wrong: {wrong}" if wrong else "")


@metric("citation_recall", axis="facts", applies=can_cite)
def citation_recall(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the sources among the passages that are cited; does not count where no source was there."""
    matches = [matched_sources(question, passage) for passage in record.passages]
    retrieved: frozenset[str] = frozenset().union(*matches)
    if not retrieved:
        return NOT_APPLICABLE
    cited: frozenset[str] = frozenset().union(
        *(found for number, found in enumerate(matches, start=1) if number in record.citations)
    )
    missed = sorted(retrieved - cited)
    return Score(len(cited) / len(retrieved), f"not cited: {', '.join(missed)}" if missed else "")
