"""Citation metrics: did an answer cite the passages that hold its sources?

Precision and recall as in ALCE (Gao et al., 2023), but against the question's declared sources instead of a judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, metric
from ragft.evaluate.records import PassageRef, Record


def sources_among(question: Question, passages: Sequence[PassageRef]) -> set[str]:
    """The sources of the question that at least one of the passages belongs to."""
    return {
        source
        for passage in passages
        for path in passage.paths
        for source in question.sources_of(passage.document_id, path, passage.title)
    }


def can_cite(question: Question, record: Record) -> bool:
    """Applies to an answerable question with sources and passages that could be cited."""
    return question.answerable and bool(record.passages) and bool(question.sources)


@metric("citation_precision", axis="facts", applies=can_cite, version=2)
def citation_precision(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the cited passages that belong to the question's sources.

    Without citations it is 0 where a source was among the passages; where none was, it does not apply.
    """
    relevant = {number for number, passage in enumerate(record.passages, 1) if sources_among(question, [passage])}
    cited = set(record.citations)
    if not cited:
        return Score(0.0, "nothing cited") if relevant else NOT_APPLICABLE
    wrong = sorted(cited - relevant)
    return Score(len(cited & relevant) / len(cited), f"wrong: {wrong}" if wrong else "")


@metric("citation_recall", axis="facts", applies=can_cite, version=2)
def citation_recall(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the retrieved sources that are cited; does not apply where no source was retrieved."""
    retrieved = sources_among(question, record.passages)
    if not retrieved:
        return NOT_APPLICABLE
    numbered = enumerate(record.passages, start=1)
    cited = sources_among(question, [passage for number, passage in numbered if number in record.citations])
    missed = sorted(retrieved - cited)
    return Score(len(cited) / len(retrieved), f"not cited: {', '.join(missed)}" if missed else "")
