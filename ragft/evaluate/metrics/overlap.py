"""Overlap of an answer with the gold answers, as translation and summarisation measure it; for longer answers.

Each is written down from its paper, over the tokens of `ragft.tokens`, so that figures do not depend on which packages
are installed. On texts that are tokens already, chrF and BLEU agree with sacrebleu 2.6 and METEOR with nltk 3.10.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, answerable, is_cut_off, metric
from ragft.evaluate.metrics.reading import read, words_of, words_said
from ragft.evaluate.records import Record

_CHARACTERS, _BETA = 6, 2.0
_WORDS = 4
_ALPHA, _GAMMA, _PENALTY = 0.9, 0.5, 3.0


@metric("chrf", axis="facts", title="chrF", applies=answerable, default=False, version=2)
def chrf(question: Question, record: Record, rules: Rules) -> Score:
    """F2 of character n-grams of 1 to 6 with the closest gold answer (Popović, 2015), without spaces.

    >>> round(tried("chrf", "long-term supports", "long term support"), 3)
    0.984
    """
    return _best(question, record, rules, chrf_of)


@metric("bleu", axis="facts", title="BLEU", applies=answerable, default=False, version=2)
def bleu(question: Question, record: Record, rules: Rules) -> Score:
    """BLEU of one answer with the closest gold answer (Papineni et al., 2002), for n-grams of 1 to 4.

    Orders that the answer is too short for are left out, and counts of 0 are smoothed as by `exp` in sacrebleu (Chen
    and Cherry, 2014, method 3). The mean over answers is not the BLEU of a corpus.

    >>> round(tried("bleu", "support ends in late April", "support ends in April"), 3)
    0.427
    """
    return _best(question, record, rules, bleu_of)


@metric("meteor", axis="facts", title="METEOR, exact words", applies=answerable, default=False, version=2)
def meteor(question: Question, record: Record, rules: Rules) -> Score:
    """METEOR with the closest gold answer (Banerjee and Lavie, 2005), without stems and synonyms.

    Those need lists of words that exist for few languages.

    >>> round(tried("meteor", "ended in April", "ended late in April"), 3)
    0.655
    """
    return _best(question, record, rules, meteor_of)


def chrf_of(said: Sequence[str], gold: Sequence[str]) -> float:
    """chrF of two texts in tokens, 0 to 1."""
    one, other = "".join(said), "".join(gold)
    precisions, recalls = [], []
    for order in range(1, _CHARACTERS + 1):
        grams, wanted = _grams(one, order), _grams(other, order)
        if grams and wanted:
            common = sum((grams & wanted).values())
            precisions.append(common / grams.total())
            recalls.append(common / wanted.total())
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    weighted = _BETA**2 * precision + recall
    return (1 + _BETA**2) * precision * recall / weighted if weighted else 0.0


def bleu_of(said: Sequence[str], gold: Sequence[str]) -> float:
    """Sentence BLEU of two texts in tokens, 0 to 1."""
    logs, smoothing = [], 1.0
    for order in range(1, min(_WORDS, len(said)) + 1):
        grams = _grams(tuple(said), order)
        common = sum((grams & _grams(tuple(gold), order)).values())
        if order == 1 and not common:
            return 0.0
        if not common:
            smoothing *= 2
        logs.append(math.log((common or 1 / smoothing) / grams.total()))
    if not logs:
        return 0.0
    brevity = min(0.0, 1 - len(gold) / len(said))
    return math.exp(brevity + sum(logs) / len(logs))


def meteor_of(said: Sequence[str], gold: Sequence[str]) -> float:
    """METEOR of two texts in tokens, 0 to 1: exact matches alone, each word aligned once, from the end."""
    places: dict[str, list[int]] = {}
    for at, token in enumerate(gold):
        places.setdefault(token, []).append(at)
    aligned = [(at, places[said[at]].pop()) for at in range(len(said) - 1, -1, -1) if places.get(said[at])]
    if not aligned:
        return 0.0
    aligned.reverse()
    matches = len(aligned)
    chunks = 1 + sum(after != (before[0] + 1, before[1] + 1) for before, after in pairwise(aligned))
    precision, recall = matches / len(said), matches / len(gold)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    return float((1 - _GAMMA * (chunks / matches) ** _PENALTY) * mean)


def _grams(items: str | tuple[str, ...], order: int) -> Counter[str | tuple[str, ...]]:
    return Counter(items[at : at + order] for at in range(len(items) - order + 1))


def _best(
    question: Question, record: Record, rules: Rules, measure: Callable[[Sequence[str], Sequence[str]], float]
) -> Score:
    reading = read(record.answer, rules, cut_off=is_cut_off(record))
    return Score(max((measure(words_said(reading, gold), words_of(gold)) for gold in question.answers), default=0.0))
