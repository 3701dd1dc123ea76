"""Padded batches hold every trained token once, within the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.finetune.fast.batching import trained_tokens
from ragft.finetune.peft_backend.batching import padded_batches
from ragft.prompts import Rendered

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=12).map(
        lambda row: Rendered(tuple(token for token, _ in row), tuple(trained for _, trained in row))
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.medium
@given(rows=ROWS, budget=st.integers(1, 60), together=st.booleans())
def test_every_trained_token_is_predicted_from_its_own_row(rows: list[Rendered], budget: int, together: bool) -> None:
    batches = padded_batches(rows, budget, together=together)
    expected = [(row.ids[:at], row.ids[at]) for row in rows for at in range(1, len(row.ids)) if row.trained[at]]
    found = [
        (tuple(batch.ids[row, : position + 1].tolist()), target)
        for batch in batches
        for row, position, target in zip(
            batch.row.tolist(), batch.position.tolist(), batch.targets.tolist(), strict=True
        )
    ]
    assert sorted(found) == sorted(expected)
    assert sum(len(batch.targets) for batch in batches) == sum(map(trained_tokens, rows))
    assert sum(int(batch.mask.sum()) for batch in batches) == sum(len(row.ids) for row in rows)
    assert all(batch.ids.numel() <= budget or len(batch.ids) == 1 for batch in batches)
    assert together or all(len(batch.ids) == 1 for batch in batches)
