"""Which rows a mix has: how often each example comes, and of which kind."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ragft.config import MixSection
from ragft.data.shares import kinds_of, rows_with_false, sampled, task_rows


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 500), min_size=1, max_size=8), temperature=st.floats(1, 50))
def test_rows_of_tasks_add_up_and_no_task_gets_less_for_being_larger(sizes: list[int], temperature: float) -> None:
    rows = task_rows(sizes, temperature)
    assert sum(rows) == sum(sizes) and task_rows(sizes, 1.0) == sizes
    ordered = [count for _, count in sorted(zip(sizes, rows, strict=True))]
    assert all(one <= other + 1 for one, other in itertools.pairwise(ordered))


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_no_example_of_a_task_comes_twice_more_than_another(sizes: list[int], seed: int) -> None:
    places = iter(range(sum(sizes)))
    tasks = {str(number): [next(places) for _ in range(size)] for number, size in enumerate(sizes)}
    drawn = Counter(sampled(tasks, 3.0, random.Random(seed)))
    assert drawn.total() == sum(sizes)
    for of_task in tasks.values():
        times = [drawn[place] for place in of_task]
        assert max(times) - min(times) <= 1


@given(
    sourced=st.lists(st.booleans(), min_size=1, max_size=60), gold=st.floats(0, 1), closed=st.floats(0, 1),
    share=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_shares_are_exact(sourced: list[bool], gold: float, closed: float, share: float, seed: int) -> None:
    section = MixSection(gold_share=gold, closed_book_share=closed, general_share=0.0)
    kinds = kinds_of(sourced, section, random.Random(seed))
    assert len(kinds) == len(sourced)
    assert kinds.count("closed-book") == round(closed * len(sourced))
    answered = [kind for kind, has in zip(kinds, sourced, strict=True) if has and kind != "closed-book"]
    assert answered.count("refusal") == round((1 - gold) * len(answered))
    assert "gold" not in [kind for kind, has in zip(kinds, sourced, strict=True) if not has]
    false = rows_with_false(kinds, share, random.Random(seed))
    assert len(false) == round(share * kinds.count("gold")) and all(kinds[row] == "gold" for row in false)
