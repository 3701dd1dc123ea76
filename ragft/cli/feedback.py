"""`ragft feedback`: what users say about answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragft.cli.options import command
from ragft.cli.reviewing import ExportSheet, ImportSheet, Port, Reviewer, ShowAgreement, run_review

if TYPE_CHECKING:
    from ragft.feedback.promotion import LeftOut
    from ragft.feedback.store import Feedback
    from ragft.stages.application import Application

commands = typer.Typer(
    help="What users say about answers: list, review, count votes, promote, export, delete.",
    no_args_is_help=True,
)


@command(commands, "list")
def list_(
    app: Application,
    thumb: Annotated[Literal["good", "bad"] | None, typer.Option(help="Only this. Default: both.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only what this caller has said, by its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")] = 20,
) -> None:
    """List what was said, the newest first."""
    from itertools import islice

    from ragft.stages.feedback import opened

    with opened(app) as store:
        found = store.each(thumb=thumb, caller=caller, newest=True)
        shown = list(islice(found, limit))
    lines = [_line(one) for one in shown] or ["There is no feedback."]
    app.reporter.result({"feedback": [asdict(one) for one in shown]}, *lines)


@command(commands)
def votes(
    app: Application,
    open_ones: Annotated[
        bool, typer.Option("--open", help="Count votes that were given with the names in sight, too.")
    ] = False,
    by_version: Annotated[
        bool, typer.Option("--by-version", help="Tell the versions of a setup's model apart.")
    ] = False,
) -> None:
    """Count which answers people prefer: wins of each two setups, with 95 % intervals."""
    from ragft.feedback.preferences import preference_lines, preferences
    from ragft.stages.feedback import opened

    with opened(app) as store:
        found = preferences(store.votes(), seed=app.config.seed, open_ones=open_ones, by_version=by_version)
    told = found.to_json()
    lines = list(preference_lines(told)) if found.votes or found.left_out else ["There are no votes."]
    app.reporter.result(told, *lines)


@command(commands)
def export(
    app: Application,
    out: Annotated[Path, typer.Option(help="File to write, JSON Lines.")],
) -> None:
    """Write all feedback into a new file."""
    from ragft.console import counted
    from ragft.stages.feedback import export as exported

    count = exported(app, out)
    app.reporter.result({"feedback": count, "file": str(out)}, f"{counted(count, 'feedback')} in {out}")


@command(commands)
def review(
    app: Application,
    reviewer: Reviewer = None,
    port: Port = 0,
    agreement: ShowAgreement = False,
    export: ExportSheet = None,
    import_: ImportSheet = None,
) -> None:
    """Review what users said: a local page, or a sheet, on which people accept, edit or reject each correction."""
    from ragft.stages.review import review_of_feedback

    with review_of_feedback(app) as opened:
        run_review(app, opened, reviewer=reviewer, port=port, agreement=agreement, export=export, sheet=import_)


@command(commands)
def promote(
    app: Application,
    to: Annotated[
        Literal["examples", "questions", "pairs", "golden"],
        typer.Option(help="What feedback becomes: examples, questions, preference pairs or golden questions."),
    ],
    reviewed: Annotated[
        bool | None,
        typer.Option(
            "--reviewed/--unreviewed",
            help="Only what reviewers accepted or edited, or what nobody has decided, too. Default: only reviewed, "
            "once a review has begun.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to add the rows to. Default: data.examples, data.questions or index.refresh.gate.questions; "
            "pairs need one."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added, and write nothing.")] = False,
) -> None:
    """Add what users said to the examples, with the worse answer as `rejected`, or to what the options name.

    What says the same as a row that is there, or comes near one of the other side, is left out.
    """
    from ragft.console import counted
    from ragft.feedback.promotion import WHY
    from ragft.stages.feedback import promote as promoted

    made, file = promoted(app, to, out=out, reviewed=reviewed, dry_run=dry_run)
    values = {
        "file": str(file), "added": len(made.rows), "dry_run": dry_run, "rows": made.rows,
        "left_out": [asdict(one) for one in made.left_out],
    }  # fmt: skip
    lines = [f"{count} left out: {WHY[why]}{_ids(made.left_out, why)}" for why, count in made.counts.items()]
    would = "would be added" if dry_run else "added"
    app.reporter.result(values, *lines, f"{counted(len(made.rows), 'row')} {would} to {file}")


@command(commands)
def delete(
    app: Application, caller: Annotated[str, typer.Option(help="Id of the caller, as `list` shows it.")]
) -> None:
    """Delete what a caller has said and asked, beyond recovery; rows that were made of it stay in their files."""
    from ragft.console import counted
    from ragft.stages.feedback import opened

    with opened(app) as store:
        deleted = store.delete(caller)
    said, asked, votes = deleted["feedback"], deleted["asked"], deleted["vote"]
    counts = f"{counted(said, 'feedback')}, {counted(votes, 'vote')} and {counted(asked, 'kept question')}"
    app.reporter.result(
        {"deleted": said, "votes": votes, "questions": asked, "caller": caller}, f"{counts} of {caller} deleted"
    )


def _line(one: Feedback) -> str:
    from ragft.keys import shown_moment

    told = [one.id, shown_moment(round(one.time)), one.caller, one.thumb, one.reason, one.setup]
    said = one.comment or one.corrected_answer or one.question or ""
    return "  ".join([*(part for part in told if part), " ".join(said.split())[:60]]).rstrip()


def _ids(left_out: Iterable[LeftOut], why: str) -> str:
    """The first ids that were left out for a reason, with the rows that they say the same as."""
    from ragft.console import some

    found = [one for one in left_out if one.why == why and one.detail]
    return f": {some([f'{one.id} ({one.detail})' for one in found])}" if found else ""
