"""Retrieval metrics: are the question's sources among the passages? Only setups that search are scored."""

from __future__ import annotations

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, metric
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.ranking import ndcg
from ragft.evaluate.records import Record
from ragft.setups import SETUPS


def searched(question: Question, record: Record) -> bool:
    """Applies where a setup with retrieval answered a question with known sources, even if it found no passage."""
    setup = SETUPS.get(record.setup)
    retrieves = setup.retrieval if setup else bool(record.passages)
    return retrieves and question.answerable and bool(question.sources)


@metric("retrieval_hit", axis="retrieval", title="all sources found", applies=searched, version=2)
def retrieval_hit(question: Question, record: Record, rules: Rules) -> Score:
    """1 where every source is among the passages."""
    missing = sorted(set(question.sources) - sources_among(question, record.passages))
    return Score(float(not missing), f"missing: {', '.join(missing)}" if missing else "")


@metric("retrieval_any", axis="retrieval", title="any source found", applies=searched, version=2)
def retrieval_any(question: Question, record: Record, rules: Rules) -> Score:
    """1 where at least one source is among the passages."""
    return Score(float(bool(sources_among(question, record.passages))))


@metric("retrieval_ndcg", axis="retrieval", title="nDCG", applies=searched, version=2)
def retrieval_ndcg(question: Question, record: Record, rules: Rules) -> Score:
    """Binary nDCG (Järvelin and Kekäläinen, 2002) of all passages; see `ranking.ndcg`."""
    brought = [sources_among(question, [passage]) for passage in record.passages]
    ranks, sources = range(len(brought)), dict.fromkeys(question.sources)
    gold = [frozenset(rank for rank in ranks if source in brought[rank]) for source in sources]
    return Score(ndcg(ranks, gold, k=max(len(ranks), 1)))
