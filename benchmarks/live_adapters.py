"""Live adapters beside merged models: tokens per second, memory, and how long another adapter takes to serve.

Two engines of one process are up at once: that of a merged model, of which `serve.adapters: merged` needs another for
the base model, and the one of `serve.adapters: live`, which has both. They are asked the same prompts in turns, so that
other load falls on both alike. The adapters are random, of rank 16 on all linear layers.

    python benchmarks/live_adapters.py [--rounds 5] [--concurrency 1,8] [--tokens 48] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from index.encoders.precision import native_format
from ragft import engine as engines
from ragft.config import EngineSection
from ragft.engine.adapter import Adapter
from ragft.engine.base import ChatRequest, Engine
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.messages import turn
from ragft.models import resolve_model

SETTINGS = EngineSection(dtype=native_format(), kv_cache_mib=256, max_num_seqs=16, max_model_len=1024)
RANK = 16


@dataclass(frozen=True)
class Speed:
    """One model at one concurrency, over all rounds.

    Attributes:
        per_second: tokens of all answers, by the clock; with the least and the largest of the rounds.
        per_processor_second: the same for each second of processor time of the engine's processes.
    """

    model: str
    concurrency: int
    per_second: tuple[float, float, float]
    per_processor_second: tuple[float, float, float]


def random_adapter(base: Path, folder: Path, seed: int) -> LiveModel:
    """An adapter that changes the answers; returns it with its base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32)
    settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, settings)
    for name, values in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.01)
    tuned.save_pretrained(folder)
    return LiveModel(base, folder, quantised=False)


class Watched:
    """Engines and the processes that they run in."""

    def __init__(self, members: Mapping[str, Engine]) -> None:
        self.members = members
        self._processes: list[psutil.Process] = []
        self.seconds = 0.0

    async def start(self) -> None:
        before, begin = set(psutil.Process().children(recursive=True)), time.perf_counter()
        for member in self.members.values():
            await member.start()
        self.seconds = time.perf_counter() - begin
        self._processes = [one for one in psutil.Process().children(recursive=True) if one not in before]

    def mib(self) -> float:
        """Memory of the processes: resident pages, each shared one divided by the number of those that share it."""
        return sum(one.memory_full_info().pss for one in self._processes) / 2**20

    def rss_mib(self) -> float:
        return sum(one.memory_info().rss for one in self._processes) / 2**20

    def processor_seconds(self) -> float:
        times = [one.cpu_times() for one in self._processes]
        return sum(one.user + one.system for one in times)


async def ask(engine: Engine, number: int, tokens: int) -> str:
    question = f"Question {number}: what does rule {number * 7} say, and whom does it concern? Explain it at length."
    options = {"temperature": 0, "max_tokens": tokens, "ignore_eos": True}
    answer = await engine.chat(ChatRequest([turn("user", question)], options))
    assert len(answer.token_ids) == tokens
    return answer.text


async def speed(watched: Watched, name: str, concurrency: int, tokens: int) -> tuple[float, float, list[str]]:
    """Tokens for each second by the clock and of processor time, and the answers."""
    begin, spent = time.perf_counter(), watched.processor_seconds()
    answers = await asyncio.gather(*(ask(watched.members[name], place, tokens) for place in range(concurrency)))
    count = concurrency * tokens
    return (
        count / (time.perf_counter() - begin),
        count / max(watched.processor_seconds() - spent, 1 / os.sysconf("SC_CLK_TCK")),
        answers,
    )


def spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


async def exchanges(engine: Engine, folders: list[Path], rounds: int) -> tuple[float, float, float]:
    """Seconds until another model answers its first token, there and back."""
    taken = []
    for number in range(1, 2 * rounds + 1):
        begin = time.perf_counter()
        await engine.replace(folders[number % 2])
        await ask(engine, 0, 1)
        taken.append(time.perf_counter() - begin)
    return spread(taken)


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    base = resolve_model("smollm2-135m-instruct")
    live_models = [random_adapter(base, folder / f"adapter-{seed}", seed) for seed in range(2)]
    merged = [folder / f"merged-{seed}" for seed in range(2)]
    for model, target in zip(live_models, merged, strict=True):
        merge(model, target)

    def find(target: Path) -> Adapter:
        return Adapter(target, target.name, RANK)

    adapters = [model.adapter for model in live_models]
    apart = Watched({"tuned": engines.open(merged[0], SETTINGS)})
    together = Watched(engines.open_live(base, {"base": None, "tuned": find(adapters[0])}, SETTINGS, find))
    arrangements = {"merged": apart, "live": together}
    try:
        for watched in arrangements.values():
            await watched.start()
        cells = [("merged", "tuned"), ("live", "tuned"), ("live", "base")]
        for way, name in cells:
            await speed(arrangements[way], name, max(arguments.concurrency), 8)  # warm-up
        found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
        answers: dict[tuple[str, str], list[str]] = {}
        for _ in range(arguments.rounds):
            for concurrency in arguments.concurrency:
                for way, name in cells:
                    clock, processor, told = await speed(arrangements[way], name, concurrency, arguments.tokens)
                    found.setdefault((way, name, concurrency), []).append((clock, processor))
                    answers[way, name] = told
        rows = [
            Speed(f"{name}, {way}", concurrency, spread([one for one, _ in pairs]), spread([one for _, one in pairs]))
            for (way, name, concurrency), pairs in found.items()
        ]
        both = answers["merged", "tuned"], answers["live", "tuned"]
        same = {"same": sum(a == b for a, b in zip(*both, strict=True)), "of": len(both[0])}
        memory = {way: {"pss_mib": one.mib(), "rss_mib": one.rss_mib()} for way, one in arrangements.items()}
        seconds = {
            "merged": await exchanges(apart.members["tuned"], merged, arguments.rounds),
            "live": await exchanges(together.members["tuned"], adapters, arguments.rounds),
        }
    finally:
        for watched in arrangements.values():
            for member in watched.members.values():
                await member.close()
    started = {way: one.seconds for way, one in arrangements.items()}
    return {
        "dtype": SETTINGS.dtype, "speed": [asdict(row) for row in rows], "same_answers": same, "memory": memory,
        "exchange_seconds": seconds, "start_seconds": started,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=lambda text: [int(one) for one in text.split(",")], default=[1, 8])
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--json", type=Path, help="file to write the figures into")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), arguments))
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
