"""Training speed and memory of the fast back end beside TRL's SFTTrainer, on the same rows in the same order.

Each measurement is a process of its own, and they take turns, so that other load on the machine meets all. A step is
one optimiser batch of the same rows for all; the first step warms up and is not counted. Tokens are those of the rows
(padding is not counted; a shared prefix is counted once per row, although ours computes it once).

    python benchmarks/finetune_throughput.py [--config configs/lifecycle.yaml | --rows rows.jsonl] [--json figures.json]

Who takes part: `qlora` and `lora` are ours. `trl` is SFTTrainer as its documentation shows QLoRA: NF4 with double
quantisation through bitsandbytes, adapters on all linear layers, its defaults of batches of 8, gradient checkpointing
and bfloat16. `trl-tuned` is set for speed on a processor: LoRA without quantisation, the format that the processor
multiplies, no gradient checkpointing, batches of two rows of like length, accumulated to 8. TRL's packing and its
batches without padding need flash-attention, which a processor does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ragft.config import FinetuneSection, load_config
from ragft.console import Reporter
from ragft.finetune.fast.batching import epoch_batches
from ragft.models import resolve_model
from ragft.prompts import Rendered
from ragft.stages.application import Application
from ragft.stages.data import rendered

BATCH = 8
RANK = 16
SEED = 0


class Meter:
    """Wall and processor seconds between the first step's end and the last one's."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        self.marks.append((time.monotonic(), time.process_time()))

    def batches(self, rows: list[Rendered]) -> list[list[Rendered]]:
        """The optimiser batches of the counted steps."""
        order = epoch_batches(len(rows), BATCH, seed=SEED, epoch=0)
        return [[rows[index] for index in batch] for batch in order[1 : len(self.marks)]]

    def figures(self, rows: list[Rendered]) -> dict[str, float]:
        """Tokens, seconds and peak memory of the counted steps."""
        (wall, cpu), (wall_end, cpu_end) = self.marks[0], self.marks[-1]
        return {
            "tokens": sum(len(row.ids) for batch in self.batches(rows) for row in batch),
            "wall_seconds": wall_end - wall,
            "cpu_seconds": cpu_end - cpu,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def ours(model: Path, rows: list[Rendered], given: list[str], *, method: str) -> dict[str, float]:
    """One run of `ragft.finetune.fast`; also the operations a second, of which `matrix_rate` is the most there is."""
    from ragft.finetune.estimate import ModelSizes, operations
    from ragft.finetune.fast.trainer import train

    meter = Meter()
    settings = FinetuneSection.model_validate(
        {"method": method, "rank": RANK, "batch_size": BATCH, "epochs": 1, "eval_count": 1}
        | dict(one.split("=", 1) for one in given)
    )
    with tempfile.TemporaryDirectory() as folder:
        train(model, rows, [], settings, seed=SEED, folder=Path(folder), progress=lambda _: meter.mark())
    figures = meter.figures(rows)
    counted = meter.batches(rows)
    done = operations(ModelSizes.of(model), counted, settings)
    return {**figures, "flops": done / figures["wall_seconds"], "matrix_flops": matrix_rate()}


def matrix_rate() -> float:
    """FLOP/s of all cores, each with products of the sizes of SmolLM2's MLP, in the format of training."""
    from ragft.finetune.fast.decoder import compute_dtype

    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b = (torch.randn(shape).to(compute_dtype()) for shape in ((1024, 576), (576, 1536)))

    def rate() -> float:
        done, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < 2.0:
            torch.mm(a, b)
            done += 1
        return 2 * 1024 * 576 * 1536 * done / seconds

    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(lambda _: rate(), range(cores)))


def trl(model: Path, rows: list[Rendered], _given: list[str], *, tuned: bool) -> dict[str, float]:
    """One run of TRL's SFTTrainer over the same optimiser batches."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from ragft.finetune.fast.decoder import compute_dtype

    meter = Meter()

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.mark()

    batches = epoch_batches(len(rows), BATCH, seed=SEED, epoch=0)
    if tuned:
        batches = [sorted(batch, key=lambda index: len(rows[index].ids)) for batch in batches]
    columns = [
        {"input_ids": list(row.ids), "labels": [t if k else -100 for t, k in zip(row.ids, row.trained, strict=True)]}
        for row in (rows[index] for batch in batches for index in batch)
    ]
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    dtype = compute_dtype() if tuned else torch.bfloat16
    for_speed = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": BATCH // 2, "gradient_checkpointing": False,
        "bf16": dtype == torch.bfloat16,
    }  # fmt: skip
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, quantization_config=None if tuned else nf4)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            network,
            SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                learning_rate=1e-3,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                train_sampling_strategy="sequential",
                **(for_speed if tuned else {}),
            ),
            train_dataset=Dataset.from_list(columns),
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Steps()],
        )
        trainer.train()
    return meter.figures(rows)


CONTENDERS = {
    "qlora": partial(ours, method="qlora"),
    "lora": partial(ours, method="lora"),
    "trl": partial(trl, tuned=False),
    "trl-tuned": partial(trl, tuned=True),
}


def synthetic_rows(count: int, vocabulary: int = 49_000) -> list[Rendered]:
    """Rows of the lengths of a retrieval-augmented run: a shared system prompt, up to four passages, a short answer."""
    source = random.Random(SEED)

    def tokens(number: int) -> list[int]:
        return [source.randrange(100, vocabulary) for _ in range(number)]

    system, rows = tokens(200), []
    for _ in range(count):
        passages = source.choices(range(5), [10, 5, 15, 30, 40])[0]
        prompt = tokens(20 + sum(int(source.lognormvariate(3.9, 0.35)) for _ in range(passages)))
        answer = tokens(source.randint(20, 45))
        untrained = len(system) + len(prompt)
        rows.append(Rendered((*system, *prompt, *answer), (False,) * untrained + (True,) * len(answer)))
    return rows


def read_rows(path: Path) -> list[Rendered]:
    """Rows of a JSONL file of `{"ids": [...], "trained": [...]}`."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Rendered(tuple(row["ids"]), tuple(map(bool, row["trained"]))) for row in lines]


def measure(arguments: argparse.Namespace, rows: Path, who: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--worker", who, "--rows", str(rows), "--model", arguments.model]
    if arguments.set:
        command += ["--set", *arguments.set]
    # Threads that spin while they wait make both unmeasurably slow when anything else runs.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measures by turns and prints a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged name or folder of the base model")
    parser.add_argument("--rows", type=Path, help='JSONL of {"ids", "trained"}; without --config: synthetic rows')
    parser.add_argument("--config", type=Path, help="take the mixed training rows of this configuration")
    parser.add_argument("--steps", type=int, default=3, help="counted optimiser steps per measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each")
    parser.add_argument("--who", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="who takes part")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of `finetune`, for ragft alone")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        rows = read_rows(arguments.rows)
        print(json.dumps(CONTENDERS[arguments.worker](resolve_model(arguments.model), rows, arguments.set)))
        return
    needed = (arguments.steps + 1) * BATCH
    if arguments.config:
        rows = rendered(Application(load_config(arguments.config), Reporter()), "train")[:needed]
    else:
        rows = (read_rows(arguments.rows) if arguments.rows else synthetic_rows(needed))[:needed]
    found: dict[str, list[dict[str, float]]] = {who: [] for who in arguments.who}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"ids": row.ids, "trained": row.trained}) + "\n" for row in rows)
        file.flush()
        for _ in range(arguments.rounds):
            for who, runs in found.items():
                runs.append(measure(arguments, Path(file.name), who))
                print(f"{who}: {json.dumps(runs[-1])}", file=sys.stderr, flush=True)
    table = {who: summary(runs) for who, runs in found.items()}
    print(f"{'':10}{'tokens/s wall':>16}{'tokens/s cpu':>16}{'peak MiB':>12}{'of matrix rate':>16}")
    for who, line in table.items():
        share = f"{line['of_matrix_rate']:.0%}" if "of_matrix_rate" in line else ""
        print(f"{who:10}{line['wall']:16.0f}{line['cpu']:16.0f}{line['peak_mib']:12.0f}{share:>16}")
    first, *others = table
    for who in others:
        wall, cpu, peak = (table[first][key] / table[who][key] for key in ("wall", "cpu", "peak_mib"))
        print(f"{first} / {who}: {wall:.2f} wall, {cpu:.2f} cpu, {peak:.2f} of the memory")
    if arguments.json:
        arguments.json.write_text(json.dumps({"summary": table, "runs": found}, indent=2) + "\n", encoding="utf-8")


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the runs: tokens of rows per second of wall and processor time, memory, and share of matrix rate."""
    median = {
        "wall": statistics.median(run["tokens"] / run["wall_seconds"] for run in runs),
        "cpu": statistics.median(run["tokens"] / run["cpu_seconds"] for run in runs),
        "peak_mib": statistics.median(run["peak_mib"] for run in runs),
    }
    if "flops" in runs[0]:
        median["of_matrix_rate"] = statistics.median(run["flops"] / run["matrix_flops"] for run in runs)
    return median


if __name__ == "__main__":
    main()
