"""Fine-tunes the encoder so that a domain's questions come near the passages that answer them.

Contrastive training through the trainer of sentence-transformers: a question is drawn to its passage, and pushed away
from hard negatives (see `index.search.hard_negatives`) and from the passages of all other questions in the batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.encoders.encoder import Encoder
from index.encoders.loading import load

SCALE = 20.0
"""Inverse temperature of the softmax over cosines; the default of sentence-transformers."""

_ROWS_AT_ONCE = 8
"""Texts whose activations are held at once: gradients are cached (arXiv 2101.06983), so that memory does not grow with
the batch."""

StepProgress = Callable[[int, int, float], None]
"""Called with the steps done, the total number of steps, and the latest loss."""


@dataclass(frozen=True)
class TrainingRow:
    """A question, a chunk that answers it, and its negatives: chunks that do not; all rows have equally many."""

    pair: str
    question: str
    positive_id: str
    positive: str
    negative_ids: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """How the encoder is trained.

    Attributes:
        batch_size: rows per step; the passages of the other rows in a batch serve as negatives, too.
        learning_rate: peak learning rate of AdamW; it decays linearly.
        warmup_ratio: share of the steps over which the learning rate rises.
        seed: seeds the order of rows and dropout.
    """

    epochs: float
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    seed: int


def train(
    encoder: Encoder, source: Path, rows: Sequence[TrainingRow], folder: Path, recipe: Recipe, progress: StepProgress
) -> None:
    """Fine-tune a copy of the encoder and write it, in the format of sentence-transformers.

    Weights are trained in float32; products run in bfloat16 where the encoder's do.

    Args:
        encoder: its prefixes, dtype and device apply.
        source: folder of its weights.
        rows: at least one.
        folder: the trained encoder; appears only when it is complete.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from transformers import PrinterCallback, set_seed

    set_seed(recipe.seed)
    model = load("SentenceTransformer", source, encoder.device, "float32")
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(encoder, recipe, unfinished),
        train_dataset=Dataset.from_dict(_columns(encoder, rows)),
        loss=CachedMultipleNegativesRankingLoss(model, SCALE, _cosines, mini_batch_size=_ROWS_AT_ONCE),
        callbacks=[_reporting(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.save(str(unfinished), create_model_card=False, safe_serialization=True)
    unfinished.rename(folder)


def _columns(encoder: Encoder, rows: Sequence[TrainingRow]) -> dict[str, list[str]]:
    """The columns that the loss expects: anchor, positive, and one for each negative of a row."""
    columns = {
        "anchor": [encoder.query_prefix + row.question for row in rows],
        "positive": [encoder.passage_prefix + row.positive for row in rows],
    }
    for number in range(len(rows[0].negatives)):
        columns[f"negative_{number}"] = [encoder.passage_prefix + row.negatives[number] for row in rows]
    return columns


def _arguments(encoder: Encoder, recipe: Recipe, folder: Path) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_ratio,  # below 1: a share of the steps
        batch_sampler="no_duplicates",  # another row's passage must not be this row's, too
        bf16=encoder.dtype == "bfloat16",
        use_cpu=encoder.device == "cpu",
        seed=recipe.seed,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )


def _cosines(a: Any, b: Any) -> Any:
    """Cosines in float32: bfloat16 has too few digits for the softmax over them."""
    import torch
    from sentence_transformers.util import cos_sim

    with torch.autocast(a.device.type, enabled=False):
        return cos_sim(a.float(), b.float())


def _reporting(progress: StepProgress) -> Any:
    """A callback of the trainer that reports every step."""
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            if logs and "loss" in logs:
                progress(int(state.global_step), int(state.max_steps), float(logs["loss"]))

    return Reporting()
