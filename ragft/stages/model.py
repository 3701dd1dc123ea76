"""The tuned model: the adapter merged, proven, and deployed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.errors import UsageError
from ragft.finetune.card import CARD
from ragft.finetune.lineage import ADAPTER_FILES, LiveModel, TrainedOn
from ragft.finetune.registry import trained_with
from ragft.stages.adapter import finetune, refuse_unserved, trained_on
from ragft.stages.application import Application, Inputs
from ragft.stages.card import card_of
from ragft.stages.combination import Wanted, combined
from ragft.stages.data import mix, rendered, rows
from ragft.stages.inputs import MODEL
from ragft.stages.live import keep_adapter

if TYPE_CHECKING:
    from ragft.finetune.candidates import Candidate
    from ragft.finetune.merge import Onto

ONTO: tuple[Onto, ...] = ("trained", "original")


def merge(app: Application, adapters: Sequence[Path] = (), wanted: Wanted | None = None) -> tuple[Artifact, str | None]:
    """Deploys the model of `proven`; returns it, and the fingerprint of another model that it replaced, if any."""
    model = proven(app, adapters, wanted)
    return model, app.registry.deploy(model)


def proven(app: Application, adapters: Sequence[Path] = (), wanted: Wanted | None = None) -> Artifact:
    """The merged model, with the proof that it answers like base and adapter; not deployed.

    The limits of the proof and the rules of its answers are those of the configuration now, also where the model
    exists.

    Args:
        adapters: folders of adapters in PEFT's format that were trained elsewhere; none: the one of this
            configuration. Several are combined first.
        wanted: how several are combined; None: as by default.

    Raises:
        RagftError: the proof failed.
    """
    from ragft.finetune.proof import FORMAT, Proof, check_proof

    if len(adapters) < 2 and wanted not in (None, Wanted()):
        raise UsageError("--weights, --combine and --density are of several adapters: name each with --adapter.")
    if not adapters:
        refuse_unserved(app)
    own = finetune(app).folder / "adapter" if not adapters else None
    folders = [own] if own else [_checked(adapter) for adapter in adapters]
    lineages = [_lineage(app, folder) for folder in folders]
    folder, lineage = folders[0], lineages[0]
    if len(folders) > 1:
        folder = combined(app, folders, lineages, wanted or Wanted()).folder / "adapter"
    config = app.config
    rules, limits = config.answer, config.merge

    def work(growing: Path) -> dict[str, Any]:
        from ragft.finetune.candidates import Candidate
        from ragft.finetune.merge import merge
        from ragft.finetune.proof import prove

        app.reporter.say("Merging the adapter")
        for left_over in growing.iterdir():  # of an interrupted merge, which is quicker done again than checked
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        live = LiveModel(app.base, folder, quantised=lineage.quantisation is not None, backend=lineage.backend)
        conversations = [row.messages[:-1] for row in rows(app, "validation")[: limits.prompts]]

        def candidate(onto: Onto) -> Candidate:
            merged = growing / onto
            merge(live, merged, onto=onto)
            if app.template.stop is not None:
                stop_at(merged, app.template.stop)
            proof = prove(
                live, merged, conversations, app.engine(merged), max_tokens=config.engine.max_tokens,
                say=app.reporter.say, template=config.prompt.template_options, device=config.finetune.device,
            )  # fmt: skip
            return Candidate(onto, merged, proof, proof.figures(rules))

        taken, why = _taken(app, live, candidate)
        for path in taken.folder.iterdir():
            path.rename(growing / path.name)
        for onto in ONTO:
            shutil.rmtree(growing / onto, ignore_errors=True)
        taken.proof.write(growing)
        keep_adapter(folder, growing)
        figures = {**taken.figures, "onto": taken.onto, **why, "template": lineage.template, "recipe": config.recipe}
        figures |= {"version": taken.proof.model_version, "trained_with": trained_with(config)}
        write_file(growing / CARD, card_of(app, figures, inputs, parents).encode())
        return figures

    inputs = {
        "adapter": [hash_file(folder / name) for name in ADAPTER_FILES],
        "base": app.base_hash,
        "quantised": lineage.quantisation,
        "template": lineage.template,
        "mix": mix(app).fingerprint,
        "proof": FORMAT,
    }
    parents = {"adapter": folder.parent.name} if own or len(folders) > 1 else {}
    model = app.build(Inputs((MODEL,), inputs, parents), work)
    check_proof(Proof.read(model).figures(rules), limits)
    return model


def stop_at(model: Path, end: int) -> None:
    """Adds a token to those that end an answer in a model's generation_config.json, for other servers than this."""
    path = model / "generation_config.json"
    settings = json.loads(path.read_bytes()) if path.is_file() else {}
    ends = settings.get("eos_token_id")
    if ends is None:
        ends = json.loads((model / "config.json").read_bytes()).get("eos_token_id")
    known = [ends] if isinstance(ends, int) else list(ends or ())
    if end not in known:
        write_file(path, json.dumps({**settings, "eos_token_id": [*known, end]}, indent=2).encode())


def _taken(
    app: Application, live: LiveModel, candidate: Callable[[Onto], Candidate]
) -> tuple[Candidate, dict[str, Any]]:
    """The merge that is published, and for `merge.onto: auto` the figures of both and why it was taken.

    Raises:
        RagftError: no merge passes its proof.
    """
    from ragft.finetune.candidates import choose, validation_loss
    from ragft.finetune.proof import check_proof

    limits, wanted = app.config.merge, app.config.merge.onto
    if wanted == "auto" and live.quantised:
        both = [candidate(onto) for onto in ONTO]
        held_out = rendered(app, "validation")[: limits.prompts]
        losses = {merged.onto: validation_loss(merged.folder, held_out, app.config.finetune.device) for merged in both}
        both = [replace(merged, figures={**merged.figures, "validation_loss": losses[merged.onto]}) for merged in both]
        taken, reason = choose(both, limits)
        app.reporter.say(reason)
        return taken, {"chosen": reason, "candidates": {merged.onto: merged.figures for merged in both}}
    only = candidate("trained" if wanted == "auto" else wanted)
    check_proof(only.figures, limits)
    if wanted == "auto":
        return only, {"chosen": "The adapter was trained without quantisation: both weights are the same."}
    return only, {}


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
