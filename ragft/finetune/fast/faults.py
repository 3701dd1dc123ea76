"""What goes wrong while a model trains, in words: values that are not finite, and memory that runs out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from ragft.config import FinetuneSection
from ragft.errors import RagftError

_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")


class Diverged(RagftError):
    """The loss of a training, or its gradient, is no longer finite."""


def check_step_finite(step: int, steps: int, loss: float, norm: float, settings: FinetuneSection, rows: int) -> None:
    """Refuses to go on from a step whose loss or gradient is not finite.

    Args:
        step: from 1.
        loss: summed over the step's rows.
        norm: of the gradient.
        rows: their number.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    if step == 1 and not math.isfinite(loss):
        raise RagftError(
            f"The base model's own loss on the first {rows} rows is not finite, before anything is trained: its "
            "numbers overflow in the format of training; choose another base model."
        )
    what = "the gradient of the loss" if math.isfinite(loss) else "the loss"
    raise Diverged(
        f"Training diverged at step {step} of {steps}: {what} is not finite; lower finetune.learning_rate (it is "
        f"{settings.learning_rate:g})."
    )


def check_validation_finite(step: int, steps: int, losses: list[float], train_loss: float, rate: float) -> None:
    """Refuses a validation whose loss is not finite.

    Args:
        losses: one sum per micro-batch.
        train_loss: of the steps before, in nats per trained token.
        rate: peak learning rate.
    """
    if wrong := sum(not math.isfinite(loss) for loss in losses):
        raise Diverged(
            f"The validation loss is not finite after step {step} of {steps}, in {wrong} of {len(losses)} batches of "
            f"validation rows, while the training loss is {train_loss:.3f}: look at the validation rows, or lower "
            f"finetune.learning_rate (it is {rate:g})."
        )


def advise_recomputing(settings: FinetuneSection, then: str = ", ") -> str:
    """The first advice where memory is short, to be followed by another; empty where it is followed already."""
    return "" if settings.gradient_checkpointing else f"set finetune.gradient_checkpointing to true{then}"


@contextmanager
def told_out_of_memory(doing: str, settings: FinetuneSection) -> Iterator[None]:
    """Turns the errors of memory that ran out into a sentence on what to lower.

    Args:
        doing: what needed the memory, for the message: "Loading the base model".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        smaller = "" if settings.method == "qlora" else ", set finetune.method to qlora if the model is large"
        raise RagftError(
            f"{doing} ran out of memory: {advise_recomputing(settings, ' or ')}lower finetune.token_budget (it is "
            f"{settings.token_budget}), with which training resumes at its checkpoint, or finetune.max_seq_length (it "
            f"is {settings.max_seq_length}){smaller}, or choose a smaller model."
        ) from error
