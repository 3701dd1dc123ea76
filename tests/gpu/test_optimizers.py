"""Optimisers of bitsandbytes on a card: they pass their trial, page what is large, and go on from what was kept."""

from __future__ import annotations

import pytest
import torch

from ragft.config import FinetuneSection
from ragft.finetune.optimizers import check_possible, optimizer_of, put_back, state_of

CARD = torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["adamw-8bit", "paged-adamw-8bit"])
@pytest.mark.parametrize("elements", [64, 2**17])
def test_a_state_that_was_put_back_goes_on_with_the_same_bits(name: str, elements: int) -> None:
    settings, ends = FinetuneSection(optimizer=name), []
    check_possible(settings, CARD)
    for interrupted in (False, True):
        draw = torch.Generator().manual_seed(1)
        parameter = torch.nn.Parameter(torch.empty(elements).normal_(generator=draw).to(CARD))
        optimizer = optimizer_of(settings, [{"params": [parameter]}], CARD)
        for step in range(4):
            if interrupted and step == 2:
                kept = {key: value.cpu().clone() for key, value in state_of(optimizer, parameter).items()}
                optimizer = optimizer_of(settings, [{"params": [parameter]}], CARD)
                put_back(optimizer, parameter, kept, CARD)
            parameter.grad = torch.empty(elements).normal_(generator=draw).to(CARD)
            optimizer.step()
        ends.append(parameter.detach().cpu())
        paged = getattr(optimizer.state[parameter]["state1"], "is_paged", False)
        assert paged == (name.startswith("paged") and elements > 1e5)
    assert torch.equal(*ends)
