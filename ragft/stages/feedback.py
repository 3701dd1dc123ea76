"""The feedback of an application: its database, what is masked in it, and what becomes of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from index.durable import replacing, write_file
from ragft.data.audit.scan import finder
from ragft.data.examples import read_examples
from ragft.data.jsonl import to_lines
from ragft.data.personal import labelled, replaced
from ragft.data.questions import read_questions
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import Rules
from ragft.feedback.promotion import Promoted, To, to_examples, to_questions
from ragft.feedback.sheets import SheetWriter, reviewed
from ragft.feedback.store import FeedbackStore
from ragft.stages.application import Application


def opened(app: Application) -> FeedbackStore:
    """The feedback of a workspace, without what is older than `serve.feedback_days`; raises as `FeedbackStore`."""
    return FeedbackStore(app.workspace, app.config.serve.feedback_days)


def masker(app: Application) -> Callable[[str], str]:
    """Replaces personal data of the kinds in `data.personal` by the name of its kind, as in `EMAIL`.

    Not by pseudonyms, as `data clean` does: nobody needs to know that two users gave the same address.

    Raises:
        MissingDependency: names are wanted, and what finds them is not installed.
    """
    kinds = app.config.data.personal
    find = finder(kinds)
    return lambda text: replaced(text, [one for one in find(text) if one.kind in kinds], labelled)


def promote(
    app: Application, to: To, *, out: Path | None = None, sheet: Path | None = None, dry_run: bool = False
) -> tuple[Promoted, Path]:
    """Adds corrected answers to the examples or the questions; returns what became of the feedback, and the file.

    Args:
        out: file to add the rows to, made if it is missing; None: the configured one. The configured ones are
            compared with in any case.
        sheet: a reviewed sheet, whose rows alone are taken; None: all feedback.
        dry_run: nothing is written.

    Raises:
        UsageError: a file cannot be read.
        FeedbackFault: the feedback cannot.
    """
    data, rules = app.config.data, Rules.of(app.config.answer)
    file = (out or (data.examples if to == "examples" else data.questions)).resolve()
    taught = [data.examples, *([data.validation] if data.validation else []), *([file] if to == "examples" else [])]
    asked = [data.questions, *([file] if to == "questions" else [])]
    examples = [one for path in _there(taught) for one in read_examples(path, "data.examples")]
    questions = [one for path in _there(asked) for one in read_questions(path)]
    with opened(app) as store:
        found = store.each() if sheet is None else reviewed(sheet, store)
        make = to_examples if to == "examples" else to_questions
        made = make(found, examples, questions, rules)
    if made.rows and not dry_run:
        before = file.read_bytes() if file.exists() else b""
        end = b"" if not before or before.endswith(b"\n") else b"\n"
        write_file(file, before + end + to_lines(made.rows))
    return made, file


def export(app: Application, out: Path) -> int:
    """Writes all feedback into a new file, one after the other: JSON Lines, or a sheet where its name ends in .csv.

    Returns:
        How many there were.

    Raises:
        UsageError: the file exists.
        FeedbackFault: the feedback cannot be read.
    """
    if out.exists():
        raise UsageError(f"{out} exists: nothing is overwritten; name another file.")
    count = 0
    with opened(app) as store, replacing(out, private=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        sheet = SheetWriter(text) if out.suffix == ".csv" else None
        for one in store.each():
            count += 1
            if sheet is not None:
                sheet.add(one)
            else:
                text.write(to_lines([asdict(one)]).decode())
        text.detach()  # which writes what it holds, and leaves the file open
    return count


def _there(paths: Iterable[Path]) -> list[Path]:
    """The files that there are and that hold something, each once."""
    found = dict.fromkeys(path.resolve() for path in paths)
    return [path for path in found if path.is_file() and path.stat().st_size]
