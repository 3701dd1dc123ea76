"""The adapter: trained, and resumed where an interrupted training left off."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact
from ragft.config import Config
from ragft.errors import UsageError
from ragft.finetune.lineage import Backend, TrainedOn
from ragft.finetune.methods import METHODS
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
    """Refuses a method whose result cannot be served, before anything is trained for that."""
    if why := why_not_served(app.config):
        raise UsageError(why)


def why_not_served(config: Config) -> str | None:
    """The sentence for a method whose result cannot be served; None for the others."""
    method = config.finetune.method
    why = METHODS[method].not_served
    if why is None:
        return None
    return (
        f"finetune.method = {method} cannot be served: {why}; use lora, or `ragft finetune` alone to train it for PEFT."
    )


def _finetune(app: Application) -> Artifact:
    refuse_without_rejected(app)
    _refuse_impossible(app)
    rows, lineage = mix(app), trained_on(app)

    def work(folder: Path) -> dict[str, Any]:
        from ragft.finetune import devices
        from ragft.finetune.estimate import refuse_small_card
        from ragft.finetune.fast.memory import return_free_memory

        settings = app.config.finetune
        if why := why_not_served(app.config):
            app.reporter.say(why)
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
        replace(lineage, backend=report.backend).write(report.adapter)
        for of_the_run in (*folder.glob("checkpoint*"), folder / "initial.safetensors"):
            of_the_run.unlink(missing_ok=True)
        # What comes next in this process is another model, in other processes.
        return_free_memory()
        devices.release()
        return figures

    inputs = {
        "mix": rows.fingerprint, "base": lineage.base, "template": lineage.template, **rules_of_selection(app)
    }  # fmt: skip
    return app.build(Inputs((ADAPTER,), inputs, {"mix": rows.fingerprint}), work)


def _refuse_impossible(app: Application) -> None:
    """Refuses what this machine cannot do before the minutes that rows may take, not after them."""
    from ragft.finetune import devices
    from ragft.finetune.optimizers import check_possible

    settings = app.config.finetune
    check_possible(settings, devices.resolve(settings.device))


def _tell_estimate(app: Application, folder: Path, rows: int) -> None:
    """Says how long a training will take that begins and is worth the question."""
    from ragft.finetune.fast.checkpoint import LATEST

    settings = app.config.finetune
    if settings.epochs * rows / settings.batch_size > _TELLING_STEPS and not (folder / LATEST).exists():
        from ragft.stages.estimates import estimate

        app.reporter.say(f"Training: {estimate(app).sentence()}")


def _note(state: TrainProgress) -> str:
    return f"loss {state.train_loss:.3f}, {state.tokens_per_second:.0f} tokens/s"
