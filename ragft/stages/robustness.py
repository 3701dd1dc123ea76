"""The robustness suite over the live index: which answers stay right when passages or questions are disturbed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact
from ragft.data.gold import located
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.shares import in_words
from ragft.evaluate.statistics import STATISTICS_VERSION, cluster_questions
from ragft.evaluate.suites.disturbances import Case, Found, Variation, disturbed, pool_of, with_typos
from ragft.evaluate.suites.figures import difference_shown
from ragft.evaluate.suites.paraphrases import paraphrase
from ragft.evaluate.suites.robustness import ROBUSTNESS_VERSION, VARIATIONS, ask, result
from ragft.stages.application import Application, Inputs
from ragft.stages.asking import (
    ask_setups,
    right_by_setup,
    setups_with_passages,
    single_questions,
    what_is_asked,
)
from ragft.stages.index import live_snapshot
from ragft.stages.inputs import RETRIEVAL, ROBUSTNESS


def robustness(app: Application, evaluation: Artifact) -> Artifact:
    """The suite for every setup with retrieval that is compared, with `result` of each among the figures.

    Says how many answers it takes before it asks for any.

    Args:
        evaluation: of the same setups; it tells which questions they answer rightly as they are.

    Raises:
        UsageError: no setup retrieves, or nothing can be changed.
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    config = app.config
    setups = setups_with_passages(app, "disturb")
    snapshot = live_snapshot(app)
    versions = {"version": ROBUSTNESS_VERSION, "statistics": STATISTICS_VERSION}
    inputs = {**versions, **what_is_asked(app, setups, snapshot, evaluation)}

    def work(folder: Path) -> dict[str, Any]:
        questions, rules = located(single_questions(app), snapshot.chunks()).questions, Rules.of(config.answer)
        cases, documents = _cases(app, snapshot, questions)
        if not cases:
            raise UsageError(
                "No question can be disturbed: none is answerable, or none has passages and words to change."
            )
        counts = Counter(case.variation for case in cases)
        listed = ", ".join(f"{count} {variation}" for variation, count in counts.items())
        app.reporter.say(
            f"The suite takes {len(setups) * len(cases)} answers: of each of {len(setups)} setups {listed}. Fewer "
            "questions: evaluate.limit."
        )
        told = ask_setups(
            app, setups, cases, "Asking again, disturbed",
            lambda pipeline, setup, case: ask(pipeline, setup, case, rules),
        )  # fmt: skip
        write_file(folder / "robustness.jsonl", to_lines(asdict(one) for answers in told.values() for one in answers))
        clusters, right = cluster_questions(questions, documents), right_by_setup(evaluation)
        return {
            name: result(
                answers, questions, right.get(name, set()), clusters, seed=config.seed,
                resamples=config.evaluate.resamples,
            )
            for name, answers in told.items()
        }  # fmt: skip

    return app.build(Inputs((ROBUSTNESS, RETRIEVAL), inputs, {"index": snapshot.id}), work)


def _cases(app: Application, snapshot: Snapshot, questions: Sequence[Question]) -> tuple[list[Case], set[str]]:
    """All cases, variation by variation, and the documents that the index holds."""
    config, retriever = app.config, app.retriever(snapshot)
    labels = app.labels
    answerable = [question for question in questions if question.answerable]
    texts = [question.question for question in answerable]
    plain = retriever.search(texts, labels=labels)
    wider = retriever.search(texts, 2 * config.index.search.top_k, labels=labels)
    pool, cases = pool_of(questions), list[Case]()
    for question, found, more in zip(answerable, plain, wider, strict=True):
        cases += disturbed(Found(question, found.hits, more.hits, pool), config.seed)
    reworders: dict[Variation, Callable[[Question, int], str | None]] = {"typos": with_typos, "paraphrase": paraphrase}
    for variation, reworder in reworders.items():
        made = [(question, reworder(question, config.seed)) for question in answerable]
        reworded = [(question, text) for question, text in made if text is not None]
        again = retriever.search([text for _, text in reworded], labels=labels) if reworded else []
        cases += [Case(one, variation, text, hits.hits) for (one, text), hits in zip(reworded, again, strict=True)]
    cases.sort(key=lambda case: VARIATIONS.index(case.variation))
    return cases, {chunk.document_id for chunk in snapshot.chunks()}


def robustness_tables(artifact: Artifact) -> list[Any]:
    """The result for people, a table for each setup."""
    return [_table(setup, found) for setup, found in artifact.figures.items()]


def _table(setup: str, found: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        "changed", box=box.SIMPLE_HEAD, title=setup, title_justify="left", caption_justify="left",
        caption="Shares with 95 % intervals; kept: of the answers right before. p is corrected over the rows.",
    )  # fmt: skip
    table.columns[0].no_wrap, table.columns[0].min_width = True, max(map(len, found), default=0)
    for column in ("n", "right", "kept", "difference", "p", "refused", "obeyed", "both"):
        table.add_column(column, justify="right")
    for variation, one in found.items():
        shares = [in_words(one[name]) for name in ("right", "kept", "refused", "obeyed", "both")]
        difference, p = difference_shown(one["difference"])
        table.add_row(variation, str(one["n"]), *shares[:2], difference, p, *shares[2:])
    return table
