"""Batches hold every row once, and packing loses no trained token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragft.finetune.fast.batching import (
    Layout,
    common_prefix,
    epoch_batches,
    lengths_for,
    micro_batches,
    pack,
    shares,
    trained_tokens,
)
from ragft.prompts import Rendered


def _tokens(layout: Layout) -> int:
    """Tokens of the rows, the shared prefix counted once per row."""
    return len(layout.remainders) * layout.prefix + sum(layout.remainders)


def test_the_shared_prefix_never_holds_a_trained_token() -> None:
    # Two rows with the same answer: everything before the answer may be shared, the answer itself may not.
    row = Rendered((5, 6, 7, 8, 2), (False, False, False, True, True))
    batch = pack([row, row])
    assert batch.layout.prefix == 3
    assert batch.targets.tolist() == [8, 2, 8, 2]
    assert batch.predicting.tolist() == [2, 3, 2, 5]
    assert batch.ids.tolist() == [[5, 6, 7, 8, 2, 8, 2]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4]]


@given(rows=st.integers(1, 60), size=st.integers(1, 9), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_batches_cover_every_row_once_and_depend_on_seed_and_epoch_only(
    rows: int, size: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(rows, size, seed=seed, epoch=epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(rows))
    assert all(len(batch) == size for batch in batches[:-1])
    assert batches == epoch_batches(rows, size, seed=seed, epoch=epoch)


def test_another_seed_or_epoch_makes_another_order() -> None:
    orders = {str(epoch_batches(40, 8, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10)), min_size=1, max_size=12),
    prefix=st.integers(0, 30),
    budget=st.integers(20, 200),
)
def test_micro_batches_keep_to_the_budget_and_hold_every_trained_token(
    lengths: list[tuple[int, int]], prefix: int, budget: int
) -> None:
    rows = [
        Rendered(
            (*range(prefix), *range(100 * number, 100 * number + question + answer)),
            (False,) * (prefix + question) + (True,) * answer,
        )
        for number, (question, answer) in enumerate(lengths, start=1)
    ]
    batches = micro_batches(rows, budget)
    assert all(batch.ids.numel() <= budget or len(batch.layout.remainders) == 1 for batch in batches)
    assert sum(_tokens(batch.layout) for batch in batches) == sum(len(row.ids) for row in rows)
    targets = sorted(token for batch in batches for token in batch.targets.tolist())
    wanted = [t for row in rows for t, flag in zip(row.ids[1:], row.trained[1:], strict=True) if flag]
    assert targets == sorted(wanted)
    assert len(targets) == sum(trained_tokens(row) for row in rows)


@given(st.lists(st.lists(st.integers(0, 1), max_size=6), min_size=1, max_size=5))
def test_common_prefix_is_the_longest_one(sequences: list[list[int]]) -> None:
    length = common_prefix(sequences)
    assert all(sequence[:length] == sequences[0][:length] for sequence in sequences)
    shortest = min(map(len, sequences))
    assert length == shortest or len({tuple(sequence[: length + 1]) for sequence in sequences}) > 1


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=20), count=st.integers(1, 5))
def test_shares_hold_every_row_once_and_differ_by_no_more_than_one_row(lengths: list[int], count: int) -> None:
    rows = [Rendered((number,) * length, (True,) * length) for number, length in enumerate(lengths)]
    dealt = shares(rows, count)
    assert sorted(row.ids for share in dealt for row in share) == sorted(row.ids for row in rows)
    assert 0 < len(dealt) <= count
    tokens = [sum(len(row.ids) for row in share) for share in dealt] + [0] * (count - len(dealt))
    assert max(tokens) - min(tokens) <= max(lengths)


def test_short_rows_come_first_in_the_first_epoch_alone() -> None:
    rows = [Rendered(tuple(range(length)), (False, *[True] * (length - 1))) for length in (9, 3, 7, 3, 5, 8)]
    lengths = lengths_for(rows, "short-first")
    assert lengths is not None and lengths_for(rows, "shuffled") is None
    first, second = (epoch_batches(6, 2, seed=1, epoch=epoch, lengths=lengths) for epoch in (0, 1))
    assert [[lengths[number] for number in batch] for batch in first] == [[3, 3], [5, 7], [8, 9]]
    assert second == epoch_batches(6, 2, seed=1, epoch=1) != first
    assert {str(epoch_batches(6, 2, seed=seed, epoch=0, lengths=lengths)[0]) for seed in range(9)} == {
        "[1, 3]",
        "[3, 1]",
    }
