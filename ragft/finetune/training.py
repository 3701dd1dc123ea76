"""Which back end trains: the one of the method's entry in the table, or PEFT's for what the fast loop cannot do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.config import FinetuneSection
from ragft.console import once
from ragft.errors import RagftError
from ragft.finetune.methods import FAST_LACKS, METHODS

if TYPE_CHECKING:
    from ragft.finetune.fast.batching import Rows
    from ragft.finetune.report import TrainReport

_FAST, _PEFT = "ragft.finetune.fast.trainer", "ragft.finetune.peft_backend.trainer"


def train(
    model_folder: Path,
    train_rows: Rows,
    validation_rows: Rows,
    settings: FinetuneSection,
    *,
    say: Callable[[str], None] = lambda sentence: None,
    fell_back: Callable[[RagftError], None] | None = None,
    **others: Any,
) -> TrainReport:
    """Trains as `ragft.finetune.fast.trainer.train` does, by the method and on the back end that the settings ask for.

    Args:
        say: called with a sentence about what is decided (keys that the method does not use, another back end), and as
            a trainer's `train` calls it.
        fell_back: called with the reason where PEFT trains what the fast back end cannot; None: it is said.
        others: the other keyword arguments of a trainer's `train`.

    Raises:
        RagftError: as there, or no back end can train this model by this method.
    """
    from ragft.finetune.fast.probe import NotFast

    if unused := METHODS[settings.method].unused(settings.model_fields_set):
        keys = ", ".join(f"finetune.{key}" for key in unused)
        say(f"finetune.method = {settings.method} does not use {keys}: what is set there changes nothing.")

    said = once(say)  # the back end that is tried second says of the rows what the first one said

    def by(module: str) -> TrainReport:
        report: TrainReport = importlib.import_module(module).train(
            model_folder, train_rows, validation_rows, settings, say=said, **others
        )
        return report

    chosen = trainer_for(settings)
    try:
        return by(chosen)
    except NotFast as reason:
        if fell_back is not None:
            fell_back(reason)
        else:
            say(f"Training through PEFT, which is slower: {reason}")
        return by(_PEFT)


def trainer_for(settings: FinetuneSection) -> str:
    """The module whose `train` is tried first: that of the method, unless the settings ask for more than it knows."""
    lacking = any(getattr(settings, key) != FinetuneSection.model_fields[key].default for key in FAST_LACKS)
    trainer = METHODS[settings.method].trainer
    return _PEFT if lacking and trainer == _FAST else trainer
