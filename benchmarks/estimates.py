"""Estimates of training beside what is then measured: memory at the peak, and time.

    python benchmarks/estimates.py [--base FOLDER]

Each case trains in a process of its own, on random rows, whose lengths are drawn as of a real mix. Without --base two
random models of different sizes are trained, each on two sizes of data.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_MODELS = {
    "2 layers of 256": {"layers": 2, "width": 256, "inner": 704, "heads": 4, "vocabulary": 8192},
    "8 layers of 512": {"layers": 8, "width": 512, "inner": 1408, "heads": 8, "vocabulary": 32000},
}
_CASES = (
    {"rows": 64, "longest": 200, "batch_size": 4, "token_budget": 512, "rank": 16, "method": "lora"},
    {"rows": 96, "longest": 400, "batch_size": 8, "token_budget": 1024, "rank": 16, "method": "qlora"},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="folder of a model to train instead of random ones")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return 0
    print("| model | case | memory: estimate | measured | off by | time: estimate | measured | off by |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bases = {arguments.base.name: arguments.base} if arguments.base else random_models(Path(folder))
        for name, base in bases.items():
            for case in _CASES:
                told = json.dumps({"base": str(base), **case})
                child = [sys.executable, __file__, "--case", told]
                found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
                print(row(name, case, found), flush=True)
    return 0


def row(name: str, case: dict[str, Any], found: dict[str, float]) -> str:
    """One line of the table."""
    what = f"{case['method']}, {case['rows']} rows up to {case['longest']}, budget {case['token_budget']}"
    cells = [name, what]
    for kind, unit in (("mib", "MiB"), ("seconds", "s")):
        guess, real = found[f"estimated_{kind}"], found[f"measured_{kind}"]
        cells += [f"{guess:,.0f} {unit}", f"{real:,.0f} {unit}", f"{guess / real - 1:+.0%}"]
    return f"| {' | '.join(cells)} |"


def random_models(folder: Path) -> dict[str, Path]:
    """Random Llama models, by their names."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for name, size in _MODELS.items():
        config = LlamaConfig(
            num_hidden_layers=size["layers"], hidden_size=size["width"], intermediate_size=size["inner"],
            num_attention_heads=size["heads"], num_key_value_heads=size["heads"] // 2, vocab_size=size["vocabulary"],
        )  # fmt: skip
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / name)
    return {name: folder / name for name in _MODELS}


def measure(base: str, rows: int, longest: int, **settings: Any) -> dict[str, float]:
    """Estimates one training, then runs it; the peak is that of this process."""
    from ragft.console import prepare_process

    prepare_process()
    from ragft.config import FinetuneSection
    from ragft.finetune.estimate import ModelSizes, measured_rate, memory, seconds
    from ragft.finetune.fast.trainer import train

    folder, section = Path(base), FinetuneSection(**settings)
    sizes = ModelSizes.of(folder)
    made = random_rows(rows, longest, sizes.vocabulary)
    held_out = random_rows(max(4, rows // 8), longest, sizes.vocabulary)
    guess = memory(sizes, made, section)
    rate = measured_rate(folder, sizes, made, section, seed=0)
    expected = seconds(sizes, made, held_out, section, rate=rate)
    with tempfile.TemporaryDirectory() as target:
        report = train(folder, made, held_out, section, seed=0, folder=Path(target))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "estimated_mib": guess.total, "measured_mib": peak,
        "estimated_seconds": expected, "measured_seconds": report.seconds,
    }  # fmt: skip


def random_rows(count: int, longest: int, vocabulary: int) -> list[Any]:
    """Rows with a common prefix of a third of the longest, of which an eighth is trained."""
    from ragft.prompts import Rendered

    draw = random.Random(count)
    prefix = [draw.randrange(vocabulary) for _ in range(longest // 3)]
    rows = []
    for _ in range(count):
        length = draw.randint(longest // 2, longest)
        ids = [*prefix, *(draw.randrange(vocabulary) for _ in range(length - len(prefix)))]
        trained = longest // 8
        rows.append(Rendered(tuple(ids), (False,) * (length - trained) + (True,) * trained))
    return rows


if __name__ == "__main__":
    sys.exit(main())
