"""Log-likelihoods of continuations: in whatever batches, what a row that is read alone gives."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import save_llama
from torch import nn
from torch.nn import functional

from ragft.finetune import likelihood
from ragft.finetune.fast import decoder
from ragft.finetune.likelihood import Continued, log_likelihoods

VOCABULARY = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = save_llama(tmp_path_factory.mktemp("llama"), vocab_size=VOCABULARY, num_hidden_layers=2)
    network = decoder.load(folder, torch.float32, attention_name="eager")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)  # far from uniform, so that another context gives another likelihood
    return network


def asked(seed: int, count: int) -> list[Continued]:
    """Prompts of 1 to 12 tokens with two to five continuations of 1 to 6."""
    draw = random.Random(seed)

    def ids(longest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, longest)))

    return [Continued(ids(12), tuple(ids(6) for _ in range(draw.randint(2, 5)))) for _ in range(count)]


@torch.no_grad()
def plainly(model: nn.Module, one: Continued) -> list[float]:
    """The definition: one forward pass for each row, the sum of the log-probabilities of its continuation."""
    found = []
    for continuation in one.continuations:
        ids = torch.tensor([[*one.prompt, *continuation]])
        logits = functional.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
        start = len(one.prompt)
        found.append(sum(float(logits[start + at - 1, token]) for at, token in enumerate(continuation)))
    return found


@pytest.mark.parametrize("way", ["packed", "padded", "alone"])
def test_every_way_gives_the_plain_sum_of_each_row(model: nn.Module, way: str) -> None:
    questions = asked(1, 9)
    found = getattr(likelihood, way)(model, questions, torch.float32)
    for one, values in zip(questions, found, strict=True):
        assert values == pytest.approx(plainly(model, one), abs=1e-3)


@pytest.mark.medium
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1_000), count=st.integers(1, 12))
def test_the_order_and_number_of_questions_change_nothing(model: nn.Module, seed: int, count: int) -> None:
    questions = asked(seed, count)
    together, backwards = (log_likelihoods(model, order, torch.float32) for order in (questions, questions[::-1]))
    for one, values, again in zip(questions, together, backwards[::-1], strict=True):
        assert values == pytest.approx(plainly(model, one), abs=1e-3)
        assert values == pytest.approx(again, abs=1e-3)


def test_questions_are_packed_where_the_model_knows_a_mask(model: nn.Module) -> None:
    assert likelihood._way(model, asked(2, 3), torch.float32) is likelihood.packed


@pytest.mark.parametrize(("broken", "taken"), [(("packed",), "padded"), (("packed", "padded"), "alone")])
@pytest.mark.parametrize("how", ["wrong", "raising"])
def test_a_way_that_a_model_does_not_know_is_not_taken(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...], taken: str, how: str
) -> None:
    def other(model: nn.Module, questions: list[Continued], dtype: torch.dtype) -> list[list[float]]:
        if how == "raising":
            raise ValueError("no such mask")
        return [[0.0 for _ in one.continuations] for one in questions]

    for name in broken:
        monkeypatch.setattr(likelihood, name, other)
    assert likelihood._way(model, asked(3, 4), torch.float32) is getattr(likelihood, taken)
