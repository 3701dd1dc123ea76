"""Synonyms of a word by a wordnet that the package wn reads; it is brought by ragft[synonyms], and no data with it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ragft.data.augment.wording import Synonyms
from ragft.errors import MissingDependency, UsageError


def synonyms_of(name: str) -> Synonyms:
    """What looks words up in a wordnet.

    A word is replaced as it stands, so that only words in their dictionary form have synonyms, and of one part of
    speech alone: where a word may be noun or verb, nothing says which it is here. The first sense, the most frequent
    one, counts.

    Args:
        name: of the wordnet, as in `oewn:2024`.

    Raises:
        MissingDependency: the package is not installed.
        UsageError: the wordnet is not on this machine.
    """
    try:
        import wn
    except ImportError:
        raise MissingDependency(
            "Synonyms need the package wn: install ragft[synonyms], or set data.augment.synonyms to 0."
        ) from None
    try:
        lexicon: Any = wn.Wordnet(name)
    except wn.Error:
        raise UsageError(
            f"The wordnet {name!r} is not on this machine: `python -m wn download {name}` brings it, or set "
            "data.augment.wordnet to one that is."
        ) from None

    @functools.lru_cache(maxsize=65_536)
    def found(word: str) -> Sequence[str]:
        entries = [entry for entry in lexicon.words(word) if entry.lemma() == word]
        if len({entry.pos for entry in entries}) != 1 or not (senses := entries[0].senses()):
            return ()
        lemmas = senses[0].synset().lemmas()
        return tuple(sorted(lemma for lemma in lemmas if lemma != word and lemma.islower() and lemma.isalpha()))

    return found
