"""Reviews of an application: of a file of examples or questions, and of its feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from index.errors import NoSnapshot
from ragft.console import counted
from ragft.data.jsonl import refuse_existing, to_lines
from ragft.errors import UsageError
from ragft.evaluate.metrics.base import Rules
from ragft.feedback.database import FILE, MIGRATIONS
from ragft.feedback.reviewing import items_of
from ragft.review.board import Rule
from ragft.review.decisions import ReviewStore
from ragft.review.items import REVIEWED_BY, Item, Rows, read_rows
from ragft.review.passages import Passages
from ragft.review.review import Review
from ragft.stages.application import Application
from ragft.stages.feedback import opened

if TYPE_CHECKING:
    from index.documents.chunking import Chunk


@contextmanager
def review_of_rows(app: Application, file: Path | None) -> Iterator[tuple[Review, Rows]]:
    """The review of a file; its decisions stand beside it, in `NAME.review.sqlite`.

    Args:
        file: None: `data.examples`.

    Raises:
        UsageError: the file cannot be read, or a newer ragft wrote the decisions.
        DatabaseFault: the decisions cannot be read.
    """
    path = file or app.config.data.examples
    rows = read_rows(path, "data.examples" if file is None else "FILE")
    if rows.idle:
        app.reporter.say(f"{path}: {counted(rows.idle, 'row')} of weight 0 not reviewed, and left out by --apply.")
    with ReviewStore(path.with_name(f"{path.stem}.review.sqlite")) as store:
        yield Review(str(path), rows.items, store, _passages(app, rows.items)), rows


@contextmanager
def review_of_feedback(app: Application) -> Iterator[Review]:
    """The review of what users said; its decisions stand in the same file, and go with the feedback.

    Raises:
        UsageError: there is none whose question was kept.
        DatabaseFault: it cannot be read.
    """
    with opened(app) as feedback:
        items = items_of(feedback.each())
    if not items:
        raise UsageError("There is no feedback whose question was kept (serve.log_questions): nothing to review.")
    with ReviewStore(app.workspace / FILE, MIGRATIONS) as store:
        yield Review("feedback", items, store, _passages(app, items))


def _passages(app: Application, items: Sequence[Item]) -> Passages:
    return Passages(items, _chunks(app) if any(item.sources for item in items) else None, Rules.of(app.config.answer))


def _chunks(app: Application) -> Iterator[Chunk] | None:
    """All that the live index holds; None where there is none: a review builds nothing."""
    from index.store.snapshot import Snapshot

    try:
        snapshot = Snapshot.open(app.index_root)
    except NoSnapshot:
        return None
    return iter(snapshot.chunks())


@dataclass
class Applied:
    """What became of the rows of a file.

    Attributes:
        rows: those that were accepted or edited, in the order of the file.
        left_out: the others, each as it was, with why and who decided.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def count(self, why: str) -> int:
        """How many were left out for this reason."""
        return sum(one["why"] == why for one in self.left_out)


def apply(review: Review, rows: Rows, out: Path, rule: Rule | None) -> tuple[Applied, Path]:
    """Writes what was accepted or edited into a new file, and beside it what was left out and why.

    Args:
        rule: settles conflicts that nobody has settled; None: such rows are left out.

    Returns:
        What became of the rows, and the file of those that were left out.

    Raises:
        UsageError: one of the two files exists, or the folder for them does not; no row was accepted or edited.
    """
    log = out.with_name(f"{out.stem}.left-out.jsonl")
    for path in (out, log):
        refuse_existing(path, "--apply")
    applied = Applied()
    standings = review.standings()
    for standing in (standings[place] for place in rows.lines):
        item, decision = standing.item, standing.decided(rule)
        if decision is not None and decision.verdict != "reject":
            row = item.made({**item.fields, **decision.edited})
            applied.rows.append({**row, REVIEWED_BY: standing.in_favour(decision)})
            continue
        said = [decision] if decision is not None else standing.said.values()
        applied.left_out.append({
            "line": item.label, "why": standing.state(rule) if decision is None else "rejected",
            "decisions": [{"reviewer": one.reviewer, "verdict": one.verdict, "reason": one.reason} for one in said],
            "row": item.made(item.fields),
        })  # fmt: skip
    if not applied.rows:
        raise UsageError(
            f"None of the {len(applied.left_out)} rows was accepted or edited, so that nothing is written: "
            "review some first, or settle conflicts with --settle."
        )
    write_file(log, to_lines(applied.left_out))
    write_file(out, to_lines(applied.rows))
    return applied, log
