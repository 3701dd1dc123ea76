"""Retrieval metrics: are the question's sources among the passages? Only setups that search are scored."""

from __future__ import annotations

from collections.abc import Sequence

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, Score, metric
from ragft.evaluate.metrics.citations import sources_among
from ragft.evaluate.ranking import Gold, ndcg, recall, reciprocal_rank
from ragft.evaluate.records import PassageRef, Record
from ragft.setups import SETUPS


def searched(question: Question, record: Record) -> bool:
    """Applies to answerable questions with sources in setups with retrieval, even where no passage was found."""
    # A record that another program wrote may not say what was found.
    setup, known = SETUPS.get(record.setup), bool(record.index_version or record.passages)
    retrieves = known and (setup.retrieval if setup else bool(record.passages))
    return retrieves and question.answerable and bool(question.sources)


@metric("retrieval_hit", axis="retrieval", title="all sources found", applies=searched, version=3)
def retrieval_hit(question: Question, record: Record, rules: Rules) -> Score:
    """1 where every source is among the passages.

    >>> tried("retrieval_hit", "", "x", sources=(Source("a.md"), Source("b.md")), passages=shown("b.md", "c.md"))
    0.0
    """
    missing = sorted(set(question.sources) - sources_among(question, record.passages))
    return Score(float(not missing), f"missing: {', '.join(missing)}" if missing else "")


@metric("retrieval_any", axis="retrieval", title="any source found", applies=searched, version=3)
def retrieval_any(question: Question, record: Record, rules: Rules) -> Score:
    """1 where at least one source is among the passages.

    >>> tried("retrieval_any", "", "x", sources=(Source("a.md"), Source("b.md")), passages=shown("b.md", "c.md"))
    1.0
    """
    return Score(float(bool(sources_among(question, record.passages))))


@metric("retrieval_ndcg", axis="retrieval", title="nDCG", applies=searched, version=3)
def retrieval_ndcg(question: Question, record: Record, rules: Rules) -> Score:
    """Binary nDCG (Järvelin and Kekäläinen, 2002) of all passages; see `ranking.ndcg`.

    >>> round(tried("retrieval_ndcg", "", "x", sources=(Source("a.md"),), passages=shown("b.md", "a.md")), 3)
    0.631
    """
    ranks, gold = ranking_of(question, record.passages)
    return Score(ndcg(ranks, gold, k=max(len(ranks), 1)))


@metric("retrieval_mrr", axis="retrieval", title="MRR", applies=searched, default=False, version=2)
def retrieval_mrr(question: Question, record: Record, rules: Rules) -> Score:
    """1 / rank of the first passage of a source, 0 where there is none; its mean is the mean reciprocal rank.

    >>> tried("retrieval_mrr", "", "x", sources=(Source("a.md"),), passages=shown("b.md", "a.md"))
    0.5
    """
    ranks, gold = ranking_of(question, record.passages)
    return Score(reciprocal_rank(ranks, gold, k=len(ranks)))


@metric(
    "retrieval_recall",
    axis="retrieval",
    title="recall at the passages shown",
    applies=searched,
    default=False,
    version=2,
)
def retrieval_recall(question: Question, record: Record, rules: Rules) -> Score:
    """Share of the sources that are among the passages of the prompt: recall@k, where k is `index.search.top_k`.

    >>> tried("retrieval_recall", "", "x", sources=(Source("a.md"), Source("b.md")), passages=shown("b.md", "c.md"))
    0.5
    """
    ranks, gold = ranking_of(question, record.passages)
    return Score(recall(ranks, gold, k=len(ranks)))


def ranking_of(question: Question, passages: Sequence[PassageRef]) -> tuple[range, Gold]:
    """The ranks of the passages, and for each source those that bring it."""
    brought = [sources_among(question, [passage]) for passage in passages]
    ranks, sources = range(len(brought)), dict.fromkeys(question.sources)
    return ranks, [frozenset(rank for rank in ranks if source in brought[rank]) for source in sources]
