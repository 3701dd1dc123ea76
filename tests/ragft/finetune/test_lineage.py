"""Lineage: an adapter says what it was trained on, and is merged onto nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.domains import Quiet

from ragft.artifacts import MANIFEST
from ragft.config import Config
from ragft.errors import RagftError
from ragft.finetune.lineage import LiveModel, TrainedOn
from ragft.finetune.proof import Proof, ProvenPrompt
from ragft.prompts import Rendered
from ragft.stages import adapter as training
from ragft.stages import model as stage
from ragft.stages.application import Application
from ragft.templates import Template

TOKENIZER = SimpleNamespace(chat_template="{{ messages }}")
HERE = TrainedOn(base="base1", quantisation="nf4", template=Template(TOKENIZER).hash)
TEXT = st.text(min_size=1)


@given(lineage=st.builds(TrainedOn, base=TEXT, quantisation=st.sampled_from([None, "nf4"]), template=TEXT))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, lineage: TrainedOn) -> None:
    folder = tmp_path_factory.mktemp("adapter")
    lineage.write(folder)
    assert TrainedOn.read(folder) == lineage
    lineage.check_matches(lineage, folder)


def test_an_adapter_without_a_manifest_has_no_lineage(tmp_path: Path) -> None:
    assert TrainedOn.read(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"half a mani",
        b"\xff",
        b"[]",
        b'{"kind": "adapter"}',
        b'{"trained_on": {"base": "b"}}',
        b'{"trained_on": {"base": "b", "quantisation": null, "template": "t", "new": 1}}',
    ],
    ids=["no JSON", "no text", "a list", "without the part", "with a part missing", "with a part too many"],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(RagftError, match=r"manifest of the adapter in .* cannot be read .*restore it, or delete it"):
        TrainedOn.read(tmp_path)


def test_a_quantisation_of_a_later_version_is_refused(tmp_path: Path) -> None:
    replace(HERE, quantisation="int3").write(tmp_path)
    with pytest.raises(RagftError, match="trained on weights in 'int3', which this version does not know"):
        TrainedOn.read(tmp_path)


def test_an_adapter_of_an_earlier_version_was_trained_by_the_fast_loop(tmp_path: Path) -> None:
    HERE.write(tmp_path)
    content = json.loads((tmp_path / MANIFEST).read_text())
    del content["trained_on"]["backend"]
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    assert TrainedOn.read(tmp_path) == HERE


def test_a_back_end_of_a_later_version_is_refused(tmp_path: Path) -> None:
    replace(HERE, backend="other").write(tmp_path)
    with pytest.raises(RagftError, match="trained by the back end 'other', which this version does not know"):
        TrainedOn.read(tmp_path)


def test_an_adapter_of_another_base_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=r"another base model \(content hash base2, not base1\): set model\.base"):
        replace(HERE, base="base2").check_matches(HERE, tmp_path)


def test_an_adapter_of_another_chat_template_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RagftError, match=r"another chat template \(content hash other, .*restore the base model's"):
        replace(HERE, template="other").check_matches(HERE, tmp_path)


def test_another_method_of_the_configuration_is_no_reason_to_refuse(tmp_path: Path) -> None:
    HERE.check_matches(replace(HERE, quantisation=None), tmp_path)


class Merging:
    """The stage around a merge and a proof that only note what they were given."""

    def __init__(self, folder: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lives: list[LiveModel] = []
        self.adapter = folder / "adapter"
        self.adapter.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (self.adapter / name).write_text("{}")
        config = {"name": "desk", "workspace": str(folder / "out"), "finetune": {"method": method}}
        self.app = Application(Config.model_validate(config), Quiet())
        self.app.base, self.app.base_hash, self.app.tokenizer = folder / "base", HERE.base, TOKENIZER
        monkeypatch.setattr(Application, "engine", lambda *_: None)
        monkeypatch.setattr(stage, "mix", lambda _: SimpleNamespace(fingerprint="mix1"))
        monkeypatch.setattr(stage, "rows", lambda *_: [])
        monkeypatch.setattr("ragft.finetune.merge.merge", self._merge)
        monkeypatch.setattr(stage, "card_of", lambda *_: "a card")
        monkeypatch.setattr("ragft.finetune.proof.prove", self._prove)

    def _merge(self, live: LiveModel, folder: Path, **_: object) -> None:
        folder.mkdir(parents=True)
        self.lives.append(live)

    def _prove(self, live: LiveModel, *_: object, **__: object) -> Proof:
        self.lives.append(live)
        measures = {"divergence": 0.0, "divergence_max": 0.0, "reference_divergence": 0.0, "top1_agreement": 1.0}
        return Proof("version1", measures, (ProvenPrompt("a", "a", "a", True),))

    def run(self) -> dict[str, Any]:
        """Merges the adapter; returns the manifest of the model."""
        return stage.merge(self.app, [self.adapter])[0].manifest


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("quantisation", [None, "nf4"])
def test_quantisation_comes_from_the_adapters_manifest_and_not_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, quantisation: str | None
) -> None:
    merging = Merging(tmp_path, method, monkeypatch)
    replace(HERE, quantisation=quantisation).write(merging.adapter)
    manifest = merging.run()
    assert manifest["inputs"]["quantised"] == quantisation
    assert merging.lives == [LiveModel(tmp_path / "base", merging.adapter, quantisation == "nf4")] * 2


@pytest.mark.parametrize(("method", "quantised"), [("lora", False), ("qlora", True)])
def test_an_adapter_that_says_nothing_is_merged_as_the_configuration_says_which_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, quantised: bool
) -> None:
    merging = Merging(tmp_path, method, monkeypatch)
    merging.run()
    assert [live.quantised for live in merging.lives] == [quantised] * 2
    assert any(f"finetune.method = {method}" in line for line in merging.app.reporter.said)


def test_an_adapter_of_another_base_is_neither_merged_nor_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging = Merging(tmp_path, "qlora", monkeypatch)
    replace(HERE, base="base2").write(merging.adapter)
    with pytest.raises(RagftError, match="another base model"):
        merging.run()
    assert merging.lives == []
    assert merging.app.registry.current() is None


def test_what_a_model_was_made_with_stands_in_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merging = Merging(tmp_path, "qlora", monkeypatch)
    HERE.write(merging.adapter)
    figures = json.loads(json.dumps(merging.run()))["figures"]
    assert figures["template"] == HERE.template
    assert figures["version"] == "version1"
    assert merging.app.registry.differences(merging.app.registry.deployed(), merging.app.config) == []


@pytest.mark.medium
@pytest.mark.parametrize(
    ("method", "backend", "said"),
    [("lora", "fast", 0), ("dora", "peft", 0), ("layers", "peft", 0), ("prompt-tuning", "peft", 1)],
)
def test_an_adapter_says_which_back_end_trained_it(
    llama_folder: Path, make_rows: Callable[..., list[Rendered]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, backend: str, said: int,
) -> None:  # fmt: skip
    settings = {"method": method, "max_seq_length": 64, "eval_samples": 0}
    config = {"name": "desk", "workspace": str(tmp_path / "out"), "finetune": settings}
    app = Application(Config.model_validate(config), Quiet())
    app.base, app.base_hash, app.tokenizer = llama_folder, "base1", TOKENIZER
    monkeypatch.setattr(training, "mix", lambda app: SimpleNamespace(fingerprint="mix1"))
    monkeypatch.setattr(training, "rendered", lambda app, part: make_rows(8 if part == "train" else 2))
    artifact = training.finetune(app)
    lineage = TrainedOn.read(artifact.folder / "adapter")
    assert lineage is not None and lineage.backend == artifact.figures["backend"] == backend
    assert sorted(path.name for path in artifact.folder.iterdir()) == [
        "adapter", "manifest.json", "steps.jsonl", "training.html"
    ]  # fmt: skip
    reporter: Any = app.reporter
    assert len([line for line in reporter.said if "cannot be served" in line]) == said
