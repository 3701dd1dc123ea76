"""int8: what is written is read back by transformers, and by vLLM."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from support.exports import tiny_model

from ragft import engine
from ragft.config import EngineSection
from ragft.engine.base import ChatRequest, Completion
from ragft.errors import RagftError
from ragft.finetune.base import load
from ragft.finetune.export import int8

IDS = torch.tensor([[1, 70, 80, 90, 100, 110, 120, 250, 260, 7, 9]])


def exported(tmp_path: Path, kind: str = "llama") -> tuple[Path, Path]:
    model, folder = tiny_model(tmp_path / kind, kind), tmp_path / "int8"
    folder.mkdir()
    int8.write(model, folder)
    return model, folder


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 1000), st.floats(1e-4, 1e4))
def test_no_weight_moves_by_more_than_half_a_step(out: int, width: int, seed: int, size: float) -> None:
    weight = torch.randn(out, width, generator=torch.Generator().manual_seed(seed)) * size
    weight[0] = 0
    values, scale = int8.quantised(weight)
    assert values.dtype == torch.int8 and values.abs().max() <= 127 and scale.shape == (out, 1)
    assert ((values * scale - weight).abs() <= scale * 0.501).all()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_weights_of_linear_layers_are_int8_and_the_head_is_not(kind: str, tmp_path: Path) -> None:
    model, folder = exported(tmp_path, kind)
    original = load(model)
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    for name, weight in original.state_dict().items():
        if name.endswith("_proj.weight"):
            assert found[name].dtype == torch.int8
            assert torch.allclose(found[name] * found[f"{name}_scale"], weight.float(), atol=2e-2 * weight.abs().max())
        elif name in found:
            assert torch.equal(found[name], weight)
    assert (folder / "tokenizer.json").is_file() and (folder / "chat_template.jinja").is_file()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_read_back_it_computes_nearly_the_same(kind: str, tmp_path: Path) -> None:
    model, folder = exported(tmp_path, kind)
    with torch.inference_mode():
        expected = load(model).float()(IDS).logits
        found = int8.read(folder, torch.float32)(IDS).logits
    assert 0 < (found - expected).norm() / expected.norm() < 0.1


def test_activations_are_rounded_where_it_is_read_back(tmp_path: Path) -> None:
    layer = int8.read(exported(tmp_path)[1], torch.float32).model.layers[0].mlp.down_proj
    inputs = torch.randn(3, layer.in_features)
    with torch.inference_mode():
        exact, found = inputs @ layer.weight.T, layer(inputs)
    assert 1e-3 < (found - exact).norm() / exact.norm() < 2e-2


def test_a_large_model_is_written_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = int8.read(exported(tmp_path)[1], torch.float32)
    monkeypatch.setattr(int8, "SHARD_BYTES", 30_000)
    (tmp_path / "shards").mkdir()
    int8.write(tmp_path / "llama", tmp_path / "shards")
    listed = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(listed.values())) > 2
    parts = int8.read(tmp_path / "shards", torch.float32)
    with torch.inference_mode():
        assert torch.equal(parts(IDS).logits, whole(IDS).logits)


def test_experts_are_refused(tmp_path: Path) -> None:
    model = tiny_model(
        tmp_path / "moe", "qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=64
    )
    (tmp_path / "int8").mkdir()
    with pytest.raises(RagftError, match=r"qwen3_moe model cannot be exported to int8: .*experts"):
        int8.write(model, tmp_path / "int8")


@pytest.mark.slow
def test_vllm_serves_it(tmp_path: Path) -> None:
    """Greedy answers of vLLM's int8 kernels, against those of the model as it is read back."""
    _, folder = exported(tmp_path)

    async def ask() -> Completion:
        served = engine.open(folder, EngineSection(max_model_len=128, max_tokens=4, kv_cache_mib=32))
        try:
            await served.start()
            question = [{"role": "user", "content": "When does Node.js 22 end?"}]
            return await served.chat(ChatRequest(question, {"temperature": 0}))
        finally:
            await served.close()

    answer = asyncio.run(ask())
    ids = torch.tensor([answer.prompt_token_ids])
    with torch.inference_mode():
        likely = int8.read(folder, torch.float32)(ids).logits[0, -1].topk(3).indices.tolist()
    assert answer.token_ids[0] in likely
