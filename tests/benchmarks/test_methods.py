"""The benchmark of methods: its batched answers are those of one prompt at a time, and a tiny run goes through."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support.lifecycle import make_small
from support.tiny_chat import tiny_chat
from support.training import END, save_llama, settings_maker

from ragft.finetune.fast import decoder
from ragft.finetune.peft_backend import forward
from ragft.finetune.peft_backend.attach import attach
from ragft.models import resolve_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "methods.py"
PROMPTS = [[5, 9, 11, 7, 30], [8, 3], [12, 40, 41, 4, 9, 22, 17, 6, 31], [50]]


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("methods", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.medium
@pytest.mark.parametrize(
    "method", ["lora", "dora", "ia3", "prompt-tuning", "p-tuning", "prefix-tuning", "adapter", "full"]
)
def test_batched_answers_are_those_of_one_prompt_at_a_time(
    methods: ModuleType, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_llama(tmp_path, vocab_size=60, num_hidden_layers=2)
    model = decoder.load(folder, torch.float32, attention_name="eager")
    settings = settings_maker(virtual_tokens=5)(method=method)
    live = attach(model, settings, 8.0, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in live.parameters():
            # What is trained is not what it began as, and no next token is about as likely as another.
            changed = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(parameter + changed if parameter.requires_grad else parameter * 5)
    monkeypatch.setattr(methods, "PROMPTS_AT_ONCE", {"cpu": 3})
    expected = forward.greedy(live, PROMPTS, [END], 12, torch.float32)
    assert len({tuple(answer) for answer in expected}) > 1
    assert methods.greedy(live, PROMPTS, [END], 12, torch.float32) == expected


@pytest.mark.slow
def test_a_tiny_table_is_filled_and_goes_on_where_it_was_interrupted(methods: ModuleType, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tiny_chat(tmp_path / "base", AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct")))
    small = make_small(tmp_path / "desk", products=3, examples=24, questions=4)
    asked = [{"id": n, "question": f"{n} and one?", "choices": ["one", f"{n + 1}"], "answer": "B"} for n in range(4)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    common = ["--config", small.config, "--base", base, "--rows", 8, "--questions", 3, "--max-tokens", 4]
    files = ["--workspace", tmp_path / "out", "--general-file", tmp_path / "sums.jsonl"]
    files += ["--json", tmp_path / "all.json"]

    def run(*chosen: str) -> list[dict[str, object]]:
        command = [sys.executable, SCRIPT, *common, *files, "--methods", *chosen]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=800, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: list[dict[str, object]] = json.loads((tmp_path / "all.json").read_text())
        return found

    first = run("lora")
    found = run("lora", "layers", "prefix-tuning")
    assert found[:2] == first, "what was measured was measured again"
    assert [row["method"] for row in found] == ["none", "lora", "layers", "prefix-tuning"]
    for row in found:
        assert "failed" not in row, row
        assert [len(row[key]) for key in ("exact_match", "form", "general")] == [3, 3, 4]  # type: ignore[arg-type]
    for row in found[1:]:
        assert all(float(row[key]) > 0 for key in ("seconds", "cpu_seconds", "peak_mib", "disk_mib"))  # type: ignore[arg-type]
    assert not list((tmp_path / "out" / "trained").iterdir())
