"""Feedback as items of a review: corrections, those of nearly one question beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ragft.data.history import spoken
from ragft.data.near import clusters
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.feedback.store import Feedback
from ragft.review.board import Standing
from ragft.review.items import Item, key_of

_FIELDS = ("question", "corrected_answer", "source")
_BESIDE = {"answer": "answer that was given", "thumb": "thumb", "reason": "reason", "comment": "comment"}


def items_of(found: Iterable[Feedback]) -> list[Item]:
    """The feedback whose question was kept; of several that ask nearly the same, the others follow the first."""
    kept = [one for one in found if one.question is not None]
    roots = clusters([spoken(one.history, one.question or "") for one in kept])
    order = sorted(range(len(kept)), key=lambda place: (roots[place], place))
    return [_item(kept[place], kept[roots[place]].id) for place in order]


def reviewed(one: Feedback, standing: Standing) -> Feedback:
    """The feedback as its review leaves it."""
    decision = standing.decided()
    if decision is None or decision.verdict != "edit":
        return one
    fields = {name: text.strip() or None for name, text in decision.edited.items()}
    return replace(one, **fields)  # type: ignore[arg-type]


def _item(one: Feedback, first: str) -> Item:
    fields = {name: getattr(one, name) or "" for name in _FIELDS}
    shown = [("earlier turn", f"{turn['role']}: {turn['content']}") for turn in one.history]
    shown += [(title, str(getattr(one, name))) for name, title in _BESIDE.items() if getattr(one, name)]
    # With the id, because two users may say the same.
    content: dict[str, Any] = {
        "id": one.id,
        **fields,
        "answer": one.answer,
        "history": list(one.history),
        "passages": one.passages,
    }
    sources: Sequence[str] = dict.fromkeys([*([one.source] if one.source else []), *one.passages])  # type: ignore[assignment]
    answer = one.corrected_answer or one.answer or ""
    return Item(
        key_of(content), one.id, f"feedback {one.id}", fields, shown, spoken(one.history, one.question or ""),
        (answer,), tuple(map(Source, sources)), first, _made(one.id), "" if first == one.id else f"feedback {first}",
    )  # fmt: skip


def _made(identity: str) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    def made(given: Mapping[str, str]) -> dict[str, Any]:
        for name, what in (("corrected_answer", "corrected answer"), ("question", "question")):
            if not given[name].strip():
                raise UsageError(f"feedback {identity}: there is no {what}: write one, or reject it.")
        return dict(given)

    return made
