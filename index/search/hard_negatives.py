"""Hard negatives: passages that an index ranks high for a question although they do not answer it.

They teach an encoder most, as long as none of them is an answer that nobody marked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index.encoders.encoder import TextEncoder, Vectors
from index.encoders.training import TrainingRow
from index.errors import IndexFault
from index.search.search import Hit, search
from index.search.settings import SearchSettings
from index.store.snapshot import Snapshot

MINING_DEPTH = 100
"""Number of hits among which hard negatives are looked for."""

MARGIN = 0.95
"""A passage with more than this share of the positive's cosine may well be an unmarked answer, so it is no negative
(NV-Retriever, arXiv 2407.15831, which found this rule the best of several)."""

NEAR_DUPLICATE = 0.95
"""Cosine from which a passage counts as saying the same as the positive."""


_DRAWS = 100
"""Random passages that are drawn before all are looked through for one that can be used."""


def _unknown(passage: str) -> bool:
    return False


@dataclass(frozen=True)
class Pair:
    """A question and the chunks that answer it.

    Attributes:
        gold: ids of the chunks of each source of the answer; none is empty.
        is_answered_by: whether a passage holds the answer, marked or not; by default nothing more is known of it.
    """

    id: str
    question: str
    gold: tuple[frozenset[str], ...]
    is_answered_by: Callable[[str], bool] = _unknown


def mine(
    snapshot: Snapshot, encoder: TextEncoder, pairs: Sequence[Pair], negatives: int, seed: int
) -> list[TrainingRow]:
    """Training rows: one for each source of each pair, with its hardest negatives.

    The positive is the chunk of the source that is nearest to the question. Negatives are the best hits of a hybrid
    search that are no gold chunks of the question, do not hold its answer, do not say the same as the positive, and
    have a clearly lower cosine. If there are too few such hits, random passages without the answer are added.

    Args:
        pairs: questions with their gold chunks, all of which the snapshot holds.
        negatives: number of negatives in each row.
        seed: seeds the choice of random passages.

    Raises:
        IndexFault: the index does not hold a chunk of a pair, or holds nothing but answers to a question.
    """
    corpus = _Corpus(snapshot)
    questions = [pair.question for pair in pairs]
    asked = encoder.encode_queries(questions)
    found = search(snapshot, encoder, questions, SearchSettings(k=MINING_DEPTH))
    draw = random.Random(seed)
    rows = []
    for pair, vector, hits in zip(pairs, asked, found, strict=True):
        gold = frozenset().union(*pair.gold)
        others = [hit for hit in hits if hit.chunk_id not in gold and not pair.is_answered_by(hit.passage)]
        for source in pair.gold:
            options = sorted(source)
            vectors = corpus.vectors(options)
            best = int(np.argmax(vectors @ vector))
            hard = _hard(corpus, others, vectors[best], float(vectors[best] @ vector))[:negatives]
            wrong = [(hit.chunk_id, hit.passage) for hit in hard]
            wrong += [corpus.any_but(gold, pair, draw) for _ in range(negatives - len(hard))]
            positive = options[best]
            ids, passages = zip(*wrong, strict=True)
            rows.append(TrainingRow(pair.id, pair.question, positive, corpus.passage(positive), ids, passages))
    return rows


def _hard(corpus: _Corpus, hits: Sequence[Hit], positive: Vectors, score: float) -> list[Hit]:
    """The hits that are safe to use as negatives, best first."""
    if not hits:
        return []
    alike = corpus.vectors([hit.chunk_id for hit in hits]) @ positive
    return [
        hit
        for hit, likeness in zip(hits, alike.tolist(), strict=True)
        if likeness < NEAR_DUPLICATE and hit.dense_score is not None and hit.dense_score <= MARGIN * score
    ]


class _Corpus:
    """The chunks of a snapshot by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows = snapshot.order
        self._ids = [chunk.id for chunk in snapshot.chunks()]
        self._places = {id_: place for place, id_ in enumerate(self._ids)}

    def passage(self, id_: str) -> str:
        return self._snapshot.chunk(self._place(id_)).passage

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The vectors of some chunks: (len(ids), dimension) float32."""
        parts = []
        for id_ in ids:
            segment, local = self._snapshot.locate(int(self._rows[self._place(id_)]))
            parts.append(self._snapshot.segments[segment].vectors.read(np.array([local])))
        return np.concatenate(parts)

    def any_but(self, gold: frozenset[str], pair: Pair, draw: random.Random) -> tuple[str, str]:
        """Id and passage of a random chunk that is not gold and does not hold the answer."""
        for number in range(_DRAWS + 1):
            # After many that cannot be used, those that can are few, or there are none.
            among = self._ids if number < _DRAWS else [id_ for id_ in self._ids if self._is_wrong(id_, gold, pair)]
            if among and self._is_wrong(id_ := draw.choice(among), gold, pair):
                return id_, self.passage(id_)
        raise IndexFault(
            f"All {len(self._ids)} passages of the index answer the same question, so there is nothing to "
            "tell apart; index more documents."
        )

    def _is_wrong(self, id_: str, gold: frozenset[str], pair: Pair) -> bool:
        return id_ not in gold and not pair.is_answered_by(self.passage(id_))

    def _place(self, id_: str) -> int:
        place = self._places.get(id_)
        if place is None:
            raise IndexFault(f"The index does not hold the chunk {id_} that a pair names; read the pairs again.")
        return place
