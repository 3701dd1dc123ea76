"""`ragft models`: the merged models of a workspace, and which one is deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ragft.cli.options import command

if TYPE_CHECKING:
    from ragft.artifacts import Artifact
    from ragft.stages.application import Application

commands = typer.Typer(
    help="The merged models: list, show, deploy, roll back, export, delete old ones.", no_args_is_help=True
)  # fmt: skip
Model = Annotated[
    str, typer.Argument(help="Fingerprint of a model, or its beginning, as `ragft models list` shows it.")
]


@command(commands, "list")
def list_(app: Application) -> None:
    """List the models, newest first; the deployed one is marked."""
    current, previous = app.registry.current(), app.registry.previous()
    models = [_values(model, current, previous) for model in app.registry.models()]
    marks = {"deployed": "*", "previous": "-", "": " "}
    lines = [
        f"{marks[model['state']]} {model['fingerprint']}  {model['created']}  {model['base']}  "
        f"divergence {model['divergence']:.4f}"
        for model in models
    ]
    app.reporter.result({"models": models}, *(lines or ["There are no models yet: `ragft run` makes one."]))


@command(commands)
def show(app: Application, model: Model) -> None:
    """Show what a model was made of, and the figures of its proof."""
    found = app.registry.named(model)
    values = {**_values(found, app.registry.current(), app.registry.previous()), "manifest": found.manifest}
    figures = {key: value for key, value in found.figures.items() if not isinstance(value, dict)}
    lines = [f"{key}: {value}" for key, value in {**found.manifest["parents"], **figures}.items()]
    app.reporter.result(values, *lines, f"Folder: {found.folder}")


@command(commands)
def card(
    app: Application,
    model: Annotated[
        str | None, typer.Argument(help="Fingerprint of a model, or its beginning; default: the deployed one.")
    ] = None,
) -> None:
    """Write a model's card (README.md in its folder) anew, with the evaluations there are now, and print it."""
    from ragft.stages.card import write_card

    found = app.registry.named(model) if model else app.registry.deployed()
    text = write_card(app, found)
    app.reporter.result({"folder": str(found.folder), "card": text}, text.rstrip())


@command(commands)
def deploy(app: Application, model: Model) -> None:
    """Deploy a model; a running server goes over to it within seconds, without failing a request."""
    found = app.registry.named(model)
    _show_deployed(app, found, app.registry.deploy(found))


@command(commands)
def rollback(app: Application) -> None:
    """Deploy the model that served before the present one."""
    _show_deployed(app, *app.registry.rollback())


@command(commands, "prove-live")
def prove_live(
    app: Application,
    model: Annotated[
        str | None, typer.Argument(help="Fingerprint of a model, or its beginning; default: the deployed one.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Held-out prompts to compare on; default: merge.prompts.")
    ] = None,
) -> None:
    """Compare the answers of base and live adapter (serve.adapters: live) with those of the merged model.

    Exits with status 1 where they differ by more than merge.max_divergence or merge.max_format_loss allow.
    """
    from ragft.finetune.live_proof import LiveProof, check_live
    from ragft.stages.live import prove

    found = app.registry.named(model) if model else app.registry.deployed()
    proof = prove(app, found, prompts)
    figures = LiveProof.read(proof).figures(app.config.answer)
    app.reporter.result(
        {"model": found.fingerprint, "folder": str(proof.folder), **figures},
        f"Same answers: {figures['same_answers']} of {figures['prompts']}",
        f"Divergence from the merged model: {figures['divergence']:.4f} nats per token over {figures['tokens']} "
        f"tokens, {figures['divergence_max']:.4f} at the worst prompt",
        *_form_lines(figures),
        f"Result: {proof.folder}",
    )
    check_live(figures, app.config.merge, found.fingerprint)


def _form_lines(figures: dict[str, Any]) -> list[str]:
    merged, live = figures["format_valid_merged"], figures["format_valid_live"]
    return [] if merged is None else [f"In the house format: {live:.1%}, merged model {merged:.1%}"]


@command(commands)
def gc(
    app: Application,
    keep: Annotated[int, typer.Option(min=1, help="Newest models that stay.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and delete nothing.")] = False,
) -> None:
    """Delete old models, but never the deployed one and the one that served before it."""
    removed = app.registry.gc(keep, dry_run=dry_run)
    verb = "Would delete" if dry_run else "Deleted"
    lines = [f"{verb} model {name}" for name in removed.models]
    values = {"removed": list(removed.models), "freed": removed.freed, "dry_run": dry_run}
    app.reporter.result(values, *lines, f"{verb} {len(removed.models)} models, {removed.freed / 1e6:.1f} MB")


@command(commands)
def export(
    app: Application,
    model: Annotated[
        str | None, typer.Argument(help="Fingerprint of a model, or its beginning; default: the deployed one.")
    ] = None,
    format_: Annotated[
        Literal["gguf", "int8"],
        typer.Option("--format", help="gguf: one file for llama.cpp; int8: compressed-tensors for vLLM."),
    ] = "gguf",
    type_: Annotated[
        Literal["f16", "q8_0"] | None, typer.Option("--type", help="Of the weights in GGUF; default: q8_0.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="New folder to write into; default: one in the workspace.", metavar="DIR")
    ] = None,
    max_divergence: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest mean KL divergence from the merged model, in nats per token; default: that of the form.",
        ),
    ] = None,
    max_format_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest drop in format validity; default: merge.max_format_loss."),
    ] = None,
    max_exact_loss: Annotated[
        float | None, typer.Option(min=0, max=1, help="Largest drop in exact match; default: 0.05.")
    ] = None,
) -> None:
    """Write a model in another form, measure what it loses, and refuse it where that is too much."""
    from ragft.finetune.export.formats import form_of
    from ragft.stages.export import Allowed
    from ragft.stages.export import export as write

    found = app.registry.named(model) if model else app.registry.deployed()
    form = form_of(format_, type_)
    folder = write(app, found, form, to, Allowed(max_divergence, max_format_loss, max_exact_loss))
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    app.reporter.result({"folder": str(folder), **values}, *_export_lines(values), f"Result: {folder}")


def _export_lines(manifest: dict[str, Any]) -> list[str]:
    figures = manifest["figures"]
    measured = f"{figures['divergence']:.4f} nats per token, over {figures['prompts']} held-out prompts"
    lines = [f"{manifest['form']}: {figures['bytes'] / 1e6:.1f} MB", f"Divergence from the merged model: {measured}"]
    for name, title in (("format_valid", "In the house format"), ("exact_match", "Right")):
        merged, exported = figures[f"{name}_merged"], figures[f"{name}_exported"]
        if merged is not None:
            lines.append(f"{title}: {exported:.1%}, merged model {merged:.1%}")
    return lines


def deployed_line(model: Artifact, before: str | None) -> str:
    """What is deployed now, and what was until now."""
    replaced = f"; {before} served before, and `ragft models rollback` deploys it again" if before else ""
    return f"Deployed: {model.fingerprint}{replaced}"


def _show_deployed(app: Application, model: Artifact, before: str | None) -> None:
    app.reporter.result({"deployed": model.fingerprint, "before": before}, deployed_line(model, before))


def _values(model: Artifact, current: str | None, previous: str | None) -> dict[str, Any]:
    figures = model.figures
    states = {current: "deployed", previous: "previous"}
    return {
        "fingerprint": model.fingerprint,
        "created": model.manifest["created"],
        "state": states.get(model.fingerprint, ""),
        "base": figures.get("trained_with", {}).get("model.base") or figures.get("base"),
        "version": figures.get("version") or model.fingerprint,
        "divergence": figures["divergence"],
    }
