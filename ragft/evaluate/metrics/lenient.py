"""Whether a text asserts an answer anywhere, for the lenient metric: saying its words is not yet asserting it."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from ragft.citations import without_citations
from ragft.data.answers import text_of
from ragft.evaluate.metrics.base import Rules
from ragft.evaluate.metrics.reading import plain, read_gold, words_of
from ragft.tokens import places_of

_DENIALS = frozenset([
    "not", "never", "neither", "nor", "without", "except", "excluding", "unlike", "cannot", "instead", "hardly",
])  # fmt: skip
_DENIALS_OF_TWO = frozenset([("rather", "than"), ("no", "longer"), ("anything", "but")])
# Between a denial and what it denies; a verb has the denial for itself ("not supported since X").
_LITTLE_WORDS = frozenset([
    "a", "is", "was", "be", "are", "it", "that", "in", "on", "at", "of", "for", "by", "to", "as", "exactly",
    "equal", "version", "release", "value", "answer", "number", "date", "year", "until", "before", "after",
    "really", "actually", "just", "simply", "definitely",
])  # fmt: skip
_WRONG = (("wrong",), ("incorrect",), ("false",), ("not", "right"), ("not", "correct"), ("not", "answer"))
_COPULAS = frozenset(["is", "was", "would", "be", "are", "seems"])
_OR = frozenset({"or", "/", "versus", "vs"})
# Before a number they make another value of it; "at least 30" may well be how one says that the least is 30.
_BOUNDS = frozenset([("less", "than"), ("more", "than"), ("fewer", "than"), ("older", "than"), ("longer", "than")])
_BOUND = frozenset(["over", "under", "above", "below", "<", ">"])
_FROM_THERE_ON = frozenset([
    "later", "newer", "above", "higher", "more", "older", "earlier", "below", "lower", "less", "after", "before",
])  # fmt: skip
_LISTED = 4
"""Things in a list before its "or" that are followed back to the first."""
_ECHO = 4
"""Tokens in a row that are in the question, too: so many are copied from it."""


def is_asserted(gold: str, text: str, asked: str, rules: Rules) -> bool:
    """Whether a text asserts a gold answer: in whole tokens, neither denied, nor echoed, nor as one of several.

    Args:
        asked: the question.
    """
    wanted = words_of(gold)
    choices = [text_of(choice).run for choice in rules.choices]
    if wanted in (("yes",), ("no",)):
        return _asserted_alone(text, asked) == {wanted[0]}
    said = text_of(text if read_gold(gold).has_marks else without_citations(text)).run
    question = text_of(asked).run
    places = [
        at
        for at in places_of(said, wanted)
        if not _is_denied(said, at, at + len(wanted)) and not _is_another(said, at, at + len(wanted))
    ]
    if places and next(places_of(question, wanted), None) is not None:
        echoed = _echoed(said, question)
        places = [at for at in places if at not in echoed]
    if wanted in choices and any(choice != wanted and _names(said, choice) for choice in choices):
        return False
    return bool(places)


def _names(said: Sequence[str], choice: Sequence[str]) -> bool:
    return any(not _is_denied(said, at, at + len(choice)) for at in places_of(said, choice))


def _asserted_alone(text: str, asked: str) -> set[str]:
    """Which of yes and no a text says as an answer: at the start of a sentence, or before a stop.

    "No longer" at the start is one, "there is no date" is none, and what is echoed from the question is none.
    """
    found = set[str]()
    lowered = plain(without_citations(text)).casefold()
    echo = " ".join(asked.casefold().split())
    if echo:
        lowered = " ".join(lowered.split(" ")).replace(echo, " ")
    for match in regex.finditer(r"(?<![\p{L}\p{M}\d-])(yes|no)(?![\p{L}\p{M}\d-])", lowered):
        before, after = lowered[: match.start()].rstrip(" \"'(“"), lowered[match.end() :]
        begins = not before or before[-1] in ".:;!?\n,-–—=·|"
        ends = regex.match(r"[\"'”)]*\s*(?:$|[.,;:!?)\n·|/–—-]|(?:or|and)\b)", after)
        if begins or ends:
            found.add(match[1])
    return found


def _is_denied(said: Sequence[str], start: int, end: int) -> bool:
    """Whether what stands there is denied, or is one of several that are offered."""
    before, after = start - 1, said[end : end + 4]
    if _is_offered(said, start, end):
        return True
    while before >= 0 and said[before] in _LITTLE_WORDS and _two_before(said, before + 1) not in _DENIALS_OF_TWO:
        before -= 1
    if before >= 0 and (said[before] in _DENIALS or _two_before(said, before + 1) in _DENIALS_OF_TWO):
        return True
    if not after or after[0] not in _COPULAS:
        return False
    return any(tuple(after[1 : 1 + len(words)]) == words for words in _WRONG)


def _two_before(said: Sequence[str], place: int) -> tuple[str, ...]:
    """The two words before a place; fewer at the beginning."""
    return tuple(said[max(place - 2, 0) : place])


def _is_offered(said: Sequence[str], start: int, end: int) -> bool:
    """Whether an "or" joins it to something else: right beside it, behind little words, or at the end of a list."""
    before = start - 1
    while before >= 0 and said[before] in _LITTLE_WORDS:
        before -= 1
    if before >= 0 and said[before] in _OR:
        return True
    after = end
    while after < len(said) and said[after] in _LITTLE_WORDS - _FROM_THERE_ON:
        after += 1
    # Of a list, the others stand between it and the "or", as long as it at most.
    for place in range(after, min(after + _LISTED * (end - start) + 1, len(said))):
        if said[place] in _OR:
            alike = all(_is_alike(said[start], one) for one in said[after : place : end - start])
            return alike and not set(said[place + 1 : place + 2]) & _FROM_THERE_ON
    return False


def _is_alike(one: str, other: str) -> bool:
    return one[:1].isdigit() and other[:1].isdigit()


def _is_another(said: Sequence[str], start: int, end: int) -> bool:
    """Whether a bare number is a bound there, and so another value: "less than 30"."""
    if end - start > 1 or not said[start].replace(".", "", 1).isdecimal():
        return False
    return said[max(start - 1, 0)] in _BOUND or _two_before(said, start) in _BOUNDS


def _echoed(said: Sequence[str], asked: Sequence[str]) -> set[int]:
    """The places of tokens that stand in a run copied from the question."""
    runs = {tuple(asked[at : at + _ECHO]) for at in range(len(asked) - _ECHO + 1)} or {tuple(asked)}
    width = min(_ECHO, len(asked))
    copied: set[int] = set()
    for at in range(len(said) - width + 1):
        if tuple(said[at : at + width]) in runs:
            copied.update(range(at, at + width))
    return copied
