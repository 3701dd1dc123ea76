"""Sections on the tuned model: the data it learns from, how its adapter is trained, how that is merged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ragft.config.section import Section, Share


class MixSection(Section):
    """How training examples are mixed with passages of the deployed index."""

    passages: int = Field(4, ge=1, description="Passages in a training prompt, as many as at serving time.")
    gold_share: Share = Field(0.85, description="Share of rows with passages whose passages hold the answer.")
    closed_book_share: Share = Field(
        0.1,
        description="Share of all rows without passages, so that the fine-tuned setup is not asked blindly.",
    )
    repeats: int = Field(1, ge=1, description="How often each example is mixed, each time with other passages.")
    general: Path | None = Field(
        None,
        description="JSONL of general instructions that are mixed in against forgetting; none: no such rows.",
    )
    general_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of all rows that come from `general`."
    )


class DataSection(Section):
    """The examples that teach style and format, and the questions that measure."""

    examples: Path = Field(Path("examples.jsonl"), description="Training examples, one JSON object a line.")
    questions: Path = Field(Path("questions.jsonl"), description="Evaluation questions, one JSON object a line.")
    documents: Path | None = Field(
        None,
        description="Folder of the documents that the examples were written from; none: what the index holds.",
    )
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="Share of the examples, by group, that validates."
    )
    mix: MixSection = MixSection()


class FinetuneSection(Section):
    """How the adapter is trained."""

    method: Literal["qlora", "lora"] = Field(
        "qlora", description="qlora: NF4 base, double-quantised; lora: 16-bit base."
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters.")
    alpha: float | None = Field(None, gt=0, description="Scale of the adapters; none: twice the rank.")
    epochs: float = Field(1.0, gt=0, description="Passes over the mixed training rows.")
    batch_size: int = Field(8, ge=1, description="Rows per optimiser step.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    warmup: Share = Field(0.05, description="Share of the steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="How the rate falls after warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay on the adapters.")
    clip: float = Field(1.0, gt=0, description="Largest norm of a step's gradient.")
    max_length: int = Field(1024, ge=32, description="Longest row in tokens; longer ones are counted out, never cut.")
    token_budget: int = Field(2048, ge=128, description="Tokens per micro-batch; a shared prefix counts once.")
    evaluations: int = Field(4, ge=1, description="Validation losses per run, evenly spaced, one at the end.")
    patience: int = Field(2, ge=1, description="Validations without a better loss before training stops early.")
    threads: int | None = Field(None, ge=1, description="CPU threads; none: as many as torch would take.")


class MergeSection(Section):
    """How the adapter becomes a model, and what proves it."""

    onto: Literal["trained", "original"] = Field(
        "trained",
        description="trained: the (dequantised) weights that the adapter saw; original: the 16-bit base.",
    )
    prompts: int = Field(50, ge=1, description="Held-out prompts of the proof.")
    max_divergence: float = Field(
        0.02,
        gt=0,
        description="Largest mean KL divergence (nats per token) of the merged from the live model.",
    )
    max_form_loss: Share = Field(0.02, description="Largest loss of format validity, as a share of the prompts.")
