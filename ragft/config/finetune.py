"""`finetune`: how the adapter is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ragft.config.section import FilePath, Section, Share, one_of
from ragft.finetune.methods import METHODS
from ragft.finetune.track import TRACKERS

_RATES = "; ".join(
    f"{rate:g} for {', '.join(name for name, one in METHODS.items() if one.learning_rate == rate)}"
    for rate in dict.fromkeys(one.learning_rate for one in METHODS.values())
)


_BETAS = "; ".join(f"{one.beta:g} for {name}" for name, one in METHODS.items() if one.beta is not None)


class RewardsSection(Section):
    """What an answer earns in grpo. An answer's reward is the mean of what applies to it, by these weights."""

    form: float = Field(1.0, ge=0, description="The house format, and an end.")
    value: float = Field(1.0, ge=0, description="The right value, where the question has an answer.")
    citation: float = Field(1.0, ge=0, description="Citations of the passages that hold the answer, and of no others.")
    refusal: float = Field(1.0, ge=0, description="A refusal where it is right, and none where it is not.")


class FinetuneSection(Section):
    """How the adapter is trained."""

    method: Annotated[str, one_of(METHODS)] = Field(
        "qlora", description=f"What is trained. {'; '.join(f'{name}: {one.trains}' for name, one in METHODS.items())}."
    )
    start_from: FilePath | None = Field(
        None,
        description="Folder of a published adapter whose values are the first ones, with a fresh optimiser and "
        "schedule; of the same base model, form and rank. Unset: training begins from the base model.",
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters.")
    alpha: float | None = Field(None, gt=0, description="Scale of the adapters. Unset: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the inputs of low-rank adapters that is dropped.")
    target_modules: tuple[str, ...] = Field(
        (),
        description="Last parts of the names of the linear layers that get low-rank adapters. Empty: all but the head.",
    )
    layers: tuple[int, ...] = Field(
        (),
        description="Numbers of the decoder's layers that are trained, from 0; negative ones count from the end. "
        "Empty: the last quarter for the method layers, all for low-rank adapters.",
    )
    virtual_tokens: int = Field(
        20, ge=1, description="Virtual tokens of prompt-tuning, p-tuning, prefix-tuning and adapter."
    )
    lora_plus_ratio: float = Field(16.0, ge=1, description="Learning rate of B over that of A, for the method lora+.")
    beta: float | None = Field(
        default_factory=lambda known: METHODS[known["method"]].beta,
        ge=0,
        description="Weight of the reference in dpo, kto and grpo, of the odds in orpo, of the likelihood in simpo. "
        f"Unset: by the method: {_BETAS}.",
    )
    margin: float = Field(0.5, ge=0, description="Margin of simpo by which better answers should win.")
    generations: int = Field(8, ge=2, description="Answers of grpo to each prompt of a step.")
    rewards: RewardsSection = Field(RewardsSection(), description="What an answer earns in grpo.")
    train_on: Literal["last", "all"] = Field(
        "last",
        description="Answers that the loss is taken over: the last of a conversation, or those in its history, too.",
    )
    neftune_alpha: float | None = Field(
        None,
        gt=0,
        description="Noise on the embeddings in training (NEFTune); 5 is usual. Unset: none. Trains through PEFT.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute the activations of a layer again in the backward pass instead of keeping them: less "
        "memory, a third to a half more time, the same result.",
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the training rows.")
    order: Literal["shuffled", "short-first"] = Field(
        "shuffled",
        description="Order of the rows. shuffled: another seeded order in each epoch; short-first: the first epoch "
        "goes from short rows to long ones, and later ones are shuffled.",
    )
    batch_size: int = Field(8, ge=1, description="Rows per optimiser step.")
    learning_rate: float = Field(
        default_factory=lambda known: METHODS[known["method"]].learning_rate,
        gt=0,
        description=f"Peak learning rate of AdamW. Unset: by the method: {_RATES}.",
    )
    optimizer: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = Field(
        "adamw",
        description="The optimiser. adamw: moments in float32; adamw-8bit: in 8 bits, a quarter of their memory, "
        "through bitsandbytes; paged-adamw-8bit: these wait in the processor's memory when a card's is full.",
    )
    warmup_ratio: Share = Field(0.05, description="Share of the steps over which the learning rate rises.")
    lr_scheduler: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the learning rate decays after the warm-up."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay of what is trained.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients with a larger norm are clipped to it.")
    max_seq_length: int = Field(
        1024, ge=32, description="Longest row in tokens. Drops and counts longer rows; never truncates them."
    )
    token_budget: int = Field(
        2048, ge=128, description="Tokens per micro-batch; a prefix that its rows share counts once."
    )
    eval_count: int = Field(4, ge=1, description="Validations in a run, evenly spaced, the last one at the end.")
    eval_samples: int | None = Field(
        None,
        ge=0,
        description="Validation prompts that are answered and scored at each validation; 0: none. Unset: 32 if select "
        "needs them, else 4 to 8, as many as cost less than about 5 % of the training, or none.",
    )
    select: Literal["loss", "form", "exact_match"] = Field(
        "loss",
        description="What decides which adapter is kept: the validation loss, or the share of answers of eval_samples "
        "in the house format (form) or with the right value (exact_match).",
    )
    patience: int = Field(
        2, ge=1, description="Validations without an improvement (see select) after which training stops early."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the model trains and its merge is proven: auto (a card if there is one), cpu, cuda, cuda:1.",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads. Unset: as many as torch takes.")
    tracker: Annotated[str, one_of(TRACKERS)] = Field(
        "none",
        description="Where curves go besides the training page, in the folder tracking/ of the workspace. "
        f"{'; '.join(f'{name}: {one.title}' for name, one in TRACKERS.items())}.",
    )
    track_answers: bool = Field(
        False, description="Give the tracker the training page, too, which quotes questions and answers."
    )

    @model_validator(mode="after")
    def _can_select(self) -> FinetuneSection:
        if self.select != "loss" and self.eval_samples == 0:
            raise ValueError(f"select is {self.select}, which needs answers, but eval_samples is 0")
        return self

    @model_validator(mode="after")
    def _can_begin(self) -> FinetuneSection:
        if self.start_from is not None and (why := METHODS[self.method].begins_anew):
            raise ValueError(f"start_from is set, but {self.method} {why}")
        return self

    @model_validator(mode="after")
    def _learns_something(self) -> FinetuneSection:
        if METHODS[self.method].rows == "preferences" and not self.beta:
            raise ValueError(f"beta is {self.beta}, with which {self.method} learns nothing of preferences")
        if self.method == "kto" and self.batch_size < 2:
            raise ValueError("batch_size is 1, but kto compares the answers of a step with each other: set 2 or more")
        rewards = self.rewards
        if self.method == "grpo" and not any((rewards.form, rewards.value, rewards.citation, rewards.refusal)):
            raise ValueError("all rewards are 0, with which grpo learns nothing")
        return self
