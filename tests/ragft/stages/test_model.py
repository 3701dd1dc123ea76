"""The stage of the merged model, over a tiny base: onto which weights it merges, and what it publishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.domains import Domain
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ragft.artifacts import hash_model
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import UsageError
from ragft.finetune.fast.adapter import read_adapter, save_adapter
from ragft.finetune.fast.plain_lora import read_plain_lora
from ragft.finetune.lineage import TrainedOn
from ragft.stages import model as module
from ragft.stages.application import Application
from ragft.stages.combination import Wanted
from ragft.stages.model import merge, stop_at
from ragft.templates import Template

TEMPLATE = (
    "{% for message in messages %}{{ message.role }} {{ message.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


@dataclass
class Echo:
    """Renders as the base's tokenizer does, and answers nothing of interest."""

    tokenizer: Any
    version: str = "engine"

    def preload(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def chat(self, request: ChatRequest) -> Completion:
        return Completion({}, "w9", (), tuple(Template(self.tokenizer).prompt(request.messages)), "stop", 1.0, 1.0)


@pytest.fixture
def app(domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """An application over a random Llama, whose mix, engine and adapter need no model of a real size."""
    base = tmp_path / "base"
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=2, pad_token_id=2, bos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(base)
    words = ["<unk>", "<s>", "<|end|>", "user", "assistant", *(f"w{number}" for number in range(5, 256))]
    words_of = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    words_of.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words_of, eos_token="<|end|>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(base)
    domain.configure(model={"base": str(base)}, engine={"max_tokens": 4}, merge={"onto": "auto", "max_divergence": 9.0})
    turns = [
        ({"role": "user", "content": f"w{n} w{n + 1}"}, {"role": "assistant", "content": f"w{n + 2}"})
        for n in (10, 20, 30)
    ]
    made = domain.application()
    monkeypatch.setattr(module, "mix", lambda app: SimpleNamespace(fingerprint="mix"))
    monkeypatch.setattr(module, "rows", lambda app, part: [SimpleNamespace(messages=pair) for pair in turns])
    monkeypatch.setattr(module, "rendered", lambda app, part: [Template(tokenizer).training(pair) for pair in turns])
    monkeypatch.setattr(Application, "engine", lambda self, folder, **more: Echo(tokenizer))
    return made


@pytest.fixture
def adapter(app: Application, tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter that says what it was trained on."""

    def write(name: str, quantisation: str | None, seed: int = 1) -> Path:
        generator = torch.Generator().manual_seed(seed)
        matrices = {}
        for number in range(2):
            layer = f"model.layers.{number}.self_attn.o_proj"
            matrices[f"{layer}.A"] = torch.randn(4, 64, generator=generator)
            matrices[f"{layer}.B"] = torch.randn(64, 4, generator=generator) * 0.05
        save_adapter(matrices, tmp_path / name, "base", rank=4, alpha=4.0)
        TrainedOn(app.base_hash, quantisation, Template(app.tokenizer).hash).write(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.medium
def test_auto_publishes_one_of_both_merges_with_the_figures_of_both(
    app: Application, adapter: Callable[..., Path]
) -> None:
    model, _ = merge(app, [adapter("one", "nf4")])
    figures = model.figures
    assert set(figures["candidates"]) == {"trained", "original"}
    losses = {onto: found["validation_loss"] for onto, found in figures["candidates"].items()}
    assert losses["trained"] != losses["original"]
    assert figures["onto"] == min(losses, key=losses.__getitem__)
    assert figures["chosen"].startswith(f"Merged onto the {figures['onto']} weights")
    assert not (model.folder / "trained").exists() and not (model.folder / "original").exists()
    assert figures["version"] == hash_model(model.folder)
    assert (model.folder / "proof.jsonl").is_file() and "## Proof" in (model.folder / "README.md").read_text()
    assert merge(app, [adapter("one", "nf4")])[0].fingerprint == model.fingerprint


def test_without_quantisation_auto_merges_once(app: Application, adapter: Callable[..., Path]) -> None:
    figures = merge(app, [adapter("one", None)])[0].figures
    assert figures["onto"] == "trained" and "candidates" not in figures
    assert "both weights are the same" in figures["chosen"]


FOREIGN: dict[str, dict[str, Any]] = {
    "unsloth": {
        "base_model_name_or_path": "unsloth/llama-3-8b-bnb-4bit", "task_type": "CAUSAL_LM",
        "auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True,
                         "parent_library": "transformers.models.llama.modeling_llama"},
    },
    "axolotl": {"base_model_name_or_path": "NousResearch/Llama", "lora_dropout": 0.05, "loftq_config": {},
                "modules_to_save": None, "use_dora": False, "fan_in_fan_out": False},
    "llama-factory": {"base_model_name_or_path": "/models/llama", "revision": None, "peft_version": "0.17.1"},
}  # fmt: skip
"""What trainers write into `adapter_config.json` beside rank, scale and layers."""


@pytest.mark.medium
def test_an_adapter_of_another_trainer_comes_back_whatever_it_calls_its_base(
    app: Application, adapter: Callable[..., Path]
) -> None:
    folder = adapter("theirs", None)
    (folder / "manifest.json").unlink()
    path = folder / "adapter_config.json"
    own = json.loads(path.read_text())
    for told in FOREIGN.values():
        path.write_text(json.dumps({**own, **told}))
        assert read_plain_lora(folder).rank == 4
    path.write_text(json.dumps({**own, **FOREIGN["unsloth"]}))
    figures = merge(app, [folder])[0].figures
    assert figures["onto"] in figures["candidates"], "it is merged as finetune.method says, which is qlora"


@pytest.mark.medium
def test_what_an_interrupted_merge_left_is_made_again(app: Application, adapter: Callable[..., Path]) -> None:
    one = adapter("one", "nf4")
    model, _ = merge(app, [one])
    growing = model.folder.with_name(f".{model.fingerprint}.growing")
    shutil.move(model.folder, growing)
    (growing / "trained").mkdir()
    (growing / "trained" / "model.safetensors").write_bytes(b"half")
    again, _ = merge(app, [one])
    assert again.figures["version"] == model.figures["version"] == hash_model(again.folder)


@pytest.mark.medium
def test_several_adapters_become_one_that_says_what_it_was_trained_on(
    app: Application, adapter: Callable[..., Path]
) -> None:
    both = [adapter("one", None, 1), adapter("two", None, 2)]
    model, _ = merge(app, both, Wanted(weights=(0.25, 0.5)))
    folder = app.workspace / "adapters" / model.manifest["parents"]["adapter"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["inputs"]["weights"] == [0.25, 0.5] and manifest["figures"]["rank"] == 8
    assert TrainedOn.read(folder / "adapter") == TrainedOn.read(both[0])
    for name, delta in read_adapter(folder / "adapter").items():
        parts = [read_adapter(each)[name] for each in both]
        expected = sum(w * part.scale * (part.B @ part.A) for w, part in zip((0.25, 0.5), parts, strict=True))
        assert torch.allclose(delta.scale * (delta.B @ delta.A), expected, atol=1e-5)
    assert merge(app, both)[0].fingerprint != model.fingerprint


def test_how_to_combine_is_refused_of_one_adapter_before_it_is_trained(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "finetune", lambda app: pytest.fail("it was trained"))
    with pytest.raises(UsageError, match="of several adapters: name each with --adapter"):
        merge(app, [], Wanted(weights=(0.5,)))


@pytest.mark.parametrize(
    ("generation", "ends"),
    [
        ({"eos_token_id": 2, "do_sample": True}, [2, 7]),
        ({"eos_token_id": [2, 3]}, [2, 3, 7]),
        ({"do_sample": True}, [5, 7]),
        (None, [5, 7]),
        ({"eos_token_id": [7, 2]}, [7, 2]),
    ],
)
def test_end_of_a_turn_is_added_to_the_ends_that_a_model_names(
    tmp_path: Path, generation: dict[str, object] | None, ends: list[int]
) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    path = tmp_path / "generation_config.json"
    if generation is not None:
        path.write_text(json.dumps(generation))
    stop_at(tmp_path, 7)
    assert json.loads(path.read_text()) == {**(generation or {}), "eos_token_id": ends}
