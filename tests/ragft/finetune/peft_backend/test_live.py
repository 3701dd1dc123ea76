"""What was trained is merged exactly, and loaded as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.precision import Bfloat16
from transformers import AutoModelForCausalLM

from ragft.config import FinetuneSection
from ragft.errors import RagftError
from ragft.finetune.lineage import LiveModel
from ragft.finetune.merge import merge
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend.divergence import compare
from ragft.finetune.peft_backend.live import load_live, merged_model
from ragft.finetune.peft_backend.trainer import PeftRun, train
from ragft.finetune.report import TrainReport
from ragft.prompts import Rendered

Rows = Callable[..., list[Rendered]]
pytestmark = pytest.mark.slow  # together, the methods take minutes

IDS = torch.tensor([[5, 9, 77, 130, 200, 31, 4, 250]])
MERGED = [name for name, method in METHODS.items() if method.served == "merged" and method.rows == "answers"]
NOT_SERVED = [name for name, method in METHODS.items() if method.served == "not"]


@torch.no_grad()
def _logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=IDS).logits.float()


@pytest.fixture
def trained(
    float_folder: Path, make_rows: Rows, make_settings: Callable[..., FinetuneSection], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, bfloat16_is: Bfloat16,
) -> Callable[..., tuple[LiveModel, torch.Tensor]]:  # fmt: skip
    """Trains a method; returns what can be loaded, and the logits of the model in memory at the end."""
    bfloat16_is("emulated")  # in float32 alone can two ways of computing the same be told from two models

    def make(method: str, base: Path = float_folder) -> tuple[LiveModel, torch.Tensor]:
        runs: list[PeftRun] = []
        report_of = PeftRun.report

        def report(run: PeftRun, *left_out: int) -> TrainReport:
            runs.append(run)
            return report_of(run, *left_out)

        monkeypatch.setattr(PeftRun, "report", report)
        settings = make_settings(method=method, epochs=6, learning_rate=1e-2, virtual_tokens=3)
        done = train(base, make_rows(12), [], settings, seed=0, folder=tmp_path / "run")
        live = LiveModel(base, done.adapter, METHODS[method].quantisation is not None, "peft")
        return live, _logits(runs[0].model)

    return make


@pytest.mark.parametrize("method", MERGED)
def test_the_merged_model_computes_what_the_trained_one_did(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], tmp_path: Path, method: str
) -> None:
    live, at_the_end = trained(method)
    base = _logits(AutoModelForCausalLM.from_pretrained(live.base, dtype=torch.float32))
    assert (at_the_end - base).abs().max() > 0.05, "it learnt something"
    torch.testing.assert_close(_logits(load_live(live)), at_the_end, rtol=0, atol=2e-5)
    torch.testing.assert_close(_logits(merged_model(live)), at_the_end, rtol=0, atol=2e-5)
    merge(live, tmp_path / "merged")
    folder = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert type(folder).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(_logits(folder), at_the_end, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["pissa", "olora", "lora", "lora+", "qlora", "rslora"])
def test_what_is_plain_lora_is_merged_the_same_by_the_fast_layers(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], llama_folder: Path, tmp_path: Path, method: str
) -> None:
    live, _ = trained(method, llama_folder)
    for backend in ("peft", "fast"):
        merge(LiveModel(live.base, live.adapter, live.quantised, backend), tmp_path / backend)
    peft, fast = (load_file(tmp_path / backend / "model.safetensors") for backend in ("peft", "fast"))
    assert peft.keys() == fast.keys()
    for name in peft:
        torch.testing.assert_close(peft[name], fast[name], rtol=2**-7, atol=2**-12)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_architectures_that_the_fast_layers_do_not_know_are_merged_exactly(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], unusual_folder: Path, tmp_path: Path, method: str
) -> None:
    live, at_the_end = trained(method, unusual_folder)
    merge(live, tmp_path / "merged")
    folder = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(_logits(folder), at_the_end, rtol=0, atol=5e-5)
    assert compare(live, tmp_path / "merged", [[5, 9, 77]], max_tokens=4).divergence < 1e-4


@pytest.mark.parametrize("method", NOT_SERVED)
def test_what_is_no_change_of_weights_loads_and_cannot_be_merged(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], method: str
) -> None:
    live, at_the_end = trained(method)
    found = _logits(load_live(live))
    torch.testing.assert_close(found[:, -8:], at_the_end[:, -8:], rtol=0, atol=2e-5)
    with pytest.raises(RagftError, match="cannot be merged: it is no change of weights"):
        merged_model(live)


@pytest.mark.parametrize("method", ["dora", "full", "qlora"])
def test_live_and_merged_model_diverge_by_rounding_alone(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], tmp_path: Path, method: str
) -> None:
    live, _ = trained(method)
    merge(live, tmp_path / "merged")
    prompts = [[5, 9, 77], [130, 200, 31, 4, 8]]
    same = compare(live, tmp_path / "merged", prompts, max_tokens=6)
    assert same.divergence < 1e-3
    assert [len(ids) <= 6 for ids in same.live_ids] == [True, True]
    other = compare(live, live.base, prompts, max_tokens=6)
    assert other.divergence > 10 * same.divergence
    with pytest.raises(RagftError, match="without prompts"):
        compare(live, live.base, [], max_tokens=6)


@pytest.mark.parametrize("damage", ["a tensor is missing", "of another shape", "half a file", "no configuration"])
@pytest.mark.parametrize("method", ["dora", "layers"])
def test_a_damaged_adapter_is_refused(
    trained: Callable[..., tuple[LiveModel, torch.Tensor]], method: str, damage: str
) -> None:
    live, _ = trained(method)
    path = live.adapter / "adapter_model.safetensors"
    values = load_file(path)
    first = sorted(values)[0]
    if damage == "a tensor is missing":
        if method == "layers":
            pytest.skip("which layers were trained is what the file says")
        del values[first]
        save_file(values, path)
    elif damage == "of another shape":
        save_file({**values, first: values[first][..., :-1].contiguous()}, path)
    elif damage == "half a file":
        path.write_bytes(path.read_bytes()[:100])
    else:
        (live.adapter / "adapter_config.json").unlink()
    with pytest.raises(RagftError, match=str(live.adapter)):
        load_live(live)
