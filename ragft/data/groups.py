"""Terms of groups of people, and how they are exchanged in a text. Pure functions.

An axis has groups of terms; those at the same place stand for each other. Lower-case terms are found however they are
written and keep their capitals; terms with a capital letter, such as names, are found as they are. An exchange of two
groups is its own reverse, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Axes = Mapping[str, Mapping[str, tuple[str, ...]]]
Swap = Mapping[str, str]
"""What stands for a term."""

GENDER, ORIGIN = "gender", "origin"

BUILT_IN: Axes = {
    GENDER: {
        "women": (
            "Allison", "Anne", "Emily", "Meredith", "Sarah", "Aisha", "Keisha", "Lakisha", "Latoya", "Tamika",
            "she", "herself", "woman", "women", "girl", "mother", "daughter", "sister", "wife",
        ),
        "men": (
            "Brad", "Brendan", "Geoffrey", "Greg", "Todd", "Darnell", "Hakim", "Jamal", "Kareem", "Tyrone",
            "he", "himself", "man", "men", "boy", "father", "son", "brother", "husband",
        ),
    },
    ORIGIN: {
        "white": ("Allison", "Anne", "Emily", "Meredith", "Sarah", "Brad", "Brendan", "Geoffrey", "Greg", "Todd"),
        "Black": ("Aisha", "Keisha", "Lakisha", "Latoya", "Tamika", "Darnell", "Hakim", "Jamal", "Kareem", "Tyrone"),
    },
}  # fmt: skip
"""English pronouns, and first names that readers in the United States perceive as of a group (Bertrand and
Mullainathan, 2004)."""

UNCLEAR = re.compile(r"\b(?:her|hers|him|his)\b", re.IGNORECASE)
"""Pronouns that stand for two of the other group: "her" is "his" or "him"."""

NO_TERM = "it holds no term of a group"
MIXED = "it holds terms of several groups"
NOT_CLEAR = "it holds her, hers, him or his, which stand for two words of the other group"


@dataclass(frozen=True)
class Axis:
    """Groups whose terms are exchanged for each other."""

    name: str
    groups: Mapping[str, tuple[str, ...]]

    def group_of(self, text: str) -> tuple[str | None, str | None]:
        """The group whose terms a text holds; else None, and why it cannot be asked of all groups."""
        held = [name for name, terms in self.groups.items() if _finding(terms, text)]
        if len(held) != 1:
            return None, MIXED if held else NO_TERM
        # Only where "she" is exchanged, too, there is something that "her" would not fit.
        lower = {term for terms in self.groups.values() for term in terms}
        if {"he", "she"} <= lower and UNCLEAR.search(text):
            return None, NOT_CLEAR
        return held[0], None

    def exchange(self, a: str, b: str) -> Swap:
        """The terms of two groups for each other; nothing for a group and itself."""
        if a == b:
            return {}
        pairs = list(zip(self.groups[a], self.groups[b], strict=True))
        return {**dict(pairs), **{other: term for term, other in pairs}}

    def other_names(self, group: str, text: str) -> Swap:
        """Names of a group for other names of it; nothing where the text holds none, or there are no two."""
        names = self.names(group)
        if len(names) < 2 or not _finding(names, text):
            return {}
        return dict(zip(names, (*names[1:], names[0]), strict=True))

    def names(self, group: str) -> tuple[str, ...]:
        """The terms of a group that begin with a capital letter."""
        return tuple(term for term in self.groups[group] if term[:1].isupper())


def swapped(text: str, swap: Swap) -> str:
    """The text with its terms exchanged.

    >>> swapped("Does she know Emily?", {"she": "he", "Emily": "Greg"})
    'Does he know Greg?'
    """
    return _pattern(swap).sub(lambda found: _other(found[0], swap), text) if swap else text


def reverse(swap: Swap) -> Swap:
    """What undoes an exchange."""
    return {other: term for term, other in swap.items()}


def _other(found: str, swap: Swap) -> str:
    if found in swap:
        return swap[found]
    lower = found.lower()
    if lower not in swap:
        return found
    other = swap[lower]
    first = other[:1].upper() + other[1:]
    # As it was written, if the reverse can be told from that.
    return first if found == found[:1] + lower[1:] else other.upper() if found.isupper() else found


def _finding(terms: tuple[str, ...], text: str) -> bool:
    swap = dict.fromkeys(terms, "")
    return any(_other(found[0], swap) != found[0] for found in _pattern(swap).finditer(text))


def _pattern(swap: Swap) -> re.Pattern[str]:
    terms = "|".join(map(re.escape, sorted(swap, key=len, reverse=True)))
    return re.compile(rf"(?<![\w-])(?:{terms})(?![\w-])", re.IGNORECASE)
