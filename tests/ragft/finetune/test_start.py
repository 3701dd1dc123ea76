"""Training that begins from an adapter goes on where that was, and refuses one of another form or origin."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from support.training import save_llama, settings_maker

from ragft.errors import RagftError, UsageError
from ragft.finetune.fast import trainer as fast
from ragft.finetune.lineage import TrainedOn
from ragft.finetune.methods import METHODS
from ragft.finetune.peft_backend import trainer as peft
from ragft.finetune.report import TrainReport
from ragft.finetune.start import check_start, content_of, parent_of
from ragft.messages import Rendered

Rows = Callable[..., list[Rendered]]
Train = Callable[..., TrainReport]

settings = settings_maker(
    method="lora", epochs=4, learning_rate=1e-2, max_seq_length=64, eval_count=2, device="cpu", virtual_tokens=4
)
BACK_ENDS = {"fast": fast, "peft": peft}
NOWHERE = {"learning_rate": 1e-12, "epochs": 1, "lr_scheduler": "constant"}
"""A training that stays where it begins."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama-float32")
    return save_llama(folder, vocab_size=256, num_hidden_layers=2, max_position_embeddings=512)


@pytest.fixture
def train(base: Path, make_rows: Rows, tmp_path: Path) -> Train:
    """Trains on the same rows in a folder of its own each time."""
    count = iter(range(99))

    def run(back_end: ModuleType = fast, folder: Path | None = None, **changes: Any) -> TrainReport:
        where = folder or tmp_path / str(next(count))
        others = changes.pop("others", {})
        return back_end.train(base, make_rows(16), make_rows(4, seed=1), settings(**changes), seed=0, folder=where,
                              **others)  # fmt: skip

    return run


@pytest.mark.medium
@pytest.mark.parametrize("first", BACK_ENDS)
@pytest.mark.parametrize("second", BACK_ENDS)
def test_another_training_begins_where_the_first_one_was_and_lowers_the_loss_further(
    train: Train, first: str, second: str
) -> None:
    before = train(BACK_ENDS[first])
    stayed = train(BACK_ENDS[second], start_from=before.adapter, **NOWHERE)
    assert stayed.best_loss == pytest.approx(before.best_loss, abs=1e-3)
    after = train(BACK_ENDS[second], start_from=before.adapter)
    assert after.steps == before.steps, "its schedule is its own"
    assert after.best_loss < before.best_loss - 0.02
    assert after.history[-1].train_loss < before.history[-1].train_loss - 0.02


@pytest.mark.medium
@pytest.mark.parametrize(
    "method", ["qlora", "dora", "rslora", "lora+", "ia3", "prompt-tuning", "prefix-tuning", "adapter"]
)
def test_every_method_whose_files_hold_all_that_it_trains_goes_on(train: Train, method: str) -> None:
    before = train(peft, method=method)
    stayed = train(peft, method=method, start_from=before.adapter, **NOWHERE)
    assert stayed.best_loss == pytest.approx(before.best_loss, abs=1e-3)
    assert before.best_loss != pytest.approx(train(peft, method=method, **NOWHERE).best_loss, abs=1e-4)


def test_a_method_whose_files_hold_less_is_found_out(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    before = train(peft, method="p-tuning", epochs=1)
    monkeypatch.setitem(METHODS, "p-tuning", replace(METHODS["p-tuning"], begins_anew=None))
    with pytest.raises(RagftError, match=r"do not hold all that finetune\.method = p-tuning trains"):
        train(peft, method="p-tuning", start_from=before.adapter)


@pytest.mark.medium
@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rank": 8}, r"its rank is 4, and .* 8: set finetune\.rank to 4"),
        ({"alpha": 1.0}, r"its alpha is 8.*, and here it would be 1.*: set finetune\.alpha to 8"),
    ],
)
def test_another_rank_or_alpha_is_refused_with_the_one_to_set(
    train: Train, back_end: str, changes: dict[str, Any], sentence: str
) -> None:
    before, steps = train(epochs=1), list[int]()
    told = {"progress": lambda state: steps.append(state.step)}
    with pytest.raises(RagftError, match=sentence):
        train(BACK_ENDS[back_end], start_from=before.adapter, others=told, **changes)
    assert steps == []


@pytest.mark.medium
@pytest.mark.parametrize(
    ("first", "then", "sentence"),
    [
        ({}, {"target_modules": ["q_proj"]}, r"it changes .* which would stay: set finetune\.target_modules"),
        ({"target_modules": ["q_proj"]}, {}, r"it lacks .*: set finetune\.target_modules"),
        ({"method": "dora"}, {}, r"its use_dora is True, and that of finetune\.method is False"),
        ({}, {"method": "rslora"}, r"its use_rslora is False, .* True: set finetune\.method"),
        ({"method": "ia3"}, {}, r"its peft_type is IA3, and that of finetune\.method is LORA: set finetune\.method"),
        (
            {"method": "prompt-tuning"},
            {"method": "prompt-tuning", "virtual_tokens": 5},
            r"set finetune\.virtual_tokens to 4",
        ),
    ],
)  # fmt: skip
def test_an_adapter_of_another_form_is_refused(
    train: Train, first: dict[str, Any], then: dict[str, Any], sentence: str
) -> None:
    before = train(peft, epochs=1, **first)
    with pytest.raises(RagftError, match=sentence):
        train(peft, start_from=before.adapter, **then)


def test_the_fast_loop_refuses_other_layers_too(train: Train) -> None:
    before = train(peft, epochs=1, target_modules=["q_proj"])
    with pytest.raises(RagftError, match=r"it lacks .*: set finetune\.target_modules"):
        train(start_from=before.adapter)


@pytest.mark.medium
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_an_adapter_of_another_base_model_is_refused_by_its_shapes(
    train: Train, make_rows: Rows, tmp_path: Path, back_end: str
) -> None:
    before = train(epochs=1)
    wider = save_llama(tmp_path / "wider", vocab_size=256, num_hidden_layers=2, head_dim=32)
    with pytest.raises(RagftError, match="use the base model"):
        BACK_ENDS[back_end].train(
            wider, make_rows(4), [], settings(start_from=before.adapter), seed=0, folder=tmp_path / "run"
        )


@pytest.mark.medium
def test_a_checkpoint_counts_the_adapter_by_content_and_not_by_name(train: Train, tmp_path: Path) -> None:
    before, run, said = train(epochs=1), tmp_path / "run", list[str]()
    train(start_from=before.adapter, folder=run)
    moved = tmp_path / "moved"
    shutil.copytree(before.adapter, moved)
    train(start_from=moved, folder=run, others={"say": said.append})
    assert any("resumes after step" in line for line in said)
    values = load_file(moved / "adapter_model.safetensors")
    save_file({name: 2 * value for name, value in values.items()}, moved / "adapter_model.safetensors")
    train(start_from=moved, folder=run, others={"say": said.append})
    assert "differs in the adapter that it begins from: training starts at step 1" in said[-1]


NOW = TrainedOn("base1", None, "template1")


def _published(adapter: Path, folder: Path, lineage: TrainedOn = NOW) -> Path:
    """The adapter as `ragft finetune` leaves it."""
    shutil.copytree(adapter, folder / "adapter")
    lineage.write(folder / "adapter")
    return folder


def test_an_adapter_of_another_origin_is_refused(train: Train, tmp_path: Path) -> None:
    folder = _published(train(epochs=1).adapter, tmp_path / "published")
    assert check_start(settings(start_from=folder), NOW) is None
    assert check_start(settings(), NOW) is None
    for other, sentence in (
        (replace(NOW, base="base2"), "trained on another base model"),
        (replace(NOW, template="template2"), "trained with another chat template"),
        (replace(NOW, quantisation="nf4"), r"in 16 bits or more, .* weights in nf4: set finetune\.method to lora"),
    ):
        with pytest.raises(RagftError, match=sentence):
            check_start(settings(start_from=folder), other)
    (folder / "adapter" / "manifest.json").unlink()
    assert "does not say what it was trained on" in (check_start(settings(start_from=folder), NOW) or "")
    assert content_of(folder) == content_of(folder / "adapter")
    assert parent_of(folder) is None


@pytest.mark.parametrize(
    ("method", "advice"),
    [
        ("full", "set model.base to the merged"), ("dpo", "compares with the base"), ("grpo", "compares with the base"),
        ("pissa", "go on with lora"), ("p-tuning", "go on from an adapter of prompt-tuning"),
    ],
)  # fmt: skip
def test_a_method_that_cannot_begin_from_an_adapter_says_what_to_do(tmp_path: Path, method: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=f"start_from is set, but {method} .*{advice}"):
        settings(method=method, start_from=tmp_path)


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"adapter_model\.safetensors and adapter_config\.json are missing"):
        check_start(settings(start_from=tmp_path), NOW)
