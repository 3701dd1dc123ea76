"""Questions that are asked twice, word for word or nearly so."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from ragft.data.answers import text_of

ALIKE = 0.75
"""Share of the words that two questions must have in common to be one; a word counts for more the rarer it is, so that
questions made by one pattern, or under one long instruction, stay different."""

_AROUND_WORDS = ".,;:!?…¿¡\"'`“”„‘’«»()[]{}-–—。，？！、"


def normal(text: str) -> str:
    """The text without case, white space and punctuation around words; C, C++ and C# stay three."""
    words = (word.strip(_AROUND_WORDS) for word in text.casefold().split())
    return " ".join(word for word in words if word)


def clusters(texts: Sequence[str]) -> list[int]:
    """For each text the place of the first one that says the same, directly or through others.

    Texts say the same if they are equal but for case, white space and punctuation, or if they have the same figures and
    `ALIKE` of their words in common, whatever the order. Only texts with a rare word in common are compared.
    """
    first: dict[str, int] = {}
    root = [first.setdefault(normal(text), place) for place, text in enumerate(texts)]

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = place = root[root[place]]
        return place

    places = sorted(set(root))
    words = {place: text_of(texts[place]).words for place in places}
    times = Counter(word for place in places for word in words[place])
    weight = {word: math.log(len(places) / count) for word, count in times.items()}
    total = {place: sum(weight[word] for word in words[place]) for place in places}
    seen: dict[str, list[int]] = defaultdict(list)
    for place in places:
        near = {other for word in _rarest(words[place], weight, total[place]) for other in seen[word]}
        for other in near:
            shared = sum(weight[word] for word in words[place] & words[other])
            if shared >= ALIKE * (total[place] + total[other] - shared) and same_figures(words[place], words[other]):
                low, high = sorted((find(place), find(other)))
                root[high] = low
        for word in _rarest(words[place], weight, total[place]):
            seen[word].append(place)
    return [find(place) for place in range(len(texts))]


def _rarest(words: frozenset[str], weight: dict[str, float], total: float) -> list[str]:
    """The words without any of which no other text can have `ALIKE` of these: the rarest ones."""
    kept, left = [], total
    for word in sorted(words, key=lambda word: (-weight[word], word)):
        if left < ALIKE * total or not weight[word]:
            break
        kept.append(word)
        left -= weight[word]
    return kept


def same_figures(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the words of two texts differ in none that holds a digit."""
    return not any(letter.isdigit() for word in one ^ other for letter in word)
