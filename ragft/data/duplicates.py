"""When two questions say the same, word for word or nearly so. Pure functions; `ragft.data.near` finds such pairs."""

from __future__ import annotations

from hashlib import blake2b

ALIKE = 0.75
"""Share of the words that two questions must have in common to be one; a word counts for more the rarer it is, so that
questions made by one pattern, or under one long instruction, stay different."""

FURTHER = 1 / 3
"""Words that a longer text may have beside all those of the shorter one, as a share of these; one is always allowed."""

TELLING = 3
"""Words that a text needs, so that one further word does not make it another question."""

_AROUND_WORDS = ".,;:!?…¿¡\"'`“”„‘’«»()[]{}-–—。，？！、"


def normal(text: str) -> str:
    """The text without case, white space and punctuation around words; C, C++ and C# stay three."""
    words = (word.strip(_AROUND_WORDS) for word in text.casefold().split())
    return " ".join(word for word in words if word)


def same_figures(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the words of two texts differ in none that holds a digit."""
    return not any(letter.isdigit() for word in one ^ other for letter in word)


def hash_of(text: str) -> int:
    """64 bits; among a million texts, two are equal by chance once in 37 million tables."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
