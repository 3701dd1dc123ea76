"""`ragft data`: the examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ragft.cli.options import command
from ragft.cli.results import cleaned_lines, show_applied, show_artifact, show_generated
from ragft.cli.reviewing import (
    ExportSheet,
    ImportSheet,
    Port,
    Reviewer,
    ShowAgreement,
    refuse_several,
    run_review,
)

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer(
    help="Examples: generate, review, audit, clean, split, mix with passages, show, augment, import, export.",
    no_args_is_help=True,
)


@command(commands)
def audit(app: Application) -> None:
    """Look for what is wrong with the examples and questions, row by row, and write a page about it."""
    from ragft.stages.auditing import PAGE, run_audit

    found, folder = run_audit(app)
    values = {**found.findings.to_json(), **found.figures(), "page": str(folder / PAGE)}
    app.reporter.result(values, found.findings.table(), found.findings.summary(), f"Page: {folder / PAGE}")
    if found.findings.errors:
        raise SystemExit(1)


@command(commands)
def clean(
    app: Application,
    out: Annotated[
        Path | None, typer.Option(help="Also write the cleaned examples to this file, which must not exist yet.")
    ] = None,
) -> None:
    """Write a copy of the examples without what can be mended, and a log of every change; the file stays as it is."""
    from ragft.stages.auditing import clean as cleaned
    from ragft.stages.auditing import copy_out

    artifact = cleaned(app)
    if out is not None:
        copy_out(artifact, out)
    show_artifact(app, artifact, *cleaned_lines(artifact.figures))


@command(commands, "split")
def split_(app: Application) -> None:
    """Split the examples into training and validation, by group."""
    from ragft.stages.data import split

    artifact = split(app)
    figures = artifact.figures
    show_artifact(app, artifact, f"{figures['train']} examples to train on, {figures['validation']} to validate")


@command(commands, "mix")
def mix_(app: Application) -> None:
    """Mix the examples with passages of the index."""
    from ragft.stages.data import mix

    artifact = mix(app)
    rows = {part: artifact.figures[part]["rows"] for part in ("train", "validation")}
    show_artifact(app, artifact, f"{rows['train']} rows to train on, {rows['validation']} to validate")


@command(commands)
def pairs(
    app: Application,
    out: Annotated[Path, typer.Option(help="File to write the examples to, which must not exist yet.")],
    answers_of: Annotated[
        str | None,
        typer.Option(
            help="Ask this setup the examples' questions, and take what it answers wrongly; the others are made.",
            metavar="SETUP",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many examples, drawn by the seed.")] = None,
) -> None:
    """Give each example a worse answer, for methods that learn from preferences: made of its own, or a setup's."""
    from dataclasses import asdict

    from ragft.stages.pairs import write_pairs

    made = write_pairs(app, out, answers_of, limit)
    told = [f"Worse answers by fault: {', '.join(f'{count} {fault}' for fault, count in made.worse.items())}."]
    if answers_of:
        told.insert(0, f"{answers_of} was asked {made.asked} of the examples, and gave {made.said} of these answers.")
    app.reporter.result({"out": str(out), **asdict(made)}, *told, f"Examples: {out}")


@command(commands, by="data.generate.by", examples="data.generate.examples", questions="data.generate.questions")
def generate(
    app: Application,
    by: Annotated[str | None, typer.Option(help="What writes them: structure, model or both.", metavar="HOW")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Training examples to make.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Evaluation questions to make.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it takes, and make nothing.")] = False,
) -> None:
    """Make examples and questions from the passages of the index, each verified; goes on where it was interrupted."""
    from dataclasses import asdict

    from ragft.stages.generation import Generation

    generation = Generation(app)
    if dry_run:
        estimate = generation.estimate()
        app.reporter.result(asdict(estimate), estimate.sentence)
        return
    show_generated(app, generation.made())


@command(commands)
def review(
    app: Application,
    file: Annotated[
        Path | None, typer.Argument(help="Examples or questions to review; default: data.examples.", metavar="FILE")
    ] = None,
    reviewer: Reviewer = None,
    port: Port = 0,
    agreement: ShowAgreement = False,
    settle: Annotated[
        Literal["majority"] | None,
        typer.Option(help="Settle conflicts that nobody has settled by what more than half of the reviewers want."),
    ] = None,
    export: ExportSheet = None,
    import_: ImportSheet = None,
    apply: Annotated[
        Path | None,
        typer.Option("--apply", help="Write what was accepted or edited to this new file.", metavar="OUT.jsonl"),
    ] = None,
) -> None:
    """Review rows beside their sources: a local page, or a sheet, on which people accept, edit or reject each.

    Decisions are kept beside the file, which is never changed.
    """
    from ragft.errors import UsageError
    from ragft.stages.review import apply as applied
    from ragft.stages.review import review_of_rows

    refuse_several(**{"--apply": apply, "--agreement": agreement, "--export": export, "--import": import_})
    if settle is not None and apply is None and not agreement:
        raise UsageError("--settle says how --apply and --agreement settle conflicts: give one of them with it.")
    with review_of_rows(app, file) as (opened, rows):
        if apply is not None:
            show_applied(app, apply, *applied(opened, rows, apply, settle))
            return
        run_review(
            app, opened, reviewer=reviewer, port=port, agreement=agreement, export=export, sheet=import_, rule=settle
        )


@command(commands)
def augment(
    app: Application,
    out: Annotated[Path, typer.Option(help="File of examples to write, which must not exist yet.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it takes, and make nothing.")] = False,
) -> None:
    """Write the examples and further ones whose questions are worded otherwise; answers and sources stay the same."""
    from ragft.stages.augmenting import Augmenting

    augmenting = Augmenting(app, out)
    if dry_run:
        app.reporter.result(augmenting.estimate(), augmenting.estimate_sentence())
        return
    told = augmenting.write()
    app.reporter.result(told.to_json(), *told.sentences(), f"Result: {out}")


@command(commands)
def show(
    app: Application, row: Annotated[int, typer.Option(min=0, help="Which training row to show.")] = 0
) -> None:  # fmt: skip
    """Print a training row as the model sees it, token by token: masked (dim) or trained (green)."""
    from ragft.data.show import shown_row
    from ragft.stages.data import rows

    values, text = shown_row(rows(app, "train"), row, app.template, app.config.finetune.train_on)
    app.reporter.result(values, text)


@command(commands, "import")
def import_(
    app: Application,
    file: Annotated[Path, typer.Argument(help="File (JSON Lines, JSON, CSV, Parquet), or folder of a dataset.")],
    out: Annotated[Path, typer.Option(help="File of examples to write, which must not exist yet.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="Layout of the rows: sharegpt, alpaca, openai, openai-preference, preference (TRL), "
            "prompt-completion, vertex or ragft; or csv or hf for how they are stored. auto: told by their shape.",
            metavar="FORMAT",
        ),
    ] = "auto",
    map_: Annotated[
        str,
        typer.Option("--map", help="Columns by field: question=Frage,answer=Antwort.", metavar="FIELD=COLUMN"),
    ] = "",
    split: Annotated[str | None, typer.Option(help="Split of a dataset's folder.")] = None,
    lost: Annotated[
        Path | None, typer.Option(help="What the export of these rows had no place for: NAME.PART.lost.jsonl.")
    ] = None,
) -> None:
    """Write another tool's rows as examples; what cannot be held is told by its line, and kept in a file of its own."""
    from ragft.data.formats.importing import Form
    from ragft.data.formats.reading import fields_named
    from ragft.errors import UsageError
    from ragft.stages.moving import import_examples

    form = next((known for known in get_args(Form) if known == format_), None)
    if form is None:
        raise UsageError(f"--format is {format_!r}: choose one of {', '.join(get_args(Form))}.")
    told = import_examples(app, file, out, form=form, split=split, names=fields_named(map_), lost=lost)
    app.reporter.result({"file": str(out), **told.to_json()}, *told.sentences(), f"Result: {out}")


@command(commands)
def export(
    app: Application,
    to: Annotated[
        str,
        typer.Option(
            help="Tool to write for: openai, azure, vertex, sagemaker, axolotl, unsloth or llama-factory.",
            metavar="TOOL",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder to write into.", metavar="DIR")],
    with_passages: Annotated[
        bool, typer.Option("--with-passages", help="Write the rows of the mix, whose prompts show passages.")
    ] = False,
    preferences: Annotated[
        bool,
        typer.Option("--preferences", help="Write pairs of better and worse answers, where there are both."),
    ] = False,
) -> None:
    """Write the examples as another tool trains on them, checked against what its maker publishes."""
    from ragft.data.formats.targets import TARGETS
    from ragft.errors import UsageError
    from ragft.stages.moving import export_examples

    target = next((target for name, target in TARGETS.items() if name == to), None)
    if target is None:
        raise UsageError(f"--to is {to!r}: choose one of {', '.join(TARGETS)}.")
    told = export_examples(app, target, out, with_passages=with_passages, preferences=preferences)
    app.reporter.result(told.to_json(), *told.sentences(target), f"Result: {out}")
