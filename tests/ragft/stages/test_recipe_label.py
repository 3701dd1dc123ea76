"""The report names the recipe that the model which answered was trained by, whatever the configuration says now."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.evaluated import evaluated

from ragft.artifacts import build

SHORT = {"short": {"finetune.epochs": 0.5}}


@pytest.mark.medium
@pytest.mark.parametrize(("trained_by", "label"), [("short", ', trained by the recipe "short"'), (None, "")])
def test_the_report_names_the_recipe_of_the_deployed_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_by: str | None, label: str
) -> None:
    run = evaluated(tmp_path, monkeypatch)
    app = run.application()
    app.registry.deploy(build(app.workspace / "models", "model", {}, lambda folder: {"recipe": trained_by})[0])
    for sections in ({}, {"recipe": "short", "recipes": SHORT}):
        artifact = run(**sections)
        assert f"7 questions, 4 setups{label}" in (artifact.folder / "report.html").read_text().replace("&#34;", '"')
        assert ("trained by" in (artifact.folder / "report.html").read_text()) == bool(label)
        assert artifact.manifest["inputs"].get("recipe") == trained_by


def test_answers_of_the_base_model_alone_were_trained_by_no_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(tmp_path, monkeypatch)
    app = run.application()
    app.registry.deploy(build(app.workspace / "models", "model", {}, lambda folder: {"recipe": "short"})[0])
    artifact = run(evaluate={"setups": ["prompt-only", "rag-only"]})
    assert "trained by" not in (artifact.folder / "report.html").read_text()
