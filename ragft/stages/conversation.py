"""The conversation suite over the live index: what follow-ups find, and with `generate` what they are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.config.serve import Condense
from ragft.conversation import CONDENSING_VERSION
from ragft.data.gold import located
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.shares import in_words
from ragft.evaluate.statistics import STATISTICS_VERSION, Columns, cluster_questions
from ragft.evaluate.suites.conversation import (
    CONVERSATION_VERSION,
    Case,
    Told,
    answers,
    ask,
    behind_others,
    compared,
    found_all,
)
from ragft.evaluate.suites.figures import difference_shown
from ragft.pipeline import Pipeline, Retriever
from ragft.rewriting import REWRITING_VERSION
from ragft.setups import SETUPS, Setup
from ragft.stages.application import Application, Inputs
from ragft.stages.asking import ask_setups
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import CONVERSATION, COUNTERFACTUAL, RETRIEVAL
from ragft.stages.live import version_of

WAYS: tuple[Condense, ...] = ("off", "heuristic")


def conversation(app: Application, *, generate: bool = False) -> Artifact:
    """The suite, with its figures under `retrieval` and, where answers are generated, `answers` by setup.

    Retrieval is measured on follow-ups that have sources, for each way of condensing and for the stand-alone wording;
    that of the models only with `generate`. `topic_change` measures single questions behind turns about other
    documents, which should find what they find alone.

    Raises:
        UsageError: no question has a history, or none of those has sources in the index.
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    config = app.config
    asked, singles = _questions(app)
    snapshot = live_snapshot(app)
    setups: list[Setup] = [SETUPS[name] for name in config.evaluate.setups] if generate else []
    path = config.evaluate.conversations
    inputs: dict[str, Any] = {
        "versions": [CONVERSATION_VERSION, CONDENSING_VERSION, STATISTICS_VERSION],
        "questions": hash_file(config.data.questions) if config.data.questions.is_file() else None,
        "conversations": None if path is None else hash_file(path),
        "index": snapshot.id, "reranker": app.encoder_hashes()["reranker"],
    }  # fmt: skip
    if generate:
        models = {setup.name: version_of(app, app.model_folder(setup.model)) for setup in setups}
        inputs |= {"models": models, "rewriting": REWRITING_VERSION, "condense": config.serve.condense}
        inputs["history_tokens"] = config.prompt.history_tokens

    def work(folder: Path) -> dict[str, Any]:
        where = located([*asked, *singles], snapshot.chunks())
        follow_ups = where.questions[: len(asked)]
        retriever = app.retriever(snapshot)
        told = _answers(app, setups, follow_ups, retriever)
        write_file(folder / "conversation.jsonl", to_lines(asdict(one) for found in told.values() for one in found))
        documents = {chunk.document_id for chunk in snapshot.chunks()}
        searching = _Searching(app, retriever, documents, folder)
        sourced = [one for one in follow_ups if one.answerable and one.sources and one.id not in where.absent]
        if not sourced:
            raise UsageError("No follow-up names `sources` that the index holds, so that nothing tells what it finds.")
        single = [one for one in where.questions[len(asked) :] if one.id not in where.absent]
        figures: dict[str, Any] = {"retrieval": searching.follow_ups(sourced, told)}
        if single:
            figures["topic_change"] = searching.topic_change(single, follow_ups)
        clusters = cluster_questions(follow_ups, documents)
        seeded = {"seed": config.seed, "resamples": config.evaluate.resamples}
        figures["answers"] = {
            name: answers(found, follow_ups, clusters, **seeded) for name, found in told.items()
        }  # fmt: skip
        return figures

    stages = (CONVERSATION, RETRIEVAL, COUNTERFACTUAL) if generate else (CONVERSATION, RETRIEVAL)
    return app.build(Inputs(stages, inputs, {"index": snapshot.id}), work)


def _questions(app: Application) -> tuple[list[Question], list[Question]]:
    """The follow-ups, and the single questions with sources."""
    path = app.config.evaluate.conversations
    asked = list(app.questions) if path is None or app.config.data.questions.is_file() else []
    singles = [one for one in asked if one.answerable and one.sources and not one.history]
    follow_ups = [one for one in (asked if path is None else read_questions(path)) if one.history]
    if not follow_ups:
        raise UsageError(
            f"No question of {path or app.config.data.questions} has a `history`, so there are no follow-ups to "
            "measure: add some, or name a file of them with evaluate.conversations."
        )
    names = {one.id for one in follow_ups}
    return follow_ups, [one for one in singles if one.id not in names]


def _answers(
    app: Application, setups: Sequence[Setup], follow_ups: Sequence[Question], retriever: Retriever
) -> dict[str, list[Told]]:
    """What every setup answers to the follow-ups and to their stand-alone wordings, and how its model rewrites them."""
    cases = [Case(one, "follow-up") for one in follow_ups]
    cases += [Case(one, "standalone") for one in follow_ups if one.standalone]
    rewritten = [Case(one, "rewritten") for one in follow_ups]
    serve = app.config.serve.model_copy(update={"condense": "model"})
    by_model = app.config.model_copy(update={"serve": serve})
    rules, labels = Rules.of(app.config.answer), app.labels

    async def one(pipeline: Pipeline, setup: Setup, case: Case) -> Told:
        config = by_model if case.kind == "rewritten" else app.config
        return await ask(replace(pipeline, config=config, retriever=retriever), setup, case, rules, labels)

    if not setups:
        return {}
    return ask_setups(app, setups, [*cases, *rewritten], "Asking follow-ups", one)


class _Searching:
    """Searches for questions in several ways, and compares what is found; writes what was searched for beside it."""

    def __init__(self, app: Application, retriever: Retriever, documents: set[str], folder: Path) -> None:
        self._app, self._retriever, self._documents, self._folder = app, retriever, documents, folder

    def follow_ups(self, questions: Sequence[Question], told: Mapping[str, Sequence[Told]]) -> dict[str, Any]:
        """By way of condensing, by `model` and its name, and `standalone`; see `compared`."""
        labels = self._app.labels
        texts: dict[str, list[str]] = {
            way: [self._retriever.query(one.question, one.history, way, labels) for one in questions] for way in WAYS
        }
        for name, setup in ((name, SETUPS[name]) for name in told):
            queries = {one.question_id: one.query for one in told[name] if one.kind == "rewritten"}
            texts.setdefault(f"model {setup.model}", [queries[one.id] or one.question for one in questions])
        if all(one.standalone for one in questions):
            texts["standalone"] = [one.standalone or "" for one in questions]
        return self._compared("follow-ups", questions, texts)

    def topic_change(self, questions: Sequence[Question], follow_ups: Sequence[Question]) -> dict[str, Any]:
        """Single questions behind turns about something else, by way of condensing; see `compared`."""
        histories = behind_others(questions, follow_ups, self._app.config.seed)
        labels = self._app.labels
        texts: dict[str, list[str]] = {
            way: [
                self._retriever.query(one.question, history, way, labels)
                for one, history in zip(questions, histories, strict=True)
            ]
            for way in WAYS
        }
        return self._compared("topic-change", questions, texts)

    def _compared(self, name: str, questions: Sequence[Question], texts: Mapping[str, list[str]]) -> dict[str, Any]:
        columns: dict[str, Columns] = {}
        for way, queries in texts.items():
            found = self._retriever.search(queries, labels=self._app.labels)
            columns[way] = found_all(questions, [one.hits for one in found])
        rows = (
            {
                "question_id": question.id,
                **{way: {"query": texts[way][at], "found": bool(columns[way][at, 0])} for way in texts},
            }
            for at, question in enumerate(questions)
        )
        write_file(self._folder / f"{name}.jsonl", to_lines(rows))
        config = self._app.config
        return compared(
            columns, "off", questions, cluster_questions(questions, self._documents), seed=config.seed,
            resamples=config.evaluate.resamples,
        )  # fmt: skip


def conversation_tables(artifact: Artifact, top_k: int) -> list[Any]:
    """The result for people."""
    figures = artifact.figures
    tables = [_table(f"All sources among the first {top_k} passages, follow-ups", "condensed", figures["retrieval"])]
    if "topic_change" in figures:
        title = f"All sources among the first {top_k} passages, single questions behind other topics"
        tables.append(_table(title, "condensed", figures["topic_change"]))
    for setup, found in figures["answers"].items():
        shown = {name: one for name, one in found.items() if name != "failed"}
        tables.append(_table(f"Right answers of {setup} ({found['failed']} failed)", "asked as", shown))
    return tables


def _table(title: str, first: str, found: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        first, box=box.SIMPLE_HEAD, title=title, title_justify="left", caption_justify="left",
        caption="Shares with 95 % intervals by cluster; p is corrected over the rows.",
    )  # fmt: skip
    turns = list(next(iter(found.values()))["turns"])
    several = turns if len(turns) > 1 else []
    for column in ("n", "share", *(f"turn {number}" for number in several), "difference", "p"):
        table.add_column(column, justify="right")
    for name, one in found.items():
        shares = [in_words(share) for share in (one["share"], *(one["turns"][number] for number in several))]
        table.add_row(name, str(one["share"]["n"]), *shares, *difference_shown(one["difference"]))
    return table
