"""How far a merged model's answers and next-token distributions are from those of the live model that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer, DynamicCache

from index.encoders.parallel import OneThreadWorkers
from ragft.errors import RagftError
from ragft.finetune import devices
from ragft.finetune.fast import attention, decoder
from ragft.finetune.fast.adapter import load_adapter
from ragft.finetune.fast.batching import MicroBatch, common_prefix, micro_batches, pack
from ragft.finetune.fast.lora import compute_in
from ragft.finetune.lineage import LiveModel
from ragft.finetune.reference import reference_logits
from ragft.messages import Rendered

_PROMPTS_AT_ONCE = 8
_TOKENS_AT_ONCE = 2048

REFERENCE_PROMPTS = 4
"""Prompts whose answers PEFT computes, too: a wrong layer, scale or quantisation shows in each of them."""


@dataclass(frozen=True)
class Divergence:
    """How far a merged model is from the live one.

    Divergence and agreement are taken over the greedy answers of the live model to the prompts, end tokens included.

    Attributes:
        divergence: mean KL divergence of the merged from the live model's next-token distributions, nats per token.
        divergence_max: the largest one of a single token.
        reference_divergence: mean KL divergence of the live model here from the same one in transformers and PEFT, in
            nats per token of the answers to `REFERENCE_PROMPTS` of the prompts.
        top1_agreement: share of the positions at which both prefer the same token.
        live_ids, merged_ids: the answer of each model to every prompt, without the end token.
    """

    divergence: float
    divergence_max: float
    reference_divergence: float
    top1_agreement: float
    live_ids: tuple[tuple[int, ...], ...]
    merged_ids: tuple[tuple[int, ...], ...]


def compare(
    live: LiveModel, merged: Path, prompts: Sequence[Sequence[int]], *, max_tokens: int, ends: Sequence[int] = (),
    device: torch.device = devices.CPU,
) -> Divergence:  # fmt: skip
    """Compares the live model with the merged one, in the dtype that training and vLLM use on this machine.

    The live one is itself compared with PEFT's on a few of the prompts.

    Only one model is in memory at a time; of the live one, the dequantised weights are kept while it answers.

    Args:
        merged: folder that `merge` wrote, or any model with the same vocabulary.
        prompts: token ids, each ending where the answer begins.
        ends: tokens that end an answer beside those that the base names.
        device: computes the answers.

    Raises:
        RagftError: no prompts, or the adapter does not fit.
    """
    if not prompts:
        raise RagftError("A merge cannot be proven without prompts: give at least one.")
    dtype = decoder.compute_dtype(device)
    with closing(OneThreadWorkers(devices.workers(device), min_parallel=2)) as workers:
        model = decoder.load(live.base, None, attention_name=attention.GROUPED)
        load_adapter(model, live.adapter, quantise=live.quantised, cache=True, device=device)
        compute_in(model, dtype)
        decoding = Greedy(prompts, stop_tokens(model, live.base, ends), max_tokens, workers)
        live_ids = decoding.answers(model)
        answered = [Rendered.answered(*pair) for pair in zip(prompts, live_ids, strict=True)]
        batches = micro_batches(answered, _TOKENS_AT_ONCE)
        expected = _logits(model, batches, workers)
        sample = answered[:REFERENCE_PROMPTS]
        ours = _logits(model, [pack([row]) for row in sample], workers)
        del model
        from_reference, _ = distances(reference_logits(live, sample, dtype, device), ours)
        model = decoder.load(merged, dtype, attention_name=attention.GROUPED, device=device)
        merged_ids = decoding.answers(model)
        kl, agree = distances(expected, _logits(model, batches, workers))
    return Divergence(
        divergence=kl.mean().item(),
        divergence_max=kl.max().item(),
        reference_divergence=from_reference.mean().item(),
        top1_agreement=agree.float().mean().item(),
        live_ids=decoding.without_stops(live_ids),
        merged_ids=decoding.without_stops(merged_ids),
    )


@dataclass(frozen=True)
class Greedy:
    """Greedy decoding of the same prompts by any model: up to `max_tokens`, of which one of `stops` may be the last."""

    prompts: Sequence[Sequence[int]]
    stops: Sequence[int]
    max_tokens: int
    workers: OneThreadWorkers

    def answers(self, model: nn.Module) -> list[list[int]]:
        """Continuations with their end token, in the order of `prompts`; similar lengths are decoded together."""
        order = sorted(range(len(self.prompts)), key=lambda number: len(self.prompts[number]))
        ordered = [self.prompts[number] for number in order]
        groups = [ordered[start : start + _PROMPTS_AT_ONCE] for start in range(0, len(order), _PROMPTS_AT_ONCE)]
        answers = chain.from_iterable(self.workers.map(partial(self._together, model), groups))
        return [answer for _, answer in sorted(zip(order, answers, strict=True))]

    @torch.inference_mode()
    def _together(self, model: nn.Module, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Continuations of prompts that are decoded together, after reading their shared prefix once."""
        # Each prompt's last token must be read to continue from it.
        shared = common_prefix(prompt[:-1] for prompt in prompts)
        longest, padding = max(map(len, prompts)), self.stops[0]
        # Padding goes between the shared prefix and the rest, so that the prefix is the same for all.
        ids = torch.full((len(prompts), longest), padding)
        mask = torch.ones_like(ids)
        for row, prompt in enumerate(prompts):
            rest = longest - len(prompt) + shared
            ids[row, :shared], ids[row, rest:] = torch.tensor(prompt[:shared]), torch.tensor(prompt[shared:])
            mask[row, shared:rest] = 0
        device = devices.of(model)
        ids, mask = ids.to(device), mask.to(device)
        cache = DynamicCache(config=model.config)
        if shared:
            model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        generated = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, max_new_tokens=self.max_tokens, do_sample=False,
            num_beams=1, repetition_penalty=1.0, eos_token_id=list(self.stops), pad_token_id=padding,
        )  # fmt: skip
        return [self._through_stop(row[longest:]) for row in generated.tolist()]

    def _through_stop(self, ids: list[int]) -> list[int]:
        """`ids` up to the first end token, which is kept."""
        end = next((place for place, token in enumerate(ids) if token in self.stops), len(ids))
        return ids[: end + 1]

    def without_stops(self, answers: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """Answers without their end tokens."""
        return tuple(tuple(token for token in ids if token not in self.stops) for ids in answers)


def stop_tokens(model: nn.Module, folder: Path, ends: Sequence[int] = ()) -> list[int]:
    """Ids that end an answer: from the model's generation settings, its configuration or its tokenizer, and `ends`."""
    stops = model.generation_config.eos_token_id
    if stops is None:
        stops = model.config.eos_token_id
    if stops is None:
        stops = AutoTokenizer.from_pretrained(str(folder), local_files_only=True).eos_token_id
    if stops is None:
        raise RagftError(f"The model in {folder} names no end token: set eos_token_id in its generation_config.json.")
    return list(dict.fromkeys([*([stops] if isinstance(stops, int) else stops), *ends]))


def _logits(model: nn.Module, batches: Sequence[MicroBatch], workers: OneThreadWorkers) -> list[torch.Tensor]:
    """Logits at the answers' positions of each batch: (positions, vocabulary), in the model's dtype."""
    model.set_attn_implementation(attention.PACKED)

    @torch.inference_mode()
    def logits(batch: MicroBatch) -> torch.Tensor:
        return model.get_output_embeddings()(decoder.hidden_states(model, batch))

    return workers.map(logits, batches)


def distances(expected: Iterable[torch.Tensor], found: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """KL divergence of `found` from `expected` in nats, and whether both prefer the same token, per position."""
    kls, agree = [], []
    for live, merged in zip(expected, found, strict=True):
        p, q = (functional.log_softmax(logits.float(), -1) for logits in (live, merged))
        kls.append((p.exp() * (p - q)).sum(-1))
        agree.append(p.argmax(-1) == q.argmax(-1))
    return torch.cat(kls), torch.cat(agree)
