"""Did search bring what the answer needs? Scored for the setups that search, whatever they answered."""

from __future__ import annotations

import math

from ragft.evaluate.metrics.base import Rules, Score, metric
from ragft.evaluate.metrics.citations import matched_sources
from ragft.evaluate.records import Question, Record
from ragft.setups import SETUPS


def searched(question: Question, record: Record) -> bool:
    """Applies where a setup with retrieval was asked for what has a known source; finding nothing counts."""
    setup = SETUPS.get(record.setup)
    retrieves = setup.retrieval if setup else bool(record.passages)
    return retrieves and question.answerable and bool(question.sources)


def found_sources(question: Question, record: Record) -> frozenset[str]:
    """Those of the question's sources that are among the passages."""
    return frozenset().union(*(matched_sources(question, passage) for passage in record.passages))


@metric("retrieval_hit", axis="retrieval", title="all sources found", applies=searched)
def retrieval_hit(question: Question, record: Record, rules: Rules) -> Score:
    """1 where every source is among the passages."""
    missing = sorted(set(question.sources) - found_sources(question, record))
    return Score(float(not missing), f"missing: {', '.join(missing)}" if missing else "")


@metric("retrieval_any", axis="retrieval", title="any source found", applies=searched)
def retrieval_any(question: Question, record: Record, rules: Rules) -> Score:
    """1 where at least one source is among the passages."""
    return Score(float(bool(found_sources(question, record))))


@metric("retrieval_ndcg", axis="retrieval", title="nDCG", applies=searched)
def retrieval_ndcg(question: Question, record: Record, rules: Rules) -> Score:
    """Binary nDCG over the passages (Järvelin and Kekäläinen, 2002), as deep as there are passages.

    A passage gains 1 where it brings a source that none before it brought: neighbouring chunks of one section
        must
    not be rewarded twice. Sources that share a passage count as one in the ideal ranking.
    """
    found: set[str] = set()
    gain, shared = 0.0, 0
    for rank, passage in enumerate(record.passages, start=1):
        new = matched_sources(question, passage) - found
        if new:
            gain += 1 / math.log2(rank + 1)
            shared += len(new) - 1
            found |= new
    depth = min(len(set(question.sources)) - shared, max(len(record.passages), 1))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, depth + 1))
    return Score(gain / ideal)
