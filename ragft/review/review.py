"""A review that goes on: its items, what was decided about them, and the one way to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from unicodedata import normalize

from ragft.errors import UsageError
from ragft.review.board import Standing, standings
from ragft.review.decisions import Decision, ReviewStore, Verdict
from ragft.review.items import Item
from ragft.review.passages import Passages

_LONGEST_NAME = 60


class Review:
    """Items under review; may be used from several threads."""

    def __init__(self, title: str, items: Sequence[Item], store: ReviewStore, passages: Passages) -> None:
        self.title, self.items, self.store, self.passages = title, items, store, passages
        self._by_key = {item.key: item for item in items}
        self._lock = Lock()
        self._seen: tuple[int, int] | None = None
        self._standings: tuple[list[Standing], int] = ([], 0)

    def standings(self) -> list[Standing]:
        """How each item stands now, with what other processes have added."""
        return self._now()[0]

    @property
    def gone(self) -> int:
        """How many decisions are about rows that are not there any more."""
        return self._now()[1]

    def _now(self) -> tuple[list[Standing], int]:
        with self._lock:
            version = self.store.version()
            if version != self._seen:
                self._standings = standings(self.items, self.store.decisions())
                self._seen = version
            return self._standings

    def item(self, key: str) -> Item:
        """The item with a key.

        Raises:
            UsageError: there is none.
        """
        item = self._by_key.get(key)
        if item is None:
            raise UsageError(f"{self.title} has no row {key!r} (any more): it was edited since, or its id was changed.")
        return item

    def decision(
        self, item: Item, reviewer: str, verdict: Verdict, *, reason: str = "", fields: Mapping[str, str] | None = None,
        settles: bool = False,
    ) -> Decision:  # fmt: skip
        """A decision that may be kept.

        Args:
            fields: as they should be, of `edit`.

        Raises:
            UsageError: it rejects without a reason, edits nothing, or leaves no valid row.
        """
        edited = item.changed(fields or {})
        if verdict == "reject" and not reason.strip():
            raise UsageError(f"{item.label}: it is rejected without a reason; give one.")
        if verdict == "edit" and not edited:
            raise UsageError(f"{item.label}: it is edited, and nothing in it was changed; change it, or accept it.")
        if verdict != "edit" and edited:
            raise UsageError(f"{item.label}: {next(iter(edited))!r} was changed; say edit, or restore it.")
        if verdict != "reject":
            item.made({**item.fields, **edited})
        return Decision(
            reviewer=reviewer, row=item.key, name=item.name, verdict=verdict, reason=reason.strip(), edited=edited,
            settles=settles,
        )  # fmt: skip


def checked_name(reviewer: str | None) -> str:
    """The name of a reviewer, by which decisions are told apart, however its letters are composed.

    Raises:
        UsageError: it is missing, too long, or holds what cannot be printed.
    """
    name = normalize("NFC", " ".join((reviewer or "").split()))
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(f"Say who decides with --reviewer NAME, of at most {_LONGEST_NAME} printable characters.")
    return name
