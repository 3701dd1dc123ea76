"""An adapter becomes a model: merged weights that a server loads, and how far they answer from the live adapter.

For QLoRA the merge goes onto the dequantised NF4 weights by default, because those are what the adapter was trained
against; merging onto the original weights is the alternative, and quantising a merged model again is not offered: it
erased the adapter where it was measured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer, DynamicCache

from index.durable import publish_folder
from ragft.errors import RagftError
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.adapter import check_fits, load_adapter, read_adapter
from ragft.finetune.fast.batching import MicroBatch, micro_batches
from ragft.finetune.fast.lora import target_linears
from ragft.finetune.fast.nf4 import round_trip
from ragft.finetune.fast.parallel import Workers
from ragft.prompts import Rendered

# Weights come from safetensors and are written anew; other formats can run code and are not carried along.
_NOT_COPIED = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".py"}
_WRITTEN = {"config.json", "generation_config.json", "model.safetensors.index.json"}
_PROMPTS_AT_ONCE = 8
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class MergeProof:
    """How far a merged model is from the live one (frozen weights and adapter) that it was merged from.

    Divergence and agreement are taken over the answers that the live model gives, greedily, to the prompts.

    Attributes:
        kl_mean: mean KL divergence of the merged from the live model's next-token distributions, nats per token.
        kl_max: the largest one of a single token.
        top1_agreement: share of the positions at which both prefer the same token.
        live_ids: answers of the live model, per prompt, without the end token.
        merged_ids: answers of the merged model, per prompt.
    """

    kl_mean: float
    kl_max: float
    top1_agreement: float
    live_ids: tuple[tuple[int, ...], ...]
    merged_ids: tuple[tuple[int, ...], ...]


def merge(
    model_folder: Path,
    adapter_folder: Path,
    output_folder: Path,
    *,
    onto: Literal["trained", "original"] = "trained",
    quantised: bool = True,
) -> Path:
    """Writes the base model with the adapter added as a bfloat16 safetensors folder that vLLM and transformers load.

    Args:
        model_folder: the base model that the adapter was trained on.
        adapter_folder: a plain LoRA adapter in PEFT's format.
        output_folder: must not exist yet; appears whole or not at all. Tokenizer and chat template are the base's.
        onto: `trained`: the weights that the adapter saw; `original`: the base's own.
        quantised: the adapter was trained against NF4 weights (QLoRA). Without, both values of `onto` are the same.

    Returns:
        `output_folder`.

    Raises:
        RagftError: the adapter is not plain LoRA or does not fit, or `output_folder` exists.
    """
    if output_folder.exists() and any(output_folder.iterdir()):
        raise RagftError(f"{output_folder} exists already: merge into a new folder, or delete that one.")
    deltas = read_adapter(adapter_folder)
    model = decoder.load(model_folder, torch.bfloat16, attention_name="eager")
    linears = target_linears(model)
    check_fits(deltas, linears, adapter_folder)
    for name, linear in linears.items():
        weight = linear.weight.data
        if onto == "trained" and quantised:
            weight = round_trip(weight)
        if name in deltas:
            # Added in float32, rounded once: added in bfloat16, most of a small delta would be lost.
            weight = (weight.float() + deltas[name].product()).to(torch.bfloat16)
        linear.weight.data = weight
    output_folder.parent.mkdir(parents=True, exist_ok=True)
    building = output_folder.with_name(f".{output_folder.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    _write_model(model, model_folder, building)
    publish_folder(building, output_folder)
    return output_folder


def divergence(
    model_folder: Path,
    adapter_folder: Path,
    merged_folder: Path,
    prompts: Sequence[Sequence[int]],
    *,
    quantised: bool = True,
    max_tokens: int = 96,
) -> MergeProof:
    """Compares the live model (base and adapter) with the merged one on `prompts`.

    The live model's dequantised weights are kept in memory while it answers. Both run in the format that this processor
    multiplies, as training and vLLM do.

    Args:
        model_folder: the base model.
        adapter_folder: the adapter.
        merged_folder: what `merge` wrote, or any model with the same vocabulary.
        prompts: token ids, each ending where the answer begins.
        quantised: the live model's frozen weights are in NF4.
        max_tokens: longest answer.

    Raises:
        RagftError: no prompts, or the adapter does not fit.
    """
    if not prompts:
        raise RagftError("A merge cannot be proven without prompts: give at least one.")
    dtype = decoder.compute_dtype()
    with closing(Workers(torch.get_num_threads())) as workers:
        live = decoder.load(model_folder, dtype, attention_name=attention.ANSWERING)
        stops = _stop_tokens(live, model_folder)
        load_adapter(live, adapter_folder, quantise=quantised, cache=True)
        live_ids = _answers(live, prompts, stops, max_tokens, workers)
        answered = [
            Rendered((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer))
            for prompt, answer in zip(prompts, live_ids, strict=True)
        ]
        batches = micro_batches(answered, _TOKENS_AT_ONCE)
        expected = _logits(live, batches, workers)
        del live
        merged = decoder.load(merged_folder, dtype, attention_name=attention.ANSWERING)
        merged_ids = _answers(merged, prompts, stops, max_tokens, workers)
        kl, agree = _compare(expected, _logits(merged, batches, workers))
    return MergeProof(
        kl_mean=kl.mean().item(),
        kl_max=kl.max().item(),
        top1_agreement=agree.float().mean().item(),
        live_ids=tuple(_without_stop(ids, stops) for ids in live_ids),
        merged_ids=tuple(_without_stop(ids, stops) for ids in merged_ids),
    )


def _answers(
    model: nn.Module, prompts: Sequence[Sequence[int]], stops: list[int], max_tokens: int, workers: Workers
) -> list[list[int]]:
    """Greedy continuations with their end token, in the order of `prompts`.

    Prompts of similar length are decoded together.
    """
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    groups = [order[start : start + _PROMPTS_AT_ONCE] for start in range(0, len(order), _PROMPTS_AT_ONCE)]

    def answer(numbers: Sequence[int]) -> list[list[int]]:
        return _answers_together(model, [prompts[number] for number in numbers], stops, max_tokens)

    found = dict(zip(order, chain.from_iterable(workers.map(answer, groups)), strict=True))
    return [found[number] for number in range(len(prompts))]


@torch.inference_mode()
def _answers_together(
    model: nn.Module, prompts: Sequence[Sequence[int]], stops: list[int], max_tokens: int
) -> list[list[int]]:
    """Greedy continuations of prompts that are decoded step by step together, behind the prefix that they share, which
    is read once."""
    shared = _common_prefix(prompts)
    longest = max(map(len, prompts))
    # Padding stands between the shared prefix and the rest, so that the prefix is the same for all.
    ids = torch.full((len(prompts), longest), stops[0])
    mask = torch.ones_like(ids)
    for row, prompt in enumerate(prompts):
        padding = longest - len(prompt)
        ids[row] = torch.tensor([*prompt[:shared], *[stops[0]] * padding, *prompt[shared:]])
        mask[row, shared : shared + padding] = 0
    cache = DynamicCache(config=model.config)
    if shared:
        model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
    generated = model.generate(
        input_ids=ids,
        attention_mask=mask,
        past_key_values=cache,
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=stops,
        pad_token_id=stops[0],
    )
    return [_through_stop(row[longest:], stops) for row in generated.tolist()]


def _logits(model: nn.Module, batches: Sequence[MicroBatch], workers: Workers) -> list[torch.Tensor]:
    """Logits at the answers' positions of each batch: (positions, vocabulary), as the model computes them."""
    model.set_attn_implementation(attention.NAME)

    @torch.inference_mode()
    def logits(batch: MicroBatch) -> torch.Tensor:
        return model.get_output_embeddings()(decoder.hidden_states(model, batch)[batch.predicting])

    return workers.map(logits, batches)


def _compare(expected: Iterable[torch.Tensor], found: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """KL divergence of `found` from `expected` in nats, and whether both prefer the same token, per position."""
    kls, agree = [], []
    for live, merged in zip(expected, found, strict=True):
        p, q = (functional.log_softmax(logits.float(), -1) for logits in (live, merged))
        kls.append((p.exp() * (p - q)).sum(-1))
        agree.append(p.argmax(-1) == q.argmax(-1))
    return torch.cat(kls), torch.cat(agree)


def _stop_tokens(model: nn.Module, folder: Path) -> list[int]:
    """Ids that end an answer, as the model's generation settings or its tokenizer say."""
    stops = model.generation_config.eos_token_id
    if stops is None:
        stops = model.config.eos_token_id
    if stops is None:
        stops = AutoTokenizer.from_pretrained(str(folder), local_files_only=True).eos_token_id
    if stops is None:
        raise RagftError(f"The model in {folder} names no end token: set eos_token_id in its generation_config.json.")
    return [stops] if isinstance(stops, int) else list(stops)


def _common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with, but for each one's last, which must be read to go on from it."""
    limit = min(map(len, prompts)) - 1
    return next((place for place in range(limit) if len({prompt[place] for prompt in prompts}) > 1), limit)


def _through_stop(ids: list[int], stops: list[int]) -> list[int]:
    """`ids` up to its first end token, which is kept."""
    for position, token in enumerate(ids):
        if token in stops:
            return ids[: position + 1]
    return ids


def _without_stop(ids: list[int], stops: list[int]) -> tuple[int, ...]:
    return tuple(token for token in ids if token not in stops)


def _write_model(model: nn.Module, source: Path, folder: Path) -> None:
    """Saves weights and configuration, and copies what else belongs to the model: tokenizer, template, licence."""
    config: Any = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model.save_pretrained(folder)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in _NOT_COPIED and path.name not in _WRITTEN:
            shutil.copyfile(path, folder / path.name)
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", folder / "generation_config.json")
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "quantization_config" in written:
        raise AssertionError("a merged model must not claim to be quantised")
