"""What each method makes trainable on a model: PEFT's configurations, and the choice of layers for full weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from torch import nn
from transformers.pytorch_utils import Conv1D

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.fast.nf4 import round_trip

SHIFTS_BASE = ("pissa", "olora")
"""Methods whose adapters begin as a part of the weights, which is taken out of the base."""


def attach(model: nn.Module, settings: FinetuneSection, alpha: float, *, seed: int) -> nn.Module:
    """The model with what the method trains, and everything else frozen; the model itself is changed.

    Adapters of `SHIFTS_BASE` begin as those of LoRA do: `shift_base` gives them their part of the weights.

    Raises:
        RagftError: the method, or a layer that is asked for, does not exist for this architecture.
    """
    model.requires_grad_(False)
    torch.manual_seed(seed)
    if settings.method in ("full", "layers"):
        _unfreeze(model, settings)
        return model
    config = _config(model, settings, alpha)
    try:
        wrapped = get_peft_model(model, config)
    except Exception as error:  # what PEFT raises for an architecture that it does not know is anything
        raise cannot(settings.method, model, error) from error
    _seed_low_rank(wrapped, seed)
    return wrapped.eval()  # new layers are in training mode, whatever the model was in


def cannot(method: str, model: nn.Module, error: Exception) -> RagftError:
    """The sentence for a method that PEFT, or for a model that transformers cannot compute."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    advice = "another base model" if method in ("lora", "qlora", "full") else "lora or full"
    return RagftError(
        f"finetune.method = {method} is not possible for {model.config.model_type} ({type(error).__name__}: "
        f"{reason[:300]}); choose {advice}."
    )


def linears(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the decoder by name, in the model's order; not the output head."""
    head = model.get_output_embeddings()
    inside = {id(module) for module in model.get_decoder().modules()}
    named = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D))
    return {name: module for name, module in named if module is not head and id(module) in inside}


def quantise(model: nn.Module) -> None:
    """Rounds the weights of all `linears` to NF4, in place: QLoRA's arithmetic, at the memory of the plain weights."""
    for linear in linears(model).values():
        linear.weight.data = round_trip(linear.weight.data)


def shift_base(model: nn.Module, factors: dict[str, torch.Tensor]) -> None:
    """Gives fresh adapters their first values, and takes their product out of the base.

    Args:
        factors: float32, `NAME.A` (rank, in) and `NAME.B` (out, rank) for every layer with an adapter.
    """
    for name, layer in low_rank(model).items():
        weight = layer.get_base_layer().weight
        A, B = factors[f"{name}.A"].to(weight.device), factors[f"{name}.B"].to(weight.device)
        layer.lora_A["default"].weight.data.copy_(A)
        layer.lora_B["default"].weight.data.copy_(B)
        change = layer.scaling["default"] * (B @ A)
        weight.data -= change.t() if isinstance(layer.get_base_layer(), Conv1D) else change


def factors_of(model: nn.Module, settings: FinetuneSection, alpha: float) -> dict[str, torch.Tensor]:
    """The first values of a method of `SHIFTS_BASE`, as `shift_base` takes them; the model is used up."""
    config = _config(model, settings, alpha)
    config.init_lora_weights = settings.method
    try:
        return low_rank_matrices(get_peft_model(model, config))
    except Exception as error:
        raise cannot(settings.method, model, error) from error


def low_rank(model: nn.Module) -> dict[str, Any]:
    """The layers with low-rank adapters, by their names in the base model."""
    modules = model.get_base_model().named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLayer) and module.lora_A}


def low_rank_matrices(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the adapters' matrices as float32 in the processor's memory: `NAME.A` and `NAME.B`."""
    return {
        f"{name}.{letter}": getattr(layer, f"lora_{letter}")["default"]
        .weight.detach()
        .float()
        .clone(memory_format=torch.contiguous_format)
        .cpu()
        for name, layer in low_rank(model).items()
        for letter in "AB"
    }


def _config(model: nn.Module, settings: FinetuneSection, alpha: float) -> Any:
    method, tokens = settings.method, settings.virtual_tokens
    kind = {"task_type": "CAUSAL_LM"}
    if method == "ia3":
        return IA3Config(**kind)
    if method == "prompt-tuning":
        return PromptTuningConfig(**kind, num_virtual_tokens=tokens)
    if method == "p-tuning":
        return PromptEncoderConfig(**kind, num_virtual_tokens=tokens, encoder_hidden_size=_text(model).hidden_size)
    if method == "prefix-tuning":
        return PrefixTuningConfig(**kind, num_virtual_tokens=tokens)
    if method == "adapter":
        return AdaptionPromptConfig(**kind, adapter_len=tokens, adapter_layers=_text(model).num_hidden_layers)
    return LoraConfig(
        **kind, r=settings.rank, lora_alpha=alpha, lora_dropout=settings.dropout, bias="none",
        target_modules=_targets(model, settings), use_dora=method == "dora", use_rslora=method == "rslora",
    )  # fmt: skip


def _targets(model: nn.Module, settings: FinetuneSection) -> list[str]:
    """Full names of the layers that get low-rank adapters."""
    names = [name for name in linears(model) if not _refused(model, name)]
    endings = {name.rpartition(".")[2] for name in names}
    if missing := [wanted for wanted in settings.target_modules if wanted not in endings]:
        raise RagftError(
            f"finetune.target_modules names {', '.join(missing)}, and the linear layers of {model.config.model_type}'s "
            f"decoder are {', '.join(sorted(endings)) or 'none'}; name some of those, or none for all."
        )
    if settings.target_modules:
        names = [name for name in names if name.rpartition(".")[2] in settings.target_modules]
    if settings.layers:
        prefix, count = _layer_list(model)
        starts = tuple(f"{prefix}.{number}." for number in _numbers(settings.layers, count))
        names = [name for name in names if name.startswith(starts)]
    if not names:
        raise RagftError(
            f"{model.config.model_type} has no linear layers to adapt where finetune.target_modules and "
            "finetune.layers look for them; set finetune.method to full."
        )
    return names


def _refused(model: nn.Module, name: str) -> bool:
    """Whether PEFT refuses to adapt a layer, whose weight goes past its adapter into a fused kernel."""
    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, name.rpartition(".")[2])
    except ValueError:
        return True
    return False


def _unfreeze(model: nn.Module, settings: FinetuneSection) -> None:
    if settings.method == "full":
        model.requires_grad_(True)
        return
    prefix, count = _layer_list(model)
    for number in _numbers(settings.layers or range(-math.ceil(count / 4), 0), count):
        model.get_submodule(f"{prefix}.{number}").requires_grad_(True)


def _numbers(wanted: Any, count: int) -> list[int]:
    """Numbers of layers from 0, where negative ones count from the end."""
    if beyond := [number for number in wanted if not -count <= number < count]:
        raise RagftError(
            f"finetune.layers names {', '.join(map(str, beyond))}, and the model has the layers 0 to {count - 1}; name "
            "some of those."
        )
    return sorted({number % count for number in wanted})


def _layer_list(model: nn.Module) -> tuple[str, int]:
    """The name of the decoder's list of layers, and their number."""
    inside = {id(module) for module in model.get_decoder().modules()}
    lists = [
        (name, len(module)) for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and id(module) in inside
    ]  # fmt: skip
    if not lists:
        raise RagftError(
            f"{model.config.model_type} has no list of layers to choose from; set finetune.method to full."
        )
    return max(lists, key=lambda found: found[1])


def _seed_low_rank(model: nn.Module, seed: int) -> None:
    """The first values of A are those of the fast loop, so that both train the same adapter; B is zero."""
    generator = torch.Generator().manual_seed(seed)
    modules = model.get_base_model().modules()
    for layer in (module for module in modules if isinstance(module, LoraLayer) and module.lora_A):
        A = layer.lora_A["default"].weight
        bound = 1 / math.sqrt(A.shape[1])
        # Drawn on the processor, so that a card begins with the same values.
        A.data.copy_(torch.empty(A.shape).uniform_(-bound, bound, generator=generator))


def _text(model: nn.Module) -> Any:
    return model.config.get_text_config()
