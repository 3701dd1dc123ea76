"""Regular expressions of a configuration, whose search ends: one that would hang is refused in a sentence."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import regex

from ragft.errors import UsageError

LIMIT_S = 1.0
"""Seconds that one search may take; an answer is a few hundred characters, which take microseconds."""


class SlowPattern(UsageError):
    """A regular expression that does not come to an end; every answer would wait for it, so nothing is scored."""


@dataclass(frozen=True)
class Bounded:
    """A regular expression whose search ends, one way or the other.

    Attributes:
        key: of the configuration, for the message.
    """

    pattern: str
    key: str

    def search(self, text: str) -> Any:
        """The first match, or None."""
        return self._bounded("search", text)

    def fullmatch(self, text: str) -> Any:
        """The match of the whole text, or None."""
        return self._bounded("fullmatch", text)

    def begins(self, text: str) -> bool:
        """Whether a match of a whole text could begin with this one."""
        return self._bounded("fullmatch", text, partial=True) is not None

    def finditer(self, text: str) -> list[Any]:
        """All matches, in order."""
        return self._bounded("finditer", text) or []

    def _bounded(self, how: str, text: str, **options: bool) -> Any:
        try:
            found = getattr(_compiled(self.pattern), how)(text, timeout=LIMIT_S, **options)
            return list(found) if how == "finditer" else found
        except TimeoutError:
            raise SlowPattern(
                f"{self.key} takes more than {LIMIT_S:g} s to look through an answer of {len(text):,} characters that "
                f"begins with {text[:40]!r}: simplify {self.pattern!r}, which probably repeats a repetition."
            ) from None


def with_labels_in_any_case(pattern: str) -> str:
    """The expression with its first group as it is, and what stands around it in upper or lower case.

    An expression that cannot be divided there, because the group is inside another one, stays as it is.
    """
    flags = regex.match(r"\(\?[aimsxLu]+\)", pattern)
    head = flags[0] if flags else ""
    body = pattern[len(head) :]
    span = _first_group(body)
    if span is None or "x" in head:
        return pattern
    before, group, after = body[: span[0]], body[slice(*span)], body[span[1] :]
    parts = (f"(?i:{part})" if any(map(str.isalpha, part)) else part for part in (before, after))
    changed = head + next(parts) + group + next(parts)
    try:
        same = _compiled(changed).groups == _compiled(pattern).groups
    except regex.error:
        return pattern
    return changed if same else pattern


def _first_group(body: str) -> tuple[int, int] | None:
    """Where the first group that captures begins and ends; None where it is inside a group, or one of alternatives."""
    depth, start, at, in_class = 0, None, 0, False
    while at < len(body):
        letter = body[at]
        if letter == "\\":
            at += 2
            continue
        if in_class:
            in_class = letter != "]" or body[at - 1] == "[" or body[at - 2 : at] == "[^"
        elif letter == "[":
            in_class = True
        elif letter == "|" and depth == 0:
            return None
        elif letter == "(":
            captures = not body.startswith("(?", at) or body.startswith("(?P<", at)
            if captures and start is None:
                if depth:
                    return None
                start = at
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0 and start is not None:
                return None if "|" in _outside(body[at + 1 :]) else (start, at + 1)
        at += 1
    return None


def _outside(rest: str) -> str:
    """What of the rest of an expression is in no group."""
    return str(regex.sub(r"\\.|\((?:[^()\\]|\\.)*\)|\[(?:[^\]\\]|\\.)*\]", "", rest))


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern)
