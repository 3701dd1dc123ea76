"""Training on a card: right first, then how fast and in how much memory, beside PEFT and TRL where they are installed.

    python benchmarks/gpu.py [--json figures.json] [--minutes 8] [--device cuda]
    python benchmarks/gpu.py --tiny --device cpu       # the same parts in a minute, to see that the script works

1. Losses and gradients of the fast loop on the device against those of the processor, in float32, plain and in NF4. If
   they differ, nothing is measured.
2. The rate of a large product of matrices in the format of training.
3. LoRA, QLoRA and full training of random Llama-like models of about 0.1, 1 and 7 billion parameters, made on the
   device: tokens of rows per second, peak memory, and the share of that rate. PEFT's layers on padded rows with
   transformers' attention, and TRL's trainer with its defaults, train the same model on the same rows.

Every part has its seconds, from which the whole is at most `--minutes`; what does not fit, or fails, is printed with
its reason and stands as `skipped` in the JSON. Timed are whole optimiser steps; the first one is not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from ragft.finetune import devices
from ragft.finetune.fast import decoder, fused
from ragft.finetune.fast.attention import PACKED
from ragft.finetune.fast.batching import MicroBatch, micro_batches, pack
from ragft.finetune.fast.lora import attach, compute_in, initial_adapter, matrices
from ragft.finetune.peft_backend.batching import padded_batches
from ragft.finetune.peft_backend.forward import logits_at
from ragft.messages import Rendered

RANK, BATCH, BUDGET, SEED = 16, 8, 4096, 0
TOLERANCE = 1e-4
BYTES_PER_TRAINED_WEIGHT = 20  # float32 master, gradient, its scaled copy, and two moments

# name: width, inner, layers, heads, key heads, vocabulary
MODELS = {
    "0.1B": (768, 2048, 12, 12, 4, 32_000),
    "1B": (2048, 5632, 20, 32, 8, 32_000),
    "7B": (4096, 11008, 32, 32, 32, 32_000),
}
TINY = {"tiny": (128, 256, 2, 2, 1, 512)}


@dataclass(frozen=True)
class Bench:
    """What all parts share; `seconds` is the time of each measurement."""

    device: torch.device
    dtype: torch.dtype
    models: dict[str, tuple[int, ...]]
    row_tokens: int
    seconds: float
    deadline: float

    def model(self, name: str, dtype: torch.dtype) -> nn.Module:
        """A random model, made on the device."""
        width, inner, layers, heads, keys, vocabulary = self.models[name]
        config = LlamaConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=keys, max_position_embeddings=4096, bos_token_id=1,
            eos_token_id=2, pad_token_id=2,
        )  # fmt: skip
        before = torch.get_default_dtype()
        torch.manual_seed(SEED)
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                return LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)

    def rows(self, name: str) -> list[Rendered]:
        """Eight rows: a shared prompt of half their length, passages, and an answer of an eighth."""
        draw, vocabulary, length = random.Random(SEED), self.models[name][-1], self.row_tokens
        shared = [draw.randrange(3, vocabulary) for _ in range(length // 2)]
        rows = []
        for number in range(BATCH):
            own = [draw.randrange(3, vocabulary) for _ in range(length // 2 - number * length // 64)]
            answer = length // 8
            rows.append(Rendered((*shared, *own), (False,) * (len(shared) + len(own) - answer) + (True,) * answer))
        return rows

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_mib(self) -> float:
        if self.device.type == "cuda":
            return devices.peak_mib(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def forget(self) -> None:
        """Frees what the last measurement held."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def timed(self, step: Callable[[], None]) -> float:
        """Seconds of a step, the first one not counted."""
        step()
        self.synchronise()
        begin, steps = time.perf_counter(), 0
        while steps < 50 and (not steps or time.perf_counter() - begin < self.seconds):
            step()
            self.synchronise()
            steps += 1
        return (time.perf_counter() - begin) / steps


def differences(bench: Bench) -> dict[str, float]:
    """Largest relative difference of loss and gradients between the device and the processor, by kind."""
    cpu = Bench(devices.CPU, torch.float32, TINY, 64, 0, 0)
    rows = cpu.rows("tiny")[:4]
    states = cpu.model("tiny", torch.float32).state_dict()
    found = {}
    for quantise in (False, True):
        for kind in dict.fromkeys((PACKED, fused.attention_for(bench.device, torch.float32))):
            results = []
            for device, attention_name in ((devices.CPU, PACKED), (bench.device, kind)):
                model = cpu.model("tiny", torch.float32)
                model.load_state_dict(states)
                model.set_attn_implementation(attention_name)
                attach(model, initial_adapter(model, 4, 8.0, seed=1), quantise=quantise, device=device)
                generator = torch.Generator().manual_seed(2)
                for key, matrix in matrices(model).items():
                    if key.endswith(".B"):
                        matrix.data.copy_(torch.empty(matrix.shape).normal_(std=0.1, generator=generator))
                loss = decoder.summed_loss(model, pack(rows))
                gradients = torch.autograd.grad(loss, list(matrices(model).values()))
                results.append([loss.detach().cpu(), *(gradient.cpu() for gradient in gradients)])
            off = max(((b - a).abs().max() / a.abs().max()).item() for a, b in zip(*results, strict=True))
            found[f"{'qlora' if quantise else 'lora'}, {kind}"] = off
    return found


def matrix_rate(bench: Bench) -> float:
    """FLOP/s of a large square product in the format of training."""
    size = 8192 if bench.device.type == "cuda" else 512
    a, b = (torch.randn(size, size, device=bench.device).to(bench.dtype) for _ in range(2))
    return 2 * size**3 / bench.timed(lambda: _discard(a @ b))


def _discard(_: torch.Tensor) -> None: ...


def flops(model: nn.Module, batches: list[MicroBatch], method: str, linear: int) -> float:
    """Floating-point operations of a step: two products forward and back, and a third where weights are trained."""
    config, total = model.config, 0.0
    for batch in batches:
        prefix = batch.layout.prefix
        scores = prefix**2 / 2 + sum(n * (prefix + n / 2) for n in batch.layout.remainders)
        total += (6 if method == "full" else 4) * batch.ids.shape[1] * linear
        total += 12 * config.num_hidden_layers * config.hidden_size * scores
        total += (6 if method == "full" else 4) * len(batch.targets) * config.vocab_size * config.hidden_size
    return total


def linear_weights(model: nn.Module) -> int:
    head = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)


def _optimised(model: nn.Module, losses: Callable[[], Iterator[torch.Tensor]]) -> Callable[[], None]:
    """A step of AdamW over what is trainable."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        for loss in losses():
            loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def ours(bench: Bench, name: str, method: str) -> dict[str, float]:
    """The fast loop's layers, attention and loss; for full training, those of the PEFT back end."""
    rows = bench.rows(name)
    batches = [batch.to(bench.device) for batch in micro_batches(rows, BUDGET)]
    if method == "full":
        model = bench.model(name, torch.float32)
        linear = linear_weights(model)
        padded = [batch.to(bench.device) for batch in padded_batches(rows, BUDGET)]

        def losses() -> Iterator[torch.Tensor]:
            for batch in padded:
                yield functional.cross_entropy(logits_at(model, batch, bench.dtype).float(), batch.targets)
    else:
        model = bench.model(name, bench.dtype)
        linear = linear_weights(model)
        model.set_attn_implementation(fused.attention_for(bench.device, bench.dtype))
        attach(model, initial_adapter(model, RANK, 2 * RANK, seed=SEED), quantise=method == "qlora")
        compute_in(model, bench.dtype)

        def losses() -> Iterator[torch.Tensor]:
            for batch in batches:
                yield decoder.summed_loss(model, batch) / 100

    seconds = bench.timed(_optimised(model, losses))
    done = flops(model, batches, method, linear) / seconds
    return {"tokens_per_second": _tokens(rows) / seconds, "peak_mib": bench.peak_mib(), "flops": done}


def peft(bench: Bench, name: str, method: str) -> dict[str, float]:
    """PEFT's layers on padded rows, with transformers' loss over all positions."""
    from peft import LoraConfig, get_peft_model

    rows = bench.rows(name)
    model = bench.model(name, torch.float32 if method == "full" else bench.dtype)
    if method == "qlora":
        _to_linear4bit(model, bench)
    if method != "full":
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
    padded = [batch.to(bench.device) for batch in padded_batches(rows, BUDGET)]

    def losses() -> Iterator[torch.Tensor]:
        for batch in padded:
            labels = torch.full_like(batch.ids, -100)
            labels[batch.row, batch.position + 1] = batch.targets
            with torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=bench.dtype == torch.bfloat16):
                yield model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels, use_cache=False).loss

    seconds = bench.timed(_optimised(model, losses))
    return {"tokens_per_second": _tokens(rows) / seconds, "peak_mib": bench.peak_mib()}


def _to_linear4bit(model: nn.Module, bench: Bench) -> None:
    import bitsandbytes as bnb

    head = model.get_output_embeddings()
    for key, linear in [(key, m) for key, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]:
        layer = bnb.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=bench.dtype, quant_type="nf4"
        )
        layer.weight = bnb.nn.Params4bit(
            linear.weight.detach().cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        )
        model.set_submodule(key, layer.to(bench.device))


def trl(bench: Bench, name: str, method: str) -> dict[str, float]:
    """TRL's SFTTrainer with its defaults on the same rows."""
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows, ends = bench.rows(name), list[float]()

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            bench.synchronise()
            ends.append(time.perf_counter())
            control.should_training_stop = len(ends) > 1 and ends[-1] - ends[0] > bench.seconds
            return control

    columns = [
        {"input_ids": list(row.ids), "labels": [t if k else -100 for t, k in zip(row.ids, row.trained, strict=True)]}
        for row in rows
    ]
    named = {"unk_token": "<unk>"}
    words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, **named))
    named |= {"eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **named)
    model = bench.model(name, torch.float32 if method == "full" else bench.dtype)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model,
            SFTConfig(
                output_dir=folder, max_steps=30, use_cpu=bench.device.type == "cpu", save_strategy="no",
                report_to="none", disable_tqdm=True, bf16=bench.dtype == torch.bfloat16,
            ),
            train_dataset=Dataset.from_list(columns), processing_class=tokenizer, callbacks=[Steps()],
            peft_config=None if method == "full" else lora,
        )  # fmt: skip
        trainer.train()
    seconds = (ends[-1] - ends[0]) / (len(ends) - 1)
    return {"tokens_per_second": _tokens(rows) / seconds, "peak_mib": bench.peak_mib()}


def _tokens(rows: list[Rendered]) -> int:
    return sum(len(row.ids) for row in rows)


def measured(bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every model, method and trainer, the smallest first."""
    for name in bench.models:
        for method in ("lora", "qlora", "full"):
            for trainer in (ours, peft, trl):
                bench.forget()
                why = _cannot(bench, name, method, trainer.__name__)
                if why is None:
                    try:
                        yield f"{name} {method} {trainer.__name__}", trainer(bench, name, method)
                        continue
                    except Exception as error:  # another trainer's failure is a result, too
                        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                yield f"{name} {method} {trainer.__name__}", {"skipped": why}


def _cannot(bench: Bench, name: str, method: str, trainer: str) -> str | None:
    """Why a measurement is not even begun."""
    if time.monotonic() + 3 * bench.seconds > bench.deadline:
        return "no time is left"
    if trainer == "trl" and method == "qlora":
        return "TRL quantises while it loads from files, and there are none"
    if bench.device.type == "cuda":
        width, inner, layers, *_, vocabulary = bench.models[name]
        weights = layers * (4 * width**2 + 3 * width * inner) + 2 * vocabulary * width
        needed = weights * (BYTES_PER_TRAINED_WEIGHT if method == "full" else 2) / 2**20
        if needed > devices.free_mib(bench.device):
            return f"about {needed / 1024:.0f} GiB are needed and {devices.free_mib(bench.device) / 1024:.0f} are free"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true", help="tiny models, three minutes at most")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    begin, minutes = time.monotonic(), min(chosen.minutes, 3.0) if chosen.tiny else chosen.minutes
    device = devices.resolve(chosen.device)
    bench = Bench(
        device, decoder.compute_dtype(device), TINY if chosen.tiny else MODELS, 64 if chosen.tiny else 768,
        0.3 if chosen.tiny else 6.0, begin + 60 * minutes,
    )  # fmt: skip
    about = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "torch": torch.__version__,
        "dtype": str(bench.dtype), "attention": fused.attention_for(device, bench.dtype),
    }  # fmt: skip
    figures: dict[str, Any] = {**about, "differences": differences(bench), "training": {}}
    print(json.dumps({key: value for key, value in figures.items() if value}, indent=2), flush=True)
    wrong = max(figures["differences"].values())
    if not wrong <= TOLERANCE:
        raise SystemExit(f"Losses or gradients differ from the processor's by {wrong:.2g}: nothing is measured.")
    figures["matrix_flops"] = matrix_rate(bench)
    for what, found in measured(bench):
        if "flops" in found:
            found["share_of_matrix_rate"] = found["flops"] / figures["matrix_flops"]
        figures["training"][what] = found
        print(f"{what:24}", ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key}: {value}"
                                      for key, value in found.items()), flush=True)  # fmt: skip
    figures["seconds"] = time.monotonic() - begin
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
