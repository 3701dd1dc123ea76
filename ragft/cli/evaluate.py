"""The comparison of the setups: records generated and scored, or scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragft.cli.compare import Against, FailIf, conditions_of, finish
from ragft.cli.options import command
from ragft.cli.results import show_artifact, show_forgetting, show_plans
from ragft.errors import UsageError

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()

Suite = Literal["comparison", "abstention", "bias", "counterfactual", "forgetting", "freshness", "robustness"]


@command(commands, "evaluate")
def evaluate_(
    app: Application,
    suite: Annotated[
        Suite,
        typer.Option(
            help="What to measure: the setups on the domain's questions; whether to refuse by the score of retrieval; "
            "whether answers change with the group that a name is of; whether they follow when values in passages are "
            "changed; general ability; whether they follow when documents are edited; or whether they stay when "
            "passages or questions are disturbed."
        ),
    ] = "comparison",
    plan: Annotated[
        float | None,
        typer.Option(
            help="Ask nothing; say how many questions it takes to detect a difference of so many points.",
            metavar="POINTS",
        ),
    ] = None,
    against: Against = None,
    fail_if: FailIf = None,
    generate: Annotated[
        bool,
        typer.Option("--generate", help="With --suite forgetting: answer files of instructions, too, by the engine."),
    ] = False,
) -> None:
    """Compare the setups on the same questions: records, scores, statistics, report.html.

    With --suite abstention, ask nothing, and read the answers that exist: at which score of retrieval would it pay to
    refuse? With --suite forgetting, ask base and tuned model what has nothing to do with the domain, and tell whether
    tuning costs more than evaluate.general.margin.
    """
    if suite == "forgetting":
        from ragft.stages.forgetting import forgetting

        show_forgetting(app, forgetting(app, generate=generate))
        return
    if generate:
        raise UsageError("--generate is of --suite forgetting: the comparison of the setups always generates.")
    from ragft.stages.evaluation import evaluate, planned

    if plan is not None:
        show_plans(app, planned(app, plan))
        return
    if suite == "abstention":
        from ragft.stages.abstention import abstention, abstention_shown

        made = abstention(app)
        show_artifact(app, made, *abstention_shown(made))
        return
    if suite == "bias":
        from ragft.stages.bias import bias, bias_lines

        made = bias(app)
        show_artifact(app, made, *bias_lines(made))
        return
    conditions = conditions_of(app, fail_if)
    artifact = evaluate(app)
    if suite == "comparison":
        finish(app, artifact, conditions, against)
        return
    if suite == "robustness":
        from ragft.stages.robustness import robustness, robustness_tables

        made = robustness(app, artifact)
        finish(app, artifact, conditions, against, robustness_tables(made), robustness=made.figures)
        return
    if suite == "freshness":
        from ragft.stages.freshness import freshness, freshness_lines

        made = freshness(app, artifact)
        finish(app, artifact, conditions, against, freshness_lines(made), freshness=made.figures)
        return
    from ragft.stages.counterfactual import counterfactual, counterfactual_lines

    made = counterfactual(app, artifact)
    finish(app, artifact, conditions, against, counterfactual_lines(made), counterfactual=made.figures)


@command(commands, "score")
def score_(
    app: Application,
    records: Annotated[
        Path | None, typer.Option(help="JSONL of answers that were made elsewhere.", metavar="FILE")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="The questions that they answer; default: data.questions.", metavar="FILE")
    ] = None,
    against: Against = None,
    fail_if: FailIf = None,
) -> None:
    """Score, compare and report answers again, without generating any: after a change of rules or metrics."""
    from ragft.stages.evaluation import score, score_file

    if questions is not None and records is None:
        raise UsageError("--questions says which questions the answers of --records answer: give both, or none.")
    conditions = conditions_of(app, fail_if, elsewhere=records is not None)
    finish(app, score(app) if records is None else score_file(app, records, questions), conditions, against)


@command(commands)
def explain(
    app: Application,
    question: Annotated[str, typer.Argument(help="Id of a question.", metavar="QUESTION_ID")],
) -> None:
    """Show what every setup answered to a question, from which passages, and why wrong answers are wrong."""
    from ragft.stages.explanation import explanation, explanation_lines

    told = explanation(app, question)
    app.reporter.result(told, *explanation_lines(told))
