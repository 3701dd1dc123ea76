"""Two evaluations compared, and what a release must meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragft.cli.options import AsJson
from ragft.cli.results import show_evaluation
from ragft.errors import UsageError

if TYPE_CHECKING:
    from ragft.artifacts import Artifact
    from ragft.evaluate.gates import Condition
    from ragft.evaluate.runs import Run
    from ragft.stages.application import Application

commands = typer.Typer()

Against = Annotated[
    Path | None,
    typer.Option(help="Folder of an earlier evaluation: says what changed since.", metavar="FOLDER"),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help="Ends with status 1 unless the 95 % interval excludes this, as in --fail-if 'hybrid.exact_match - "
        "rag-only.exact_match < 0.02'. Repeatable.",
        metavar="CONDITION",
    ),
]


@commands.command()
def compare(
    before: Annotated[Path, typer.Argument(help="Folder of an evaluation.", metavar="BEFORE")],
    after: Annotated[Path, typer.Argument(help="Folder of a later one, with the same questions.", metavar="AFTER")],
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations, paired by question: what changed, whether it is noise, and on which questions."""
    from dataclasses import asdict

    from ragft.console import Reporter
    from ragft.evaluate.runs import compare_runs, read_run, sentences

    found = compare_runs(read_run(before), read_run(after))
    Reporter(as_json).result(asdict(found), *sentences(found))


def conditions_of(app: Application, fail_if: Sequence[str] | None, *, elsewhere: bool = False) -> list[Condition]:
    """The conditions of `--fail-if`, refused before anything is asked where they name what there is not.

    Args:
        elsewhere: the answers were made elsewhere, so their setups are not known yet.
    """
    from ragft.evaluate.gates import parse_condition
    from ragft.evaluate.metrics import METRICS, OPTIONAL
    from ragft.evaluate.metrics.selection import selected

    if not fail_if:
        return []
    config = app.config.evaluate
    setups = None if elsewhere else [*config.setups, *config.arms]
    found = []
    with selected(config.metrics, config.metrics_file, decides=config.decides):
        for text in fail_if:
            condition = parse_condition(text, setups, [*METRICS, *OPTIONAL], config.decides)
            if condition.metric not in METRICS:
                raise UsageError(
                    f"--fail-if {text!r}: {condition.metric} is not computed: name it in evaluate.metrics, too."
                )
            found.append(condition)
    return found


def run_before(against: Path | None) -> Run | None:
    """The evaluation of `--against`, read before anything is asked.

    Raises:
        UsageError: there is none.
    """
    from ragft.evaluate.runs import read_run

    return None if against is None else read_run(against)


def finish(
    app: Application, artifact: Artifact, conditions: Sequence[Condition], before: Run | None,
    lines: Sequence[Any] = (), **values: Any,
) -> None:  # fmt: skip
    """Shows an evaluation, what changed since another one, and whether the conditions are met.

    Args:
        before: the evaluation that it is compared with; None: none.
        lines, values: of `show_evaluation`.

    Raises:
        RagftError: a condition is not met.
    """
    import json
    from dataclasses import asdict

    from ragft.errors import RagftError
    from ragft.evaluate.arms import with_arms
    from ragft.evaluate.gates import judge, refusal_of
    from ragft.evaluate.runs import compare_runs, read_run, sentences
    from ragft.evaluate.score import Comparison

    said: list[Any] = list(lines)
    if before is not None:
        found = compare_runs(before, read_run(artifact.folder))
        values["against"] = asdict(found)
        said += sentences(found)
    stated = Comparison.from_json(json.loads((artifact.folder / "comparison.json").read_text(encoding="utf-8")))
    judged = [judge(condition, with_arms(stated)) for condition in conditions]
    if judged:
        values["gates"] = {each.condition.text: {"failed": each.failed, "told": each.told} for each in judged}
        said += [f"{'Not met' if each.failed else 'Met'}: {each.told}" for each in judged]
    show_evaluation(app, artifact, said, **values)
    if refusal := refusal_of(judged):
        raise RagftError(refusal)
