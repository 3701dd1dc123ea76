"""The bias suite over the live index: do answers change with the group that a name or a word is of?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.search.search import Hit
from ragft.artifacts import Artifact
from ragft.console import counted
from ragft.data.groups import BUILT_IN
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.shares import in_words
from ragft.evaluate.statistics import STATISTICS_VERSION
from ragft.evaluate.suites.bias import BIAS_VERSION, Case, ask, cases_of, filled, result
from ragft.setups import SETUPS, Setup
from ragft.stages.application import Application, Inputs
from ragft.stages.asking import ask_setups, what_is_asked
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import BIAS, RETRIEVAL

_KEY = "evaluate.bias.questions"


def bias(app: Application) -> Artifact:
    """The suite for every setup that is compared, with `result` of each among the figures.

    Raises:
        UsageError: no question holds a term of a group.
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    config, settings = app.config, app.config.evaluate.bias
    setups: list[Setup] = [SETUPS[name] for name in config.evaluate.setups]
    snapshot = live_snapshot(app) if any(setup.retrieval for setup in setups) else None
    axes = settings.groups or BUILT_IN
    inputs = {
        "version": BIAS_VERSION, "statistics": STATISTICS_VERSION, **what_is_asked(app, setups, snapshot, None),
        "asked beside": app.hash_input(settings.questions, _KEY),
    }  # fmt: skip

    def found(questions: Sequence[Question]) -> dict[str, tuple[Hit, ...]]:
        if snapshot is None:
            return {}
        hits = app.retriever(snapshot).search([question.question for question in questions], labels=app.labels)
        return {question.id: one.hits for question, one in zip(questions, hits, strict=True)}

    def work(folder: Path) -> dict[str, Any]:
        questions = filled([*app.questions, *_further(app, settings.questions)], axes)
        cases, left_out = cases_of(questions, axes, found)
        _say_what_is_asked(app, cases, questions, len(setups))
        rules = Rules.of(config.answer)
        told = ask_setups(
            app, setups, cases, "Asking with other names",
            lambda pipeline, setup, case: ask(pipeline, setup, case, rules),
        )  # fmt: skip
        not_asked = [
            {"question_id": name, "axis": axis, "why": why}
            for axis, reasons in left_out.items()
            for name, why in reasons.items()
        ]
        write_file(
            folder / "bias.jsonl", to_lines([*(asdict(one) for all_ in told.values() for one in all_), *not_asked])
        )
        return {
            "setups": {
                name: result(answers, questions, axes, seed=config.seed, resamples=config.evaluate.resamples)
                for name, answers in told.items()
            },
            "left_out": {axis: dict(Counter(reasons.values())) for axis, reasons in left_out.items()},
        }  # fmt: skip

    stages = (BIAS,) if snapshot is None else (BIAS, RETRIEVAL)
    return app.build(Inputs(stages, inputs, {} if snapshot is None else {"index": snapshot.id}), work)


def _further(app: Application, path: Path | None) -> tuple[Question, ...]:
    """The questions beside those of the domain.

    Raises:
        UsageError: an id is one of those.
    """
    further = () if path is None else read_questions(path)
    if twice := {question.id for question in app.questions} & {question.id for question in further}:
        raise UsageError(f"{path}: the id {min(twice)!r} is one of data.questions, too: give it another one.")
    return further


def _say_what_is_asked(app: Application, cases: Sequence[Case], questions: Sequence[Question], setups: int) -> None:
    if not cases:
        raise UsageError(
            f"None of {counted(len(questions), 'question')} can be asked of several groups: each holds no term, terms "
            f'of several groups, or an unclear pronoun. Name questions that hold one in {_KEY}, as in {{"id": "b1", '
            '"question": "May {gender} bring a dog?", "answers": ["yes"]}, or terms of your own in '
            "evaluate.bias.groups."
        )
    counts = Counter(case.axis for case in cases if case.variant == case.own)
    listed = ", ".join(f"{count} by {axis}" for axis, count in counts.items())
    app.reporter.say(
        f"The suite takes {setups * len(cases)} answers: of each of {setups} setups to the groups' variants of "
        f"{counted(counts.total(), 'question')} ({listed}). Fewer questions: evaluate.limit."
    )


def bias_lines(artifact: Artifact) -> list[str]:
    """The result for people: what changes with the group, for each setup and axis, and what was not asked."""
    figures = artifact.figures
    lines = [
        line
        for setup, found in figures["setups"].items()
        for axis, of in found.items()
        for line in _lines(f"{setup}, {axis}", of)
    ]
    for axis, reasons in figures["left_out"].items():
        lines += [f"{axis}: {counted(count, 'question')} not asked: {why}." for why, count in reasons.items()]
    return lines


def _lines(where: str, found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{where}, {pair['a']} against {pair['b']}: {in_words(pair['any'])} of {counted(pair['n'], 'answer')} change "
        f"(value {in_words(pair['value'])}, refusal {in_words(pair['refusal'])}, form {in_words(pair['form'])}); "
        f"{pair['a']} minus {pair['b']}: refused {_points(pair['refused'])}, right {_points(pair['right'])}."
        for pair in found["pairs"]
    ]
    if found["failed"]:
        lines.append(f"{where}: {counted(found['failed'], 'answer')} failed, and the questions count in no such pair.")
    same = found["same_group"]
    if same is not None:
        lines.append(
            f"{where}: with another name of the same group {in_words(same['any'])} of {same['n']} change; with another "
            f"group {_points(same['beyond'])} more."
        )
    return lines


def _points(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "not known"
    between = "" if one["low"] is None else f"{100 * one['low']:+.1f} to {100 * one['high']:+.1f}, "
    return f"{100 * one['value']:+.1f} points ({between}p = {one['p_holm']:.3f})"
