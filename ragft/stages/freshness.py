"""The freshness suite: a copy of documents and index is edited and refreshed, and the questions are asked again."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.durable import write_file
from index.store.snapshot import Snapshot
from ragft.artifacts import Artifact
from ragft.console import Silent, counted
from ragft.data.gold import located, source_hits
from ragft.data.jsonl import to_lines
from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.shares import in_words
from ragft.evaluate.statistics import STATISTICS_VERSION
from ragft.evaluate.suites.freshness import FRESHNESS_VERSION, Asked, Edits, Fact, ask, holds, planned, result
from ragft.stages.application import Application, Inputs
from ragft.stages.asking import ask_setups, right_by_setup, setups_with_passages, what_is_asked
from ragft.stages.index import live_snapshot, refresh
from ragft.stages.inputs import FRESHNESS, RETRIEVAL

_TIMED = 5
"""Changed documents that are refreshed one by one, to tell how long that takes; the others follow together."""

_NOT_COPIED = ("LOCK", "cache")  # of the index; vectors of passages that were is all that a cache could save


def freshness(app: Application, evaluation: Artifact) -> Artifact:
    """The suite for every setup with retrieval that is compared, with `result` of each among the figures.

    Documents and live index are read and copied, and nothing else; the copies are deleted at the end.

    Args:
        evaluation: of the same setups; it tells which questions they answer rightly from the documents as they are.

    Raises:
        UsageError: no setup retrieves, the documents have changed since the index was refreshed, or no fact can be
            edited.
        RagftError: more answers of a setup failed than `evaluate.max_failed` allows.
    """
    config = app.config
    setups = setups_with_passages(app, "edit")
    snapshot = live_snapshot(app)
    versions = {"version": FRESHNESS_VERSION, "statistics": STATISTICS_VERSION}
    inputs = {**versions, **what_is_asked(app, setups, snapshot, evaluation)}

    def work(folder: Path) -> dict[str, Any]:
        chunks = list(snapshot.chunks())
        questions, documents = located(app.questions, chunks).questions, {chunk.document_id for chunk in chunks}
        with _scratch(folder / "scratch") as scratch:
            copy = _Copy.of(app, snapshot, scratch)
            edits = planned(questions, source_hits(questions, chunks), copy.files(documents), config.seed)
            _say_what_is_asked(app, edits, len(setups))
            seconds = _edited(app, copy, edits)
            found = copy.search(app, [fact.question for fact in edits.facts])
        asked = [Asked(fact, hits) for fact, hits in zip(edits.facts, found, strict=True)]
        rules = Rules.of(config.answer)
        told = ask_setups(
            app, setups, asked, "Asking again after the edits",
            lambda pipeline, setup, one: ask(pipeline, setup, one, rules),
        )  # fmt: skip
        not_asked = [{"question_id": name, "outcome": "not asked", "why": why} for name, why in edits.left_out.items()]
        rows = [*(asdict(one) for answers in told.values() for one in answers), *not_asked]
        write_file(folder / "freshness.jsonl", to_lines(rows))
        right = right_by_setup(evaluation)
        return {
            "setups": {
                name: result(answers, edits.facts, right.get(name, set()), documents) for name, answers in told.items()
            },
            "left_out": dict(Counter(edits.left_out.values())), "seconds": seconds,
        }  # fmt: skip

    return app.build(Inputs((FRESHNESS, RETRIEVAL), inputs, {"index": snapshot.id}), work)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that is gone at the end; what a killed run left in it is gone before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class _Copy:
    """A copy of the documents, and of the index over them."""

    documents: Path
    index: Path

    @classmethod
    def of(cls, app: Application, snapshot: Snapshot, folder: Path) -> _Copy:
        """Copies both, and makes sure that the index is what its documents say.

        Raises:
            UsageError: it is not.
        """
        copy = cls(folder / "documents", folder / "index")
        live = app.config.index.documents.folder
        shutil.copytree(live, copy.documents, ignore_dangling_symlinks=True)
        shutil.copytree(app.index_root, copy.index, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        report = refresh(app, root=copy.index, documents=copy.documents, reporter=Silent())
        if report.snapshot_id != snapshot.id:
            raise UsageError(
                f"The documents in {live} are not those of the live index, so what an edit does cannot be told from "
                "what they changed themselves: run `ragft index refresh` first."
            )
        return copy

    def files(self, names: Iterable[str]) -> dict[str, str | None]:
        """The text of those documents that are files of their own; None for a file that is no UTF-8 text."""
        found: dict[str, str | None] = {}
        for name in names:
            path = self.documents / name
            if path.is_file():
                try:
                    found[name] = path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    found[name] = None
        return found

    def refresh(self, app: Application) -> None:
        refresh(app, root=self.index, documents=self.documents, reporter=Silent())

    def search(self, app: Application, questions: Sequence[Question]) -> list[Any]:
        """The passages that the copied index, as it is now, holds for each question."""
        retriever = app.retriever(Snapshot.open(self.index))
        found = retriever.search([question.question for question in questions], labels=app.labels)
        return [one.hits for one in found]


def _say_what_is_asked(app: Application, edits: Edits, setups: int) -> None:
    if not edits.facts:
        reasons = ", ".join(f"{why} ({count})" for why, count in Counter(edits.left_out.values()).most_common())
        raise UsageError(
            f"No fact can be edited: {reasons or 'no question is answerable'}. Questions need `sources` in the index, "
            "and a date, a version, a number, yes or no among their `answers`."
        )
    counts = Counter(fact.edit for fact in edits.facts)
    listed = ", ".join(f"{count} {edit}" for edit, count in counts.items())
    left_out = f" {counted(len(edits.left_out), 'question')} cannot be asked." if edits.left_out else ""
    app.reporter.say(
        f"The suite takes {setups * len(edits.facts)} answers: of each of {setups} setups to {listed} facts.{left_out} "
        "Fewer questions: evaluate.limit."
    )


def _edited(app: Application, copy: _Copy, edits: Edits) -> dict[str, Any]:
    """Makes the edits and refreshes; the first changed documents one by one.

    Returns:
        `{n, found, median, longest, together}`: `n` documents that were refreshed alone, how many of those changes the
        first search found, and the seconds from the edit to the end of that search; `together`, the seconds of all
        other edits at once.
    """
    first: dict[str, Fact] = {}
    for fact in edits.facts:
        if fact.edit == "changed":
            first.setdefault(fact.document_id, fact)
    alone = list(first)[:_TIMED]
    seconds, found = list[float](), 0
    for name in alone:
        begin = time.perf_counter()
        (copy.documents / name).write_text(edits.written[name], encoding="utf-8")
        copy.refresh(app)
        (hits,) = copy.search(app, [first[name].question])
        seconds.append(time.perf_counter() - begin)
        found += holds(hits, first[name].new)
    begin = time.perf_counter()
    for name, text in edits.written.items():
        if name not in alone:
            (copy.documents / name).write_text(text, encoding="utf-8")
    for name in edits.deleted:
        (copy.documents / name).unlink()
    copy.refresh(app)
    copy.search(app, [edits.facts[0].question])
    together = round(time.perf_counter() - begin, 3)
    return {
        "n": len(alone), "found": found, "median": round(statistics.median(seconds), 3) if seconds else None,
        "longest": round(max(seconds), 3) if seconds else None, "together": together,
    }  # fmt: skip


def freshness_lines(artifact: Artifact) -> list[str]:
    """The result for people: a line for each setup and kind of edit, and how long it takes."""
    figures = artifact.figures
    lines = [
        f"{setup}: {_LINES[edit](one)}" for setup, found in figures["setups"].items() for edit, one in found.items()
    ]
    for why, count in figures["left_out"].items():
        lines.append(f"{counted(count, 'question')} not asked: {why}.")
    return [*lines, *_seconds(figures["seconds"])]


def _changed(found: Mapping[str, Any]) -> str:
    of, shown = found["all"], found["where_shown"]
    memory = f", from memory {in_words(shown['old'])} where the passages say the new one" if shown["n"] else ""
    return (
        f"of {found['facts']} changed facts {in_words(of['new'])} are answered by the new value, "
        f"{in_words(of['old'])} by the old one{memory}; {in_words(of['refused'])} are refused."
    )


def _contradicted(found: Mapping[str, Any]) -> str:
    shown = found["where_shown"]
    if not shown["n"]:
        return f"of {found['facts']} contradicted facts none had both values among its passages."
    return (
        f"of {found['facts']} contradicted facts {shown['n']} had both values among their passages: "
        f"{in_words(shown['old'])} are answered by the old one, {in_words(shown['new'])} by the new one, "
        f"{in_words(shown['both'])} by both, and {in_words(shown['refused'])} are refused."
    )


def _deleted(found: Mapping[str, Any]) -> str:
    of, shown = found["all"], found["where_shown"]
    memory = f", from memory {in_words(shown['old'])} where no passage says it" if shown["n"] else ""
    return (
        f"of {found['facts']} facts whose document was deleted {in_words(of['old'])} are still answered{memory}; "
        f"{in_words(of['refused'])} are refused; {found['finds_document']} searches found a passage of it."
    )


_LINES = {"changed": _changed, "contradicted": _contradicted, "deleted": _deleted}


def _seconds(seconds: Mapping[str, Any]) -> list[str]:
    if not seconds["n"]:
        return []
    line = (
        f"An edited document is found {seconds['median']:.1f} s after the edit (median of {seconds['n']}, at most "
        f"{seconds['longest']:.1f} s; {seconds['found']} found), all other edits together after "
        f"{seconds['together']:.1f} s."
    )
    return [line]
