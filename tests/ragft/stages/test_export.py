"""An export is published whole with what it loses, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Ended
from support.domains import Domain
from support.exports import tiny_model, tiny_tokenizer

from ragft.artifacts import Artifact
from ragft.data.jsonl import to_lines
from ragft.errors import RagftError, UsageError
from ragft.finetune.export.formats import FORMS, form_of
from ragft.finetune.export.loss import Limits, Loss, check
from ragft.messages import turn
from ragft.stages.application import Application
from ragft.stages.export import Allowed, export
from ragft.templates import Template

LENIENT = Allowed(divergence=99.0, format_loss=1.0, exact_loss=1.0)


@pytest.fixture
def app(domain: Domain) -> Application:
    domain.configure(answer={"format": ".*"}, merge={"prompts": 3}, engine={"max_tokens": 4, "max_model_len": 256})
    return domain.application()


@pytest.fixture
def model(app: Application) -> Artifact:
    """A published model with the prompts that were held out of its training."""
    folder = tiny_model(app.workspace / "models" / "abc")
    rows = [
        {
            "example_id": str(number), "kind": "gold", "passages": [], "gold": [],
            "messages": [turn("user", f"When does Node.js {number} end?"), turn("assistant", "2027-04-30")],
        }
        for number in range(5)
    ]  # fmt: skip
    mixed = app.workspace / "data" / "mixed"
    mixed.mkdir(parents=True)
    (mixed / "validation.jsonl").write_bytes(to_lines(rows))
    figures = {"template": Template(tiny_tokenizer()).hash, "divergence": 0.0}
    manifest = {"fingerprint": "abc", "created": "2026", "inputs": {"mix": "mixed"}, "parents": {}, "figures": figures}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "LICENSE").write_text("Apache-2.0")
    return Artifact(folder, manifest)


@pytest.mark.medium
@pytest.mark.parametrize("name", FORMS)
def test_an_export_carries_what_it_loses(app: Application, model: Artifact, name: str) -> None:
    folder = export(app, model, FORMS[name], allowed=LENIENT)
    manifest = json.loads((folder / "manifest.json").read_text())
    figures = manifest["figures"]
    assert manifest["form"] == name and manifest["parents"] == {"model": "abc"}
    assert figures["prompts"] == 3 and -1e-6 < figures["divergence"] <= figures["divergence_max"]
    assert figures["format_valid_merged"] is not None and figures["exact_match_exported"] == 0
    assert (folder / "LICENSE").is_file()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.usefixtures("model")
def test_the_command_says_what_was_measured(ragft: Callable[..., Ended], domain: Domain, tmp_path: Path) -> None:
    to = tmp_path / "export"
    options = ("--format", "gguf", "--to", to, "--max-divergence", 9, "-c", domain.config)
    ended = ragft("models", "export", "abc", *options)
    assert ended.status == 0, ended.err
    assert "gguf-q8_0" in ended.out and "over 3 held-out prompts" in ended.out and str(to) in ended.out
    assert (to / "model.gguf").is_file()
    again = ragft("models", "export", "abc", *options)
    assert again.status == 2 and "exists already" in again.err


def test_what_loses_too_much_is_refused_and_leaves_nothing(app: Application, model: Artifact, tmp_path: Path) -> None:
    to = tmp_path / "new" / "export"
    with pytest.raises(RagftError, match=r"diverges from the merged model by 0\.\d+ nats per token \(limit 0\)"):
        export(app, model, FORMS["gguf-q8_0"], to, Allowed(divergence=0.0))
    assert not list(to.parent.iterdir())


def test_an_interrupted_export_leaves_nothing(
    app: Application, model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ragft.stages.export._measured", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(app, model, FORMS["gguf-f16"], tmp_path / "new" / "export")
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_exists_is_never_written_into(app: Application, model: Artifact, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export(app, model, FORMS["int8"], tmp_path / "mine")


def test_without_the_held_out_prompts_nothing_is_exported(app: Application, model: Artifact) -> None:
    (app.workspace / "data" / "mixed" / "validation.jsonl").unlink()
    with pytest.raises(RagftError, match="held-out prompts of model abc are gone"):
        export(app, model, FORMS["int8"])


def test_another_template_than_the_trained_one_is_refused(app: Application, model: Artifact) -> None:
    model.manifest["figures"]["template"] = "another"
    with pytest.raises(UsageError, match="another chat template"):
        export(app, model, FORMS["int8"])


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Loss(50, float("nan"), 1.0, 1.0, None, (1.0, 1.0), 50), "diverges"),
        (Loss(50, 0.0, 0.0, 1.0, (1.0, 0.9), (1.0, 1.0), 45), "90% of the prompts in the house format"),
        (Loss(50, 0.0, 0.0, 1.0, None, (0.9, 0.8), 45), "80% of the prompts right"),
    ],
)
def test_each_limit_is_held(loss: Loss, why: str) -> None:
    with pytest.raises(RagftError, match=why):
        check(loss, Limits(0.02, 0.02, 0.05))


def test_a_form_that_is_none_is_refused() -> None:
    assert form_of("gguf", None) is FORMS["gguf-q8_0"]
    with pytest.raises(UsageError, match="int8, which has no types"):
        form_of("int8", "f16")
