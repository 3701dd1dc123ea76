"""The loss of a row is the one that transformers computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from ragft.finetune.fast import decoder
from ragft.finetune.fast.batching import pack
from ragft.finetune.fast.probe import load_for_training
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]


def test_a_row_has_the_loss_that_transformers_computes(model_folder: Path, make_rows: Rows) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    model = load_for_training(model_folder, torch.float32, max_seq_length=512)
    rows = make_rows(4)
    expected = 0.0
    for row in rows:
        logits = reference(torch.tensor([row.ids])).logits[0, :-1]
        kept = torch.tensor(row.trained[1:])
        expected += functional.cross_entropy(logits[kept], torch.tensor(row.ids[1:])[kept], reduction="sum").item()
    with torch.no_grad():
        assert decoder.summed_loss(model, pack(rows)).item() == pytest.approx(expected, rel=1e-5)
