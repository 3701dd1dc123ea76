"""Mined negatives: ranked high by the index, and never an answer."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write
from support.tiny_encoder import FACTS, KINDS, page

from index.errors import IndexFault
from index.refresh.refresh import refresh
from index.search.hard_negatives import MARGIN, NEAR_DUPLICATE, Pair, mine
from index.store.snapshot import Snapshot


@pytest.fixture
def snapshot(tmp_path: Path, write: Write, fake: HashEncoder) -> Snapshot:
    folder = write({f"{kind}.md": page(kind) for kind in KINDS} | {"copy.md": page("storage")})
    refresh(tmp_path / "index", folder, fake)
    return Snapshot.open(tmp_path / "index")


@pytest.fixture
def pairs(snapshot: Snapshot) -> list[Pair]:
    chunks = {chunk.heading_path[-1]: chunk.id for chunk in snapshot.chunks() if chunk.document_id != "copy.md"}
    return [
        Pair(f"{kind} {fact}", f"What is the {fact} of our {kind}?", (frozenset({chunks[f"{kind} {fact}"]}),))
        for kind in KINDS
        for fact in FACTS
    ]


def test_a_mined_negative_is_never_gold_nor_nearly_as_good_nor_a_copy_of_gold(
    snapshot: Snapshot, fake: HashEncoder, pairs: list[Pair]
) -> None:
    rows = mine(snapshot, fake, pairs, negatives=3, seed=0)
    gold = {pair.id: pair.gold[0] for pair in pairs}
    assert [row.pair for row in rows] == list(gold)
    for row in rows:
        assert row.positive_id in gold[row.pair]
        assert len(set(row.negative_ids) - gold[row.pair]) == 3
        question = fake.encode_queries([row.question])[0]
        positive, *negatives = fake.encode_passages([row.positive, *row.negatives])
        for negative in negatives:
            assert negative @ question <= MARGIN * (positive @ question) and negative @ positive < NEAR_DUPLICATE


def test_hard_negatives_are_those_the_index_ranks_high(
    snapshot: Snapshot, fake: HashEncoder, pairs: list[Pair]
) -> None:
    def mean(negatives: list[str]) -> float:
        questions = fake.encode_queries([row.question for row in rows])
        return float((questions * fake.encode_passages(negatives)).sum(axis=1).mean())

    rows = mine(snapshot, fake, pairs, negatives=1, seed=0)
    draw = random.Random(0)
    passages = [chunk.passage for chunk in snapshot.chunks()]
    assert mean([row.negatives[0] for row in rows]) > mean([draw.choice(passages) for _ in rows]) + 0.05


def test_each_source_is_a_row_and_no_chunk_of_any_source_is_a_negative(
    snapshot: Snapshot, fake: HashEncoder, pairs: list[Pair]
) -> None:
    storage = frozenset(chunk.id for chunk in snapshot.chunks() if chunk.document_id == "storage.md")
    pair = Pair("both", "What is the port of our storage and network?", (storage, pairs[7].gold[0]))
    rows = mine(snapshot, fake, [pair], negatives=2, seed=0)
    assert [row.positive_id in storage for row in rows] == [True, False]
    assert not {id_ for row in rows for id_ in row.negative_ids} & (storage | pairs[7].gold[0])


def test_a_passage_that_is_known_to_hold_the_answer_is_no_negative_ranked_or_random(
    snapshot: Snapshot, fake: HashEncoder, pairs: list[Pair]
) -> None:
    (plain,) = mine(snapshot, fake, pairs[:1], negatives=2, seed=0)
    told = replace(pairs[0], is_answered_by=lambda passage: passage == plain.negatives[0])
    for negatives in (2, 12):  # more than search finds
        (row,) = mine(snapshot, fake, [told], negatives=negatives, seed=0)
        assert len(row.negatives) == negatives and plain.negatives[0] not in row.negatives
    last = next(chunk for chunk in reversed(list(snapshot.chunks())) if chunk.id not in pairs[0].gold[0])
    but_one = replace(pairs[0], is_answered_by=lambda passage: passage != last.passage)
    (row,) = mine(snapshot, fake, [but_one], negatives=2, seed=0)
    assert set(row.negatives) == {last.passage}
    with pytest.raises(IndexFault, match="nothing to tell apart"):
        mine(snapshot, fake, [replace(pairs[0], is_answered_by=lambda passage: True)], 1, seed=0)


def test_random_negatives_fill_up_where_hard_ones_are_too_few(snapshot: Snapshot, fake: HashEncoder) -> None:
    chunk = next(iter(snapshot.chunks()))
    (row,) = mine(snapshot, fake, [Pair("same", chunk.passage, (frozenset({chunk.id}),))], negatives=20, seed=0)
    assert len(row.negatives) == 20 and chunk.id not in row.negative_ids
    everything = frozenset(chunk.id for chunk in snapshot.chunks())
    with pytest.raises(IndexFault, match="nothing to tell apart"):
        mine(snapshot, fake, [Pair("all", "storage", (everything,))], 1, seed=0)
    with pytest.raises(IndexFault, match="does not hold"):
        mine(snapshot, fake, [Pair("gone", "storage", (frozenset({"gone.md#0-1"}),))], 1, seed=0)
