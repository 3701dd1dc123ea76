"""Similarity of meaning, by the encoder of the index: for answers in whole sentences, where no words need agree.

An encoder hardly tells "4.1" from "4.2", or a statement from its denial, so that this measures no facts in figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, answerable, is_cut_off, metric
from ragft.evaluate.metrics.reading import value_of
from ragft.evaluate.records import Record

_VECTORS: dict[str, Sequence[float]] = {}


def _encode_all(records: Sequence[tuple[Question, Record]], rules: Rules) -> None:
    """Encodes the answers and gold answers of all records at once."""
    _VECTORS.clear()
    texts = {
        text
        for question, record in records
        if question.answerable
        for text in (_said(record, rules), *question.answers)
    }
    _encode(sorted(texts), rules)


@metric("similarity", axis="facts", applies=answerable, default=False, prepare=_encode_all)
def similarity(question: Question, record: Record, rules: Rules) -> Score:
    """Cosine of the vectors of value and closest gold answer, 0 where it is below.

    >>> import numpy as np
    >>> vectors = {"ends": [1.0, 0.0], "stops": [0.8, 0.6]}
    >>> tried("similarity", "stops", "ends", encode=lambda texts: np.array([vectors[text] for text in texts]))
    0.8
    """
    said = _said(record, rules)
    if not said:
        return Score(0.0)
    _encode([text for text in (said, *question.answers) if text not in _VECTORS], rules)
    cosines = (
        sum(one * other for one, other in zip(_VECTORS[said], _VECTORS[gold], strict=True)) for gold in question.answers
    )
    return Score(min(1.0, max(0.0, *cosines)))


def _said(record: Record, rules: Rules) -> str:
    return value_of(record.answer, rules, cut_off=is_cut_off(record))


def _encode(texts: Sequence[str], rules: Rules) -> None:
    if rules.encode is None:
        raise ValueError("there is no encoder to compare meanings with")
    wanted = [text for text in texts if text]
    if wanted:
        _VECTORS.update(zip(wanted, rules.encode(wanted).tolist(), strict=True))
