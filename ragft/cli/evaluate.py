"""The comparison of the setups: records generated and scored, or scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragft.cli.compare import Against, FailIf, conditions_of, finish, run_before
from ragft.cli.options import command
from ragft.cli.results import show_artifact, show_forgetting, show_plans
from ragft.errors import UsageError

if TYPE_CHECKING:
    from ragft.stages.application import Application

commands = typer.Typer()

Suite = Literal[
    "comparison", "abstention", "bias", "conversation", "counterfactual", "forgetting", "freshness", "robustness",
    "seeds",
]  # fmt: skip
_WITHOUT_COMPARISON = ("abstention", "bias", "conversation", "forgetting", "seeds")


@command(commands, "evaluate")
def evaluate_(
    app: Application,
    suite: Annotated[
        Suite,
        typer.Option(
            help="What to measure: the setups on the domain's questions; whether to refuse by the score of retrieval; "
            "whether follow-ups find and get what single questions do; whether answers change with the group that a "
            "name is of; whether they follow when values in passages are changed; general ability; whether they follow "
            "when documents are edited; whether they stay when passages or questions are disturbed; or whether the "
            "comparison stands when the recipe is trained with other seeds."
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
        typer.Option(
            "--generate",
            help="Ask the engine, too: with --suite forgetting files of instructions, with --suite conversation all "
            "follow-ups.",
        ),
    ] = False,
) -> None:
    """Compare the setups on the same questions: records, scores, statistics, report.html.

    With --suite abstention, ask nothing, and read the answers that exist: at which score of retrieval would it pay to
    refuse? With --suite forgetting, ask base and tuned model what has nothing to do with the domain, and tell whether
    tuning costs more than evaluate.general.margin. With --suite conversation, search for follow-ups as they are and
    as they are condensed; with --generate, answer them, too, beside the same questions asked alone. With --suite
    freshness, edit a copy of the documents, refresh its index and ask again. With --suite bias, exchange names and
    words of groups of people. With --suite seeds, train the recipe again with each of evaluate.seeds, and tell which
    differences are larger than those between two trainings.
    """
    if suite in _WITHOUT_COMPARISON and (fail_if or against):
        raise UsageError(f"--fail-if and --against are of a comparison, which --suite {suite} does not make.")
    if suite == "forgetting":
        from ragft.stages.forgetting import forgetting

        show_forgetting(app, forgetting(app, generate=generate))
        return
    if suite == "conversation":
        from ragft.stages.conversation import conversation, conversation_tables

        made = conversation(app, generate=generate)
        show_artifact(app, made, *conversation_tables(made, app.config.index.search.top_k))
        return
    if generate:
        raise UsageError(
            "--generate is of --suite forgetting and --suite conversation: the comparison of the setups always "
            "generates."
        )
    from ragft.stages.evaluation import evaluate, planned

    if plan is not None:
        show_plans(app, planned(app, plan))
        return
    if suite == "abstention":
        from ragft.stages.abstention import abstention, abstention_shown

        made = abstention(app)
        show_artifact(app, made, *abstention_shown(made))
        return
    if suite == "seeds":
        from ragft.evaluate.suites.seeds import seeds_tables
        from ragft.stages.seeds import seeds

        made = seeds(app)
        show_artifact(app, made, *seeds_tables(made.figures))
        return
    if suite == "bias":
        from ragft.stages.bias import bias, bias_lines

        made = bias(app)
        show_artifact(app, made, *bias_lines(made))
        return
    conditions, before = conditions_of(app, fail_if), run_before(against)
    artifact = evaluate(app)
    if suite == "comparison":
        finish(app, artifact, conditions, before)
        return
    if suite == "robustness":
        from ragft.stages.robustness import robustness, robustness_tables

        made = robustness(app, artifact)
        finish(app, artifact, conditions, before, robustness_tables(made), robustness=made.figures)
        return
    if suite == "freshness":
        from ragft.stages.freshness import freshness, freshness_lines

        made = freshness(app, artifact)
        finish(app, artifact, conditions, before, freshness_lines(made), freshness=made.figures)
        return
    from ragft.stages.counterfactual import counterfactual, counterfactual_lines

    made = counterfactual(app, artifact)
    finish(app, artifact, conditions, before, counterfactual_lines(made), counterfactual=made.figures)


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
    conditions, before = conditions_of(app, fail_if, elsewhere=records is not None), run_before(against)
    finish(app, score(app) if records is None else score_file(app, records, questions), conditions, before)


@command(commands)
def explain(
    app: Application,
    question: Annotated[str, typer.Argument(help="Id of a question.", metavar="QUESTION_ID")],
) -> None:
    """Show what every setup answered to a question, from which passages, and why wrong answers are wrong."""
    from ragft.stages.explanation import explanation, explanation_lines

    told = explanation(app, question)
    app.reporter.result(told, *explanation_lines(told))
