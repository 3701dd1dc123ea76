"""The adapter: trained, and resumed where an interrupted training left off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact, artifacts_in
from ragft.config import Config
from ragft.errors import UsageError
from ragft.finetune.lineage import Backend, TrainedOn
from ragft.finetune.methods import METHODS
from ragft.finetune.start import check_start, content_of, parent_of
from ragft.finetune.training import train, trainer_for
from ragft.stages.application import Application, Inputs
from ragft.stages.data import mix, refuse_without_rejected, rendered
from ragft.stages.inputs import ADAPTER
from ragft.stages.watching import Watching, rules_of_selection

if TYPE_CHECKING:
    from ragft.finetune.report import TrainProgress

_TELLING_STEPS = 50
"""Trainings of fewer steps are over before their estimate would have been worth its time."""


def finetune(app: Application) -> Artifact:
    """The trained adapter."""
    return app.once(ADAPTER.name, lambda: _finetune(app))


def trained_on(app: Application) -> TrainedOn:
    """What this configuration trains adapters on."""
    method = METHODS[app.config.finetune.method]
    backend: Backend = "fast" if "finetune.fast" in trainer_for(app.config.finetune) else "peft"
    return TrainedOn(app.base_hash, method.quantisation, app.template.hash, backend)


def refuse_unserved(app: Application) -> None:
    """Refuses a method whose result cannot be served, or such a base, before anything is trained for that."""
    from ragft.finetune.base import check_writes

    if why := why_not_served(app.config):
        raise UsageError(why)
    check_writes(app.base)


def why_not_served(config: Config) -> str | None:
    """The sentence for a method whose result cannot be served; None for the others."""
    method = config.finetune.method
    why = METHODS[method].not_served
    if why is None:
        return None
    return (
        f"finetune.method = {method} cannot be served: {why}; use lora, or `ragft finetune` alone to train it for PEFT."
    )


def trained(app: Application) -> Artifact | None:
    """The adapter, if it is trained already."""
    return app.find(_inputs(app))


def _inputs(app: Application) -> Inputs:
    """What decides the adapter; the mix is made for that.

    Raises:
        RagftError: training cannot begin as the configuration says.
    """
    lineage, start, rows = trained_on(app), beginning(app), mix(app)
    values = {
        "mix": rows.fingerprint, "base": lineage.base, "template": lineage.template, **start, **rules_of_selection(app)
    }  # fmt: skip
    parent = _parent(app)
    return Inputs((ADAPTER,), values, {"mix": rows.fingerprint, **({"adapter": parent.fingerprint} if parent else {})})


def _parent(app: Application) -> Artifact | None:
    """The adapter that training begins from, where it is one of a workspace."""
    start_from = app.config.finetune.start_from
    return parent_of(start_from) if start_from else None


def _finetune(app: Application) -> Artifact:
    from ragft.finetune.base import check_writes

    refuse_without_rejected(app)
    check_writes(app.base)
    inputs = _inputs(app)

    def work(folder: Path) -> dict[str, Any]:
        from ragft.finetune import devices
        from ragft.finetune.estimate import refuse_small_card
        from ragft.finetune.fast.memory import return_free_memory

        settings = app.config.finetune
        if why := why_not_served(app.config):
            app.reporter.say(why)
        _tell_shorter_ones(app, inputs.values)
        with Watching(app, folder) as watching:
            train_rows, validation = rendered(app, "train"), rendered(app, "validation")
            refuse_small_card(app.base, train_rows, settings)
            watching.prepare(train_rows, validation)
            _tell_estimate(app, folder, len(train_rows))
            with app.reporter.progress("Training") as advance:

                def progress(state: TrainProgress) -> None:
                    watching.watch.saw(state)
                    advance(state.step, state.steps, _note(state))

                report = train(
                    app.base, train_rows, validation, settings, seed=app.config.seed, folder=folder,
                    progress=progress, evaluate=watching.asked, say=app.reporter.say,
                )  # fmt: skip
            figures = watching.finish({key: value for key, value in asdict(report).items() if key != "adapter"})
        replace(trained_on(app), backend=report.backend).write(report.adapter)
        _tell_worse(app, _parent(app), mix(app).fingerprint, report.best_loss)
        for of_the_run in (*folder.glob("checkpoint*"), folder / "initial.safetensors"):
            of_the_run.unlink(missing_ok=True)
        # What comes next in this process is another model, in other processes.
        return_free_memory()
        devices.release()
        return figures

    return app.build(inputs, work)


def beginning(app: Application) -> dict[str, Any]:
    """What decides an adapter that begins from another one: the content of that. Nothing for others.

    Raises:
        RagftError: training cannot begin from it.
    """
    settings = app.config.finetune
    if settings.start_from is None:
        return {}
    if unknown := check_start(settings, trained_on(app)):
        app.reporter.say(unknown)
    return {"start_from": content_of(settings.start_from)}


def _tell_shorter_ones(app: Application, inputs: Mapping[str, Any]) -> None:
    """Says why an adapter of other epochs, and nothing else, is not gone on from, which someone may have expected."""
    now = {**ADAPTER.values(app.config), **inputs}
    for made in artifacts_in(app.workspace / ADAPTER.folder):
        before = made.manifest["inputs"]
        if {key for key in now.keys() | before.keys() if now.get(key) != before.get(key)} != {"finetune.epochs"}:
            continue
        can_begin = METHODS[app.config.finetune.method].begins_anew is None
        instead = "; finetune.start_from begins from its values instead" if can_begin else ""
        app.reporter.say(
            f"The adapter in {made.folder} is not gone on from: its finetune.epochs was {before['finetune.epochs']:g}, "
            f"and with {now['finetune.epochs']:g} its learning rates would have been others{instead}."
        )
        return


def _tell_worse(app: Application, parent: Artifact | None, mixed: str, loss: float) -> None:
    """Says so where the same validation rows prefer the adapter that training began from."""
    if parent is None or parent.manifest["parents"].get("mix") != mixed:
        return
    before = parent.figures["best_loss"]
    if loss >= before:
        app.reporter.say(
            f"The adapter that training began from had no higher validation loss ({before:.4f}, now {loss:.4f}): keep "
            f"{parent.folder}, or lower finetune.learning_rate."
        )


def _tell_estimate(app: Application, folder: Path, rows: int) -> None:
    """Says how long a training will take that begins and is worth the question."""
    from ragft.finetune.fast.checkpoint import LATEST

    settings = app.config.finetune
    if settings.epochs * rows / settings.batch_size > _TELLING_STEPS and not (folder / LATEST).exists():
        from ragft.stages.estimates import estimate

        app.reporter.say(f"Training: {estimate(app).sentence()}")


def _note(state: TrainProgress) -> str:
    return f"loss {state.train_loss:.3f}, {state.tokens_per_second:.0f} tokens/s"
