"""The card of a merged model, from its manifest and those of what it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import MANIFEST, Artifact, artifacts_in, find
from ragft.errors import RagftError
from ragft.finetune.card import CARD, Described, license_of, model_card
from ragft.stages.application import Application


def write_card(app: Application, model: Artifact) -> str:
    """Writes a published model's card anew, with the evaluations that there are now; returns it."""
    text = card_of(app, model.figures, model.manifest["inputs"], model.manifest["parents"])
    write_file(model.folder / CARD, text.encode())
    return text


def card_of(app: Application, figures: dict[str, Any], inputs: dict[str, Any], parents: dict[str, str]) -> str:
    """The card of a model with these figures, inputs and parents; see `Artifact.manifest`."""
    adapter = find(app.workspace / "adapters", parents.get("adapter", ""))
    mix = find(app.workspace / "data", inputs.get("mix", ""))
    recipe = {} if adapter is None else dict(adapter.manifest["inputs"])
    method = str(recipe.get("finetune.method") or recipe.get("combine") or "adapter from elsewhere")
    base = str(figures.get("trained_with", {}).get("model.base") or figures.get("base") or "unknown")
    described = Described(
        name=app.config.name,
        base=base if not Path(base).is_absolute() else Path(base).name,
        base_license=_license(app, base),
        method=method,
        data=_data(mix),
        recipe={key: recipe[key] for key in recipe if key.startswith("finetune.") and key != "finetune.method"},
        evaluation=_evaluation(app, str(figures.get("version", ""))),
    )  # fmt: skip
    return model_card(described, figures)


def _license(app: Application, base: str) -> str | None:
    """The licence of the base, where it is the one of this configuration and here."""
    if base != app.config.model.base:
        return None
    try:
        return license_of(app.base)
    except RagftError:
        return None


def _data(mix: Artifact | None) -> dict[str, Any]:
    if mix is None:
        return {}
    parts = {part: mix.figures[part] for part in ("train", "validation") if part in mix.figures}
    told = {f"{part} {kind}": count for part, kinds in parts.items() for kind, count in kinds.items()}
    return {**told, "mix": mix.fingerprint}


def _evaluation(app: Application, version: str) -> dict[str, dict[str, float | None]]:
    """The newest evaluation in which this model answered, by setup."""
    for evaluation in artifacts_in(app.workspace / "evaluations"):
        answered = evaluation.manifest["inputs"].get("records")
        if not isinstance(answered, dict):
            continue
        for records in answered.values():
            manifest = app.workspace / "records" / records / MANIFEST
            if manifest.is_file() and json.loads(manifest.read_text())["inputs"].get("model") == version:
                return dict(evaluation.figures)
    return {}
