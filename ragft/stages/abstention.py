"""The abstention suite over records that exist: what would refusing by the score of retrieval do?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.records import read_answers
from ragft.evaluate.statistics import STATISTICS_VERSION, cluster_questions
from ragft.evaluate.suites.abstention import ABSTENTION_VERSION, Case, case, result
from ragft.setups import SETUPS
from ragft.stages.application import Application, Inputs
from ragft.stages.evaluation import existing
from ragft.stages.inputs import ABSTENTION


def abstention(app: Application) -> Artifact:
    """The suite for every setup with retrieval that is compared, with `result` of each among the figures.

    Raises:
        UsageError: no setup retrieves.
        RagftError: there are no answers for this configuration yet.
    """
    config = app.config
    setups = [name for name in config.evaluate.setups if SETUPS[name].retrieval]
    if not setups:
        raise UsageError("No setup of evaluate.setups retrieves, so there is no score to refuse by: add hybrid.")
    records = existing(app)
    inputs = {
        "version": ABSTENTION_VERSION, "statistics": STATISTICS_VERSION, "questions": hash_file(config.data.questions),
        "records": {name: records[name].fingerprint for name in setups},
    }  # fmt: skip

    def work(folder: Path) -> dict[str, Any]:
        rules, found, rows = Rules.of(config.answer), dict[str, Any](), []
        for name in setups:
            cases, documents = cases_of(records[name].folder, app.questions, rules)
            asked = {question.id: question for question in app.questions}
            clusters = cluster_questions([asked[one.question_id] for one in cases], documents)
            found[name] = result(cases, clusters, seed=config.seed)
            rows += [{"setup": name, **asdict(one)} for one in cases]
        write_file(folder / "abstention.jsonl", to_lines(rows))
        return found

    return app.build(Inputs((ABSTENTION,), inputs), work)


def cases_of(folder: Path, questions: Sequence[Question], rules: Rules) -> tuple[list[Case], set[str]]:
    """The answers in a folder of records, in the order of the questions; and the documents that were found for them."""
    answers = {record.question_id: record for record in read_answers(folder)}
    path = folder / "retrieval.jsonl"
    rows = map(json.loads, path.read_bytes().splitlines()) if path.is_file() else ()
    hits = {row["question_id"]: row["hits"] for row in rows}
    cases = [
        case(question, answers[question.id], hits.get(question.id, ()), rules)
        for question in questions
        if question.id in answers
    ]
    return cases, {hit["document_id"] for found in hits.values() for hit in found}


def abstention_shown(artifact: Artifact) -> list[Any]:
    """The result for people: a curve for each setup, by the score that orders its answers best, and the verdict."""
    return [part for setup, found in artifact.figures.items() for part in (*_curve(setup, found), _line(setup, found))]


def _line(setup: str, found: Mapping[str, Any]) -> str:
    return (
        f"{setup}: {found['right']} of {found['n']} answers are right, {found['wrong']} wrong, and {found['refused']} "
        f"refuse by themselves, {found['refused_rightly']} of them rightly. {found['text']}"
    )


def _curve(setup: str, found: Mapping[str, Any]) -> list[Any]:
    from rich import box
    from rich.table import Table

    areas = {name: one for name, one in found["signals"].items() if one["aurc"] is not None}
    if not areas:
        return []
    name = min(areas, key=lambda one: float(areas[one]["aurc"]["value"]))
    one = areas[name]
    table = Table(
        "answered from", box=box.SIMPLE_HEAD, title=f"{setup} by {name} score", title_justify="left",
        caption_justify="left",
        caption=f"Area under the curve {one['aurc']['value']:.3f}; by chance {one['random']:.3f}, at best "
        f"{one['best']:.3f}.",
    )  # fmt: skip
    for column in ("coverage", "wrong among the answers", "95 % interval"):
        table.add_column(column, justify="right")
    for point in one["curve"]:
        risk = point["risk"]
        between = "" if risk["low"] is None else f"{risk['low']:.0%} to {risk['high']:.0%}"
        threshold = "any" if point["threshold"] is None else f"{point['threshold']:.4g}"
        table.add_row(threshold, f"{point['coverage']:.0%}", f"{risk['mean']:.0%}", between)
    return [table]
