"""Examples that a method of preferences cannot learn from are refused before anything is mixed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ragft.config import FinetuneSection
from ragft.data.examples import Example
from ragft.errors import UsageError
from ragft.stages.data import refuse_without_rejected


def _app(method: str, *rejected: str) -> SimpleNamespace:
    examples = tuple(Example(f"e{n}", "q?", "a", rejected=text) for n, text in enumerate(rejected))
    return SimpleNamespace(config=SimpleNamespace(finetune=FinetuneSection(method=method)), examples=examples)


@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo"])
def test_pairs_are_asked_of_every_example(method: str) -> None:
    refuse_without_rejected(_app(method, "b", "c"))
    with pytest.raises(UsageError, match=r"1 of 2 examples have no `rejected` \(the first: 'e1'\)"):
        refuse_without_rejected(_app(method, "b", ""))


def test_kto_asks_for_one_and_other_methods_for_none() -> None:
    refuse_without_rejected(_app("kto", "b", ""))
    refuse_without_rejected(_app("grpo", ""))
    refuse_without_rejected(_app("lora", ""))
    with pytest.raises(UsageError, match="none of the 2 examples has `rejected`"):
        refuse_without_rejected(_app("kto", "", ""))
