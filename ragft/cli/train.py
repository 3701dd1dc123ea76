"""Training: the adapter, and the model that it is merged into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragft.cli.options import command
from ragft.cli.results import show_artifact

if TYPE_CHECKING:
    from ragft.stages.application import Application
    from ragft.stages.combination import Wanted

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
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="Adapter in PEFT's format that was trained elsewhere. Given repeatedly: all are combined."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of combined adapters, as in 0.7,0.3; default: equal shares of one.")
    ] = None,
    combine: Annotated[
        str | None,
        typer.Option(help="How adapters are combined: linear (default), ties, dare_linear or dare_ties."),
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of each adapter's change that TIES and DARE keep; default: 0.5.")
    ] = None,
) -> None:
    """Merge the adapter, prove that the merged and the served model answer like the trained one, and deploy it."""
    from ragft.cli.models import deployed_line
    from ragft.stages.model import merge

    model, before = merge(app, adapter or (), _wanted(weights, combine, density))
    figures = model.figures
    form = ", ".join(f"{name} {_share(figures[f'format_valid_{name}'])}" for name in ("live", "merged", "served"))
    proof = (
        f"Divergence {figures['divergence']:.4f} nats; same prompt ids {figures['same_prompt_ids']}/"
        f"{figures['prompts']}; in the house format: {form}"
    )
    show_artifact(app, model, proof, deployed_line(model, before), deployed=model.fingerprint, before=before)


def _wanted(weights: str | None, combine: str | None, density: float | None) -> Wanted:
    from ragft.errors import UsageError
    from ragft.finetune.combine import COMBINATIONS
    from ragft.stages.combination import Wanted

    how = next((known for known in COMBINATIONS if known == combine), None)
    if combine is not None and how is None:
        raise UsageError(f"--combine is {combine!r}: choose one of {', '.join(COMBINATIONS)}.")
    try:
        shares = tuple(float(weight) for weight in weights.split(",")) if weights is not None else None
    except ValueError:
        raise UsageError(f"--weights is {weights!r}: give numbers with commas between them, as in 0.7,0.3.") from None
    return Wanted(shares, how, density)


def _share(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.0%}"
