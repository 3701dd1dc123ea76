"""Training: the adapter, and the model that it is merged into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_artifact

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()


@command(commands, "finetune")
def finetune_(app: Application) -> None:
    """Train the adapter; resumes by itself after an interruption."""
    from ragft.stages.adapter import finetune
    from ragft.stages.watching import PAGE

    artifact = finetune(app)
    page = artifact.folder / PAGE
    lines = [f"Training page: {page}"] if page.is_file() else []  # earlier versions wrote none
    figures = artifact.figures
    best = f"Best validation loss {figures['best_loss']:.3f} after step {figures['best_step']} of {figures['steps']}"
    show_artifact(app, artifact, f"{best}, {figures['tokens_per_second']:.0f} tokens/s", *lines)


@command(commands, "merge")
def merge_(
    app: Application,
    adapter: Annotated[Path | None, typer.Option(help="Adapter in PEFT's format that was trained elsewhere.")] = None,
) -> None:
    """Merge the adapter, prove that the merged and the served model answer like the trained one, and deploy it."""
    from ragft.cli.models import deployed_line
    from ragft.stages.model import merge

    model, before = merge(app, adapter)
    figures = model.figures
    form = ", ".join(f"{name} {_share(figures[f'format_valid_{name}'])}" for name in ("live", "merged", "served"))
    proof = (
        f"Divergence {figures['divergence']:.4f} nats; same prompt ids {figures['same_prompt_ids']}/"
        f"{figures['prompts']}; in the house format: {form}"
    )
    show_artifact(app, model, proof, deployed_line(model, before), deployed=model.fingerprint, before=before)


def _share(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.0%}"
