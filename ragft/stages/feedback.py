"""The feedback of an application: its database, what is masked in it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from index.durable import locked, replacing, write_file
from ragft.data.audit.scan import finder
from ragft.data.examples import read_examples
from ragft.data.golden import GoldenQuestion, read_golden
from ragft.data.jsonl import refuse_existing, refuse_missing_folder, to_lines
from ragft.data.personal import find_in_texts, labelled, replaced
from ragft.data.questions import Question, read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import Rules
from ragft.feedback.database import MIGRATIONS
from ragft.feedback.promotion import LeftOut, Promoted, To, decided, to_examples, to_golden, to_pairs, to_questions
from ragft.feedback.reviewing import items_of
from ragft.feedback.store import Feedback, FeedbackStore
from ragft.review.board import standings
from ragft.review.decisions import ReviewStore
from ragft.stages.application import Application


def opened(app: Application) -> FeedbackStore:
    """The feedback of a workspace, without what is older than `serve.feedback_days`; raises as `FeedbackStore`."""
    return FeedbackStore(app.workspace, app.config.serve.feedback_days)


Mask = Callable[[Sequence[str | None]], list[str | None]]
"""Replaces personal data in texts that belong together; None stays None."""


def masker(app: Application) -> Mask:
    """Replaces personal data of the kinds in `data.personal` by the name of its kind, as in `EMAIL`, in texts that
    belong together: what one of them tells is personal in the others, too.

    Not by pseudonyms, as `data clean` does: nobody needs to know that two users gave the same address.

    Raises:
        MissingDependency: names are wanted, and what finds them is not installed.
    """
    kinds = app.config.data.personal
    find = finder(kinds)

    def masked(texts: Sequence[str | None]) -> list[str | None]:
        found = find_in_texts([text or "" for text in texts], find)
        return [
            None if text is None else replaced(text, [one for one in own if one.kind in kinds], labelled)
            for text, own in zip(texts, found, strict=True)
        ]

    return masked


def promote(
    app: Application, to: To, *, out: Path | None = None, reviewed: bool | None = None, dry_run: bool = False
) -> tuple[Promoted, Path]:
    """Adds feedback to a file of its kind, as its review leaves it; returns what became of it, and the file.

    Args:
        out: file to add the rows to, made if it is missing; None: the configured one. The configured ones are
            compared with in any case.
        reviewed: only what reviewers accepted or edited; False: what nobody has decided, too; None: only if a review
            has begun.
        dry_run: nothing is written.

    Raises:
        UsageError: a file cannot be read, or there is none for the rows.
        DatabaseFault: the feedback cannot.
    """
    file = _file_for(app, to, out)
    refuse_missing_folder(file, "--out")
    if dry_run:
        return _promoted(app, to, file, reviewed), file
    # What another process adds between reading and writing would be lost.
    with locked(file.with_name(f"{file.name}.lock"), wait=True, remove=True):
        made = _promoted(app, to, file, reviewed)
        if made.rows:
            before = file.read_bytes() if file.exists() else b""
            end = b"" if not before or before.endswith(b"\n") else b"\n"
            write_file(file, before + end + to_lines(made.rows))
    return made, file


def _promoted(app: Application, to: To, file: Path, reviewed: bool | None) -> Promoted:
    """What becomes of the feedback, compared with what stands in the files now; see `promote`."""
    data, rules = app.config.data, Rules.of(app.config.answer)
    gate = app.config.index.refresh.gate.questions
    taught = [data.examples, *([data.validation] if data.validation else []), *([file] if to == "examples" else [])]
    asked = [data.questions, *([file] if to == "questions" else [])]
    found = [
        *([gate] if gate and gate.resolve() != data.questions.resolve() else []),
        *([file] if to == "golden" else []),
    ]
    examples = [one for path in _there(taught) for one in read_examples(path, "data.examples")]
    questions = [one for path in _there(asked) for one in read_questions(path)]
    golden = [_as_question(one) for path in _there(found) for one in read_golden(path)]
    with opened(app) as store:
        kept, left_out = _decided(store, reviewed)
    if to == "examples":
        made = to_examples(kept, examples, [*questions, *golden], rules)
    elif to == "pairs":
        pairs = [one for path in _there([file]) for one in read_examples(path, "--out")]
        made = to_pairs(kept, pairs, [*questions, *golden], rules)
    elif to == "questions":
        made = to_questions(kept, examples, questions, rules)
    else:
        made = to_golden(kept, examples, golden, rules)
    made.left_out[:0] = left_out
    return made


def _file_for(app: Application, to: To, out: Path | None) -> Path:
    data, gate = app.config.data, app.config.index.refresh.gate.questions
    configured = {"examples": data.examples, "questions": data.questions, "golden": gate, "pairs": None}[to]
    file = out or configured
    if file is None:
        key = " or set index.refresh.gate.questions" if to == "golden" else ""
        raise UsageError(f"There is no file of {to} yet: name one with --out{key}.")
    if to == "golden" and file.resolve() == data.questions.resolve():
        raise UsageError(f"{file} holds evaluation questions, which need answers: promote --to questions.")
    return file.resolve()


def _as_question(one: GoldenQuestion) -> Question:
    return Question(one.name, one.question, (), one.sources, True)


def _decided(store: FeedbackStore, reviewed: bool | None) -> tuple[list[Feedback], list[LeftOut]]:
    """The feedback as its review leaves it, and what the review leaves out; see `promote`."""
    feedback = list(store.each())
    with ReviewStore(store.path, MIGRATIONS) as reviews:
        decisions = list(reviews.decisions())
    found, _ = standings(items_of(feedback), decisions)
    only = bool(decisions) if reviewed is None else reviewed
    return decided(feedback, {one.item.name: one for one in found}, reviewed_only=only)


def export(app: Application, out: Path) -> int:
    """Writes all feedback into a new file as JSON Lines, one after the other.

    Returns:
        How many there were.

    Raises:
        UsageError: the file exists, its folder does not, or it is meant to be a sheet.
        DatabaseFault: the feedback cannot be read.
    """
    if out.suffix.lower() == ".csv":
        raise UsageError(f"{out}: sheets are for reviewing; `ragft feedback review --export {out.name}` writes one.")
    refuse_existing(out)
    count = 0
    with opened(app) as store, replacing(out, private=True) as file:
        for one in store.each():
            count += 1
            file.write(to_lines([asdict(one)]))
    return count


def _there(paths: Iterable[Path]) -> list[Path]:
    """The files that there are and that hold something, each once."""
    found = dict.fromkeys(path.resolve() for path in paths)
    return [path for path in found if path.is_file() and path.stat().st_size]
