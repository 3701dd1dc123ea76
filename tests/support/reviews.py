"""Reviews of a few rows, over an index of a few passages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.documents.chunking import Chunk
from ragft.evaluate.metrics.base import Rules
from ragft.review.decisions import ReviewStore, Verdict
from ragft.review.items import Rows, read_rows
from ragft.review.passages import Passages
from ragft.review.review import Review

ROWS: list[dict[str, Any]] = [
    {"id": "e1", "question": "How much is a ticket?", "answer": "12 euros [1]", "sources": ["tickets.md#Prices"],
     "origin": "tickets.md"},
    {"question": "When does the desk open on Sundays?", "answer": "At nine [1]", "sources": ["hours.md#Sundays"]},
    {"id": "e3", "messages": [{"role": "user", "content": "Who wrote the <b>guide</b>?"},
                              {"role": "assistant", "content": "I do not know."}]},
    {"id": "q4", "question": "May dogs travel?", "answers": ["yes", "Dogs may travel"], "sources": ["gone.md"]},
]  # fmt: skip
TEXTS = {
    ("tickets.md", "Prices"): "Tickets are sold at the desk.\n\nA ticket costs 12 euros. A dog travels for free.",
    ("hours.md", "Sundays"): "On Sundays the desk opens at ten.",
}
CHUNKS = [
    Chunk(document, "Trains", ("Trains", section), 0, len(text), text, "")
    for (document, section), text in TEXTS.items()
]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@contextmanager
def reviewing(path: Path) -> Iterator[tuple[Review, Rows]]:
    """A review of the rows in a file, as `ragft data review` opens it."""
    rows = read_rows(path, "FILE")
    with ReviewStore(path.with_suffix(".review.sqlite")) as store:
        yield Review(path.name, rows.items, store, Passages(rows.items, CHUNKS, Rules())), rows


def say(review: Review, reviewer: str, place: int, verdict: Verdict, **more: Any) -> None:
    """Keeps a decision on the item at a place."""
    if verdict == "reject":
        more.setdefault("reason", "wrong")
    review.store.add([review.decision(review.items[place], reviewer, verdict, **more)])
