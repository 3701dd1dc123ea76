"""The training loop: rows in, the best adapter and a report out. A run that was interrupted resumes at its checkpoint.

Knows nothing of documents, prompts or trackers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast.batching import Rows, is_long, trainable
from ragft.finetune.fast.run import Evaluate, Run, Schedule
from ragft.finetune.processes import Training, begun, processes
from ragft.finetune.report import TrainProgress, TrainReport


def train(
    model_folder: Path,
    train_rows: Rows,
    validation_rows: Rows,
    settings: FinetuneSection,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[TrainProgress], None] | None = None,
    evaluate: Evaluate | None = None,
    say: Callable[[str], None] | None = None,
    schedule: Schedule | None = None,
    back_end: type[Run] | None = None,
) -> TrainReport:
    """Trains an adapter, resuming by itself when `folder` holds a checkpoint of the same run.

    Args:
        train_rows: those longer than `settings.max_seq_length` or without a trained token are dropped and counted,
            never truncated.
        validation_rows: rows that decide which adapter is best; without any, the last one is.
        seed: seeds the adapter's initial values and the order of the rows.
        folder: receives checkpoints while training, and `adapter/` at the end. A checkpoint of other rows, settings,
            seed or base weights is replaced.
        progress: called after each optimiser step; an exception from it ends the run, which can be resumed.
        evaluate: called with the live model at each validation; returns metrics, of which `settings.select` may name
            the one that decides which adapter is best. It must leave the model and torch's random state as they were.
        say: called with a sentence on rows that are left out, and on what is resumed or replaced.
        schedule: the learning rate of each step; None: as the settings say.
        back_end: the run of another back end; None: of this one.

    Raises:
        ragft.finetune.fast.faults.Diverged: the loss or its gradient is not finite.
        RagftError: no usable training row, a base model that the fast back end cannot train, or memory that ran out.
    """
    say = say or _unheard
    longest = settings.max_seq_length
    rows, validation = trainable(train_rows, longest), trainable(validation_rows, longest)
    if not rows:
        raise RagftError(
            f"None of the {len(train_rows)} training rows can be used: each is longer than finetune.max_seq_length = "
            f"{settings.max_seq_length} tokens or has no answer to train on; raise it or check the data."
        )
    for kind, given, used in (("training", train_rows, rows), ("validation", validation_rows, validation)):
        if len(used) < len(given):
            say(_left_out(kind, given, longest))
    if settings.select != "loss" and not (evaluate and validation):
        raise RagftError(
            f"finetune.select = {settings.select} needs validation rows whose answers are scored, and there are none: "
            "raise data.split.validation_share, or set finetune.select to loss."
        )
    if not validation:
        say(
            "No validation rows are left: the last adapter is kept, and nothing tells whether an earlier one is better."
        )
    shared = (model_folder, rows, validation, settings, seed, folder)
    group = processes()
    group.tell(Training(back_end or Run, (*shared, None, _unheard)))
    run = begun(Training(back_end or Run, (*shared, evaluate, say)))
    if schedule is not None:
        run.schedule = schedule
    whole = True
    try:
        while not run.finished:
            group.tell(True)
            whole = False
            entry = run.advance()
            whole = True
            if progress is not None:
                progress(entry)
    finally:
        if whole:  # in the middle of a step, the others wait for gradients: the launcher ends them
            group.tell(False)
        run.close()
    return run.report(len(train_rows) - len(rows), len(validation_rows) - len(validation))


def _left_out(kind: str, rows: Rows, max_seq_length: int) -> str:
    """How many rows of a kind cannot be used, and why."""
    long = sum(is_long(row, max_seq_length) for row in rows)
    mute = len(rows) - long - len(trainable(rows, max_seq_length))
    reasons = {f"{long} longer than finetune.max_seq_length = {max_seq_length} tokens": long}
    reasons[f"{mute} without an answer to train on"] = mute
    why = " and ".join(reason for reason, count in reasons.items() if count)
    return f"{long + mute} of {len(rows)} {kind} rows are left out: {why}."


def _unheard(sentence: str) -> None: ...
