"""TRL's trainers as what computes a loss. They are given token ids: TRL tokenises nothing that is trained on.

What TRL does by default and is not wanted here: bfloat16 autocast and gradient checkpointing on a processor, dropout
switched off in the adapters, and a second adapter as the reference where an adapter is fresh.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ragft.config import FinetuneSection
from ragft.messages import Preferred

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

Ids = Sequence[int]


class PreferenceLoss:
    """The loss of better and worse answers under a model, which may change between two calls.

    Attributes:
        by_row: whether each row has a loss of its own, so that the rows of a step can be divided.
    """

    def __init__(self, model: nn.Module, settings: FinetuneSection) -> None:
        self.method, self._settings = settings.method, settings
        self.by_row = self.method in ("dpo", "simpo")
        with _quiet() as folder:
            self._trainer = _trainer(model, settings, folder)
        _without_reference(model)

    def answers(self, row: Preferred) -> int:
        """How many terms of the loss are of a row."""
        return len(row.sequences) if self.method == "kto" else 1

    def batch(self, rows: Sequence[Preferred]) -> dict[str, Tensor]:
        """Rows as TRL's trainer of the method takes them."""
        features = _FEATURES[self.method](rows)
        found: dict[str, Tensor] = self._trainer.data_collator(features)
        return found

    def mean(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch in its mean: a scalar."""
        # TRL keeps figures of every batch until its own loop writes them.
        getattr(self._trainer, "_metrics", {}).get("eval", {}).clear()
        getattr(self._trainer, "_stored_metrics", {}).clear()
        loss: Tensor = self._trainer.compute_loss(model, dict(batch))
        return loss


class RewardLoss:
    """Answers of a model to a prompt, their rewards, and GRPO's loss of them."""

    def __init__(self, model: nn.Module, settings: FinetuneSection, *, end: int, max_tokens: int) -> None:
        """
        Args:
            end: the token that ends an answer.
            max_tokens: longest answer.
        """
        with _without_vllm():
            from trl import GRPOConfig, GRPOTrainer

        class Trainer(GRPOTrainer):
            asked: Ids = ()

            def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
                return [list(self.asked)] * len(prompts), None, {}

        def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
            self.rewards = [self._rate(ids) for ids in completion_ids]
            return self.rewards

        self._count = settings.generations
        model.generation_config.eos_token_id = [end]
        with _quiet() as folder:
            config = GRPOConfig(
                **_arguments(settings, folder), num_generations=self._count, num_generations_eval=self._count,
                per_device_eval_batch_size=self._count, max_completion_length=max_tokens, loss_type="grpo",
            )  # fmt: skip
            self._trainer = Trainer(
                model=model, args=config, reward_funcs=reward, processing_class=_tokenizer(end),
                train_dataset=_dataset({"prompt": "a"}),
            )  # fmt: skip
        _without_reference(model)

    def sample(self, row: Any) -> dict[str, Any]:
        """Answers of the model to the row's prompt with their advantages; `rewards` holds what they got."""
        self._trainer.asked, self._rate = row.prompt, row.reward
        self._trainer._metrics["eval"].clear()
        found: dict[str, Any] = self._trainer._generate_and_score_completions([{"prompt": ""}] * self._count)
        return found

    def mean(self, model: nn.Module, sampled: dict[str, Any]) -> Tensor:
        """GRPO's loss of sampled answers: a scalar whose gradient counts, not its value."""
        loss: Tensor = self._trainer.compute_loss(model, sampled)
        return loss


def _arguments(settings: FinetuneSection, folder: str) -> dict[str, Any]:
    rows = settings.generations if settings.method == "grpo" else settings.batch_size
    return {
        "output_dir": folder, "beta": settings.beta, "per_device_train_batch_size": rows, "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "disable_dropout": False, "report_to": "none",
        "disable_tqdm": True, "remove_unused_columns": False,
    }  # fmt: skip


def _dpo(settings: FinetuneSection) -> tuple[Any, Any, dict[str, Any]]:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer, DPOConfig, {}


def _kto(settings: FinetuneSection) -> tuple[Any, Any, dict[str, Any]]:
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer, KTOConfig, {}


def _orpo(settings: FinetuneSection) -> tuple[Any, Any, dict[str, Any]]:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer, ORPOConfig, {}


def _simpo(settings: FinetuneSection) -> tuple[Any, Any, dict[str, Any]]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer, CPOConfig, {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": settings.margin}


def _trainer(model: nn.Module, settings: FinetuneSection, folder: str) -> Any:
    """TRL's trainer of a method that learns from preferences, of which only the loss is asked."""
    trainer, config, more = _TRAINERS[settings.method](settings)
    rows: list[dict[str, Any]] = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    if settings.method == "kto":
        both = ({"prompt": "a", "completion": text, "label": label} for text, label in (("b", True), ("c", False)))
        rows = [*both] * settings.batch_size
    return trainer(
        model=model, args=config(**_arguments(settings, folder), max_length=settings.max_seq_length, **more),
        processing_class=_tokenizer(), train_dataset=_dataset(*rows),
    )  # fmt: skip


def _pairs(rows: Sequence[Preferred]) -> list[dict[str, list[int]]]:
    return [
        {"prompt_ids": list(row.prompt), "chosen_ids": list(row.answer), "rejected_ids": list(_worse(row).answer)}
        for row in rows
    ]


def _labelled_pairs(rows: Sequence[Preferred]) -> list[dict[str, list[int]]]:
    found = []
    for row in rows:
        feature = {"prompt_input_ids": list(row.prompt), "prompt_attention_mask": [1] * len(row.prompt)}
        for kind, part in (("chosen", row), ("rejected", _worse(row))):
            feature[f"{kind}_input_ids"] = list(part.ids)
            feature[f"{kind}_attention_mask"] = [1] * len(part.ids)
            feature[f"{kind}_labels"] = [-100] * len(part.prompt) + list(part.answer)
        found.append(feature)
    return found


def _unpaired(rows: Sequence[Preferred]) -> list[dict[str, Any]]:
    """Better answers, then worse ones; each also with the answer before it, to another prompt, for KTO's baseline."""
    labelled = [(row, True) for row in rows] + [(row.rejected, False) for row in rows if row.rejected]
    answers = [list(row.answer) for row, _ in labelled]
    return [
        {"prompt_ids": list(row.prompt), "completion_ids": answer, "KL_completion_ids": other, "label": label}
        for (row, label), answer, other in zip(labelled, answers, [answers[-1], *answers[:-1]], strict=True)
    ]


def _worse(row: Preferred) -> Any:
    if row.rejected is None:
        raise ValueError("a row without a worse answer")
    return row.rejected


_TRAINERS = {"dpo": _dpo, "kto": _kto, "orpo": _orpo, "simpo": _simpo}
_FEATURES: dict[str, Any] = {"dpo": _pairs, "kto": _unpaired, "orpo": _labelled_pairs, "simpo": _labelled_pairs}


def _tokenizer(end: int = 1) -> Any:
    """A tokenizer of two tokens, because TRL's trainers ask for one: it pads, and says what ends an answer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    # Padding is masked, so that its id is of no matter; only an answer's end must not be one.
    padding = 0 if end != 0 else 1
    words = WordLevel({"<pad>": padding, "<end>": end}, unk_token="<pad>")  # noqa: S106
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="<end>", bos_token="<end>"  # noqa: S106
    )  # fmt: skip


def _dataset(*rows: dict[str, Any]) -> Any:
    """Rows that are never trained on, because TRL's trainers ask for some."""
    from datasets import Dataset

    return Dataset.from_list(list(rows))


def _without_reference(model: nn.Module) -> None:
    """Takes away the second adapter that TRL adds as the reference: a fresh adapter's is the model without it."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
    model.eval()


@contextmanager
def _without_vllm() -> Iterator[None]:
    """Keeps TRL from importing vLLM, which takes long, where it is installed and not asked for."""
    from trl import import_utils

    found = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda *_, **__: False
    try:
        yield
    finally:
        import_utils.is_vllm_available = found


@contextmanager
def _quiet() -> Iterator[str]:
    """Silences what is told of datasets that hold nothing and of trainers that do not train, and gives these a folder,
    which they want and do not use.
    """
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled
    from transformers.utils import logging

    level, bars, state = logging.get_verbosity(), is_progress_bar_enabled(), torch.get_rng_state()
    logging.set_verbosity_error()
    disable_progress_bar()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            yield folder
    finally:
        torch.set_rng_state(state)
        logging.set_verbosity(level)
        if bars:
            enable_progress_bar()
