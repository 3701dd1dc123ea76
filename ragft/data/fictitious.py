"""Passages about things that do not exist: a neighbour of the passage with the answer, with another name and value.

A model that takes the value of any passage that looks like the right one is wrong beside such a neighbour; one that
reads which thing a passage is about is not. What the question calls a thing by is changed, so that the true passage
stays the only right one, and the value by the same means as in the counterfactual suite.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from index.search.search import Hit
from ragft.data.other_values import another_value, standing

MARK = " (made up)"
"""Ends the ids of a made-up passage, and of its document."""

_FIGURES = re.compile(r"\d{4}-\d\d-\d\d|v?\d+(?:\.\d+)+|\d+(?:[.,]\d+)?")
_NAMES = re.compile(r"[\w+#-]*\d[\w.+#-]*\w|\d|(?<![.?!]\s)(?<!^)\b[A-Z][\w+#-]+")
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kl", "tr")
_VOWELS, _ENDS = "aeiou", ("", "n", "r", "s", "x", "l")
_TRIES = 20


def words_in(texts: Iterable[str]) -> frozenset[str]:
    """The words of names that there are: what is made up must be none of them."""
    return frozenset(word for text in texts for word in _words(text))


def neighbour(hit: Hit, question: str, values: Iterable[str], known: str, taken: Set[str], seed: str) -> Hit | None:
    """A passage like this one about something that does not exist; None where it has no name or no value to change.

    Args:
        hit: the passage with the answer.
        question: the changed name must stand in it, and the changed value must not.
        values: of the answer, the one to be changed first.
        known: texts that must hold neither the new name nor the new value.
        taken: words that a new name must not be; see `words_in`.
        seed: decides what is made up.
    """
    draw = random.Random(seed)
    told = f"{known}\n{hit.passage}\n{question}"
    for value in values:
        pattern = standing(value)
        if not value or not pattern.search(hit.text) or pattern.search(question):
            continue
        found = another_value(value, told, draw)
        if found is None:
            continue
        for name in _names(hit, question, value):
            other = _other_name(name, told, taken, draw)
            if other is None:
                continue
            named = standing(name)

            def changed(text: str, named: re.Pattern[str] = named, other: str = other) -> str:
                return named.sub(lambda _: other, text)

            text = changed(_with_value(hit.text, pattern, found[1]))
            return replace(
                hit, chunk_id=hit.chunk_id + MARK, document_id=hit.document_id + MARK, title=changed(hit.title),
                heading_path=tuple(map(changed, hit.heading_path)), text=text,
                passage=changed(hit.passage.removesuffix(hit.text)) + text
                if hit.passage.endswith(hit.text)
                else changed(hit.passage.replace(hit.text, text)),
                around=(),
            )  # fmt: skip
    return None


def _with_value(text: str, pattern: re.Pattern[str], value: str) -> str:
    return pattern.sub(lambda _: value, text)


def figures_in(text: str) -> list[str]:
    """The dates, versions and numbers in a text, each once."""
    return list(dict.fromkeys(found[0] for found in _FIGURES.finditer(text)))


def _names(hit: Hit, question: str, value: str) -> Iterator[str]:
    """What both the question and the passage call a thing by: headings in full first, and figures before words."""
    headings = [part for part in reversed((hit.title, *hit.heading_path)) if part and standing(part).search(question)]
    words = [found[0] for found in _NAMES.finditer(question) if standing(found[0]).search(hit.passage)]
    candidates = [one for one in dict.fromkeys([*headings, *words]) if not standing(value).search(one)]
    yield from sorted(candidates, key=lambda one: not any(map(str.isdigit, one)))


def _other_name(name: str, told: str, taken: Set[str], draw: random.Random) -> str | None:
    """Another name of the same look that nothing has; of a name with figures, its last figure is another one."""
    for _ in range(_TRIES):
        figures = list(re.finditer(r"\d+", name))
        if figures:
            last = figures[-1]
            digits = "".join(str(draw.randint(0 if at or len(last[0]) == 1 else 1, 9)) for at in range(len(last[0])))
            other = name[: last.start()] + digits + name[last.end() :]
        else:
            other = re.sub(r"\w{2,}", lambda found: _invented(found[0], draw), name)
        if other != name and not standing(other).search(told) and not set(_words(other)) <= taken:
            return other
    return None


def _invented(word: str, draw: random.Random) -> str:
    """A word of no language, about as long and with the same capitals."""
    made = "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) for _ in range(max(2, len(word) // 2)))
    made += draw.choice(_ENDS)
    return made.upper() if word.isupper() else made.capitalize() if word[:1].isupper() else made


def _words(text: str) -> list[str]:
    return [word.strip(".,:;()[]") for word in text.casefold().split()]
