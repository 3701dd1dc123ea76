"""The tuned model: the adapter merged, proven, and deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragft.artifacts import Artifact, hash_file
from ragft.errors import UsageError
from ragft.finetune.lineage import LiveModel, TrainedOn
from ragft.finetune.registry import trained_with
from ragft.stages.adapter import finetune, trained_on
from ragft.stages.application import Application, Inputs
from ragft.stages.data import mix, rows
from ragft.stages.inputs import MODEL


def merge(app: Application, adapter: Path | None = None) -> tuple[Artifact, str | None]:
    """The merged model, with the proof that it answers like base and adapter; deploys it.

    The limits of the proof and the rules of its answers are those of the configuration now, also where the model
    exists.

    Args:
        adapter: folder of an adapter in PEFT's format that was trained elsewhere; None: the one of this configuration.

    Returns:
        The model, and the fingerprint of the model that it replaced, if it replaced another one.

    Raises:
        RagftError: the proof failed; the model is not deployed.
    """
    from ragft.finetune.proof import FORMAT, Proof, check_proof

    folder = finetune(app).folder / "adapter" if adapter is None else _checked(adapter)
    lineage = _lineage(app, folder)
    rules, limits = app.config.answer, app.config.merge

    def work(growing: Path) -> dict[str, Any]:
        from ragft.finetune.merge import merge
        from ragft.finetune.proof import prove

        app.reporter.say("Merging the adapter")
        for left_over in growing.iterdir():  # of an interrupted merge, which is quicker done again than checked
            left_over.unlink()
        live = LiveModel(app.base, folder, quantised=lineage.quantisation is not None)
        merge(live, growing, onto=limits.onto)
        conversations = [row.messages[:-1] for row in rows(app, "validation")[: limits.prompts]]
        proof = prove(
            live, growing, conversations, app.engine(growing), max_tokens=app.config.engine.max_tokens,
            say=app.reporter.say,
        )  # fmt: skip
        proof.write(growing)
        figures = {**proof.figures(rules), "onto": limits.onto, "template": lineage.template}
        check_proof(figures, limits)
        return {**figures, "version": proof.model_version, "trained_with": trained_with(app.config)}

    inputs = {
        "adapter": [hash_file(folder / name) for name in _ADAPTER_FILES],
        "base": app.base_hash,
        "quantised": lineage.quantisation,
        "mix": mix(app).fingerprint,
        "proof": FORMAT,
    }
    parents = {"adapter": folder.parent.name} if adapter is None else {}
    model = app.build(Inputs((MODEL,), inputs, parents), work)
    check_proof(Proof.read(model).figures(rules), limits)
    return model, app.registry.deploy(model)


_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


def _checked(adapter: Path) -> Path:
    if not (adapter / "adapter_config.json").is_file():
        raise UsageError(
            f"{adapter} holds no adapter (adapter_config.json is missing): name a folder in PEFT's format."
        )
    if not (adapter / "adapter_model.safetensors").is_file():
        raise UsageError(
            f"{adapter} holds no adapter_model.safetensors; other formats can run code and are not loaded."
        )
    return adapter


def _lineage(app: Application, adapter: Path) -> TrainedOn:
    """What an adapter was trained on: by its own manifest, or, where it has none, by this configuration."""
    now = trained_on(app)
    known = TrainedOn.read(adapter)
    if known is None:
        app.reporter.say(
            f"The adapter in {adapter} does not say what it was trained on: it is merged as finetune.method = "
            f"{app.config.finetune.method} says."
        )
        return now
    known.check_matches(now, adapter)
    return known
