"""The adapter: trained, and resumed where an interrupted training left off."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact
from ragft.finetune.lineage import TrainedOn
from ragft.finetune.methods import METHODS
from ragft.prompts import template_hash
from ragft.stages.application import Application, Inputs
from ragft.stages.data import mix, rendered
from ragft.stages.inputs import ADAPTER

if TYPE_CHECKING:
    from ragft.finetune.fast.trainer import TrainProgress, TrainReport


def finetune(app: Application) -> Artifact:
    """The trained adapter."""
    return app.once(ADAPTER.name, lambda: _finetune(app))


def trained_on(app: Application) -> TrainedOn:
    """What this configuration trains adapters on."""
    method = METHODS[app.config.finetune.method]
    return TrainedOn(app.base_hash, method.quantisation, template_hash(app.tokenizer))


def _finetune(app: Application) -> Artifact:
    rows, lineage = mix(app), trained_on(app)

    def work(folder: Path) -> dict[str, Any]:
        from ragft.finetune.fast.memory import return_free_memory

        settings = app.config.finetune
        trainer = importlib.import_module(METHODS[settings.method].trainer)
        train_rows, validation = rendered(app, "train"), rendered(app, "validation")
        with app.reporter.progress("Training") as advance:
            report: TrainReport = trainer.train(
                app.base, train_rows, validation, settings, seed=app.config.seed, folder=folder,
                progress=lambda state: advance(state.step, state.steps, _note(state)), say=app.reporter.say,
            )  # fmt: skip
        lineage.write(report.adapter)
        for checkpoint in folder.glob("checkpoint*"):
            checkpoint.unlink()
        # What comes next in this process is another model, in other processes.
        return_free_memory()
        return {key: value for key, value in asdict(report).items() if key != "adapter"}

    inputs = {"mix": rows.fingerprint, "base": lineage.base, "template": lineage.template}
    return app.build(Inputs((ADAPTER,), inputs, {"mix": rows.fingerprint}), work)


def _note(state: TrainProgress) -> str:
    return f"loss {state.train_loss:.3f}, {state.tokens_per_second:.0f} tokens/s"
