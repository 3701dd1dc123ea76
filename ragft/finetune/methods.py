"""The table of fine-tuning methods: what `finetune.method` may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        trains: what is trained, and on what.
        quantisation: format of the frozen weights during training; None: the base model's own.
        trainer: module whose `train` trains it; imported when a training begins.
    """

    trains: str
    quantisation: Literal["nf4"] | None = None
    trainer: str = "ragft.finetune.fast.trainer"


METHODS = {
    "qlora": Method("low-rank adapters on a base in double-quantised NF4", quantisation="nf4"),
    "lora": Method("low-rank adapters on a 16-bit base"),
}
