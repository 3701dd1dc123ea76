"""Whether an answer refuses: in the declared words, in others, or with a guess behind it.

An answer is one of four things, so that none is counted twice: right, wrong, refused or hedged. Hedged is a refusal
beside a guess ("I do not know, but it is probably 4.2."): it leaves the reader with a value that it does not stand for,
so that it is neither a refusal nor an answer.
"""

from __future__ import annotations

import functools
from typing import Literal

import regex

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, is_cut_off
from ragft.evaluate.metrics.reading import equals_any, plain, read, value_of
from ragft.evaluate.records import Record
from ragft.tokens import contains_tokens, tokens

Refusal = Literal["declared", "other", "hedged"]
Outcome = Literal["right", "wrong", "refused", "hedged"]

_NOUNS = (
    r"(?:passages?|documents?|docs?|context|texts?|sources?|pages?|records?|articles?|excerpts?|materials?|data|"
    r"information|abstracts?|references?|database|knowledge base)"
)
_TELLS = (
    r"(?:say|contain|mention|provide|specify|include|state|hold|give|answer|list|cover|indicate|tell|address|disclose|"
    r"discuss|have|show|reveal|describe)"
)
_TOLD = (
    r"(?:mentioned|specified|stated|provided|given|available|found|known|disclosed|listed|indicated|included|covered|"
    r"described)"
)
_KNOW = r"(?:know|answer|find|tell|determine|locate|confirm|identify|say)"
_THINGS = r"(?:information|mention|answer|data|details?|record|indication|evidence)"
WORDINGS = (
    rf"\b(?:i|we) (?:\w+ly |just )?(?:do not|cannot|could not) (?:\w+ly )?{_KNOW}\b",
    r"\b(?:i|we) (?:am|are|was|were) (?:not able|unable) to\b",
    rf"\b(?:i|we) (?:do not|did not) (?:have|see|find) (?:\w+ ){{0,3}}(?:{_THINGS}|access|knowledge)\b",
    r"\b(?:i am|we are) not (?:sure|certain|aware)\b",
    rf"\b(?:i|we) have no (?:idea|knowledge|{_THINGS})\b",
    r"\b(?:nobody|no one) knows\b",
    rf"\b{_NOUNS}\b[^.!?\n]*\b(?:do|does|did) not (?:\w+ly )?{_TELLS}\b",
    rf"\b{_NOUNS}\b[^.!?\n]*\b(?:contains?|provides?|gives?|has|have|holds?|makes?) no (?:\w+ )?{_THINGS}\b",
    rf"\bnone of the (?:\w+ )?{_NOUNS}\b",
    rf"\b(?:there is|there are|i see|i find|i found) no (?:\w+ ){{0,2}}{_THINGS}\b",
    rf"^no (?:\w+ ){{0,2}}{_THINGS}\b",
    rf"\b(?:is|are|was|were) not (?:\w+ly )?{_TOLD} (?:in|by|on|within) (?:the|these|any|my|our) (?:\w+ )?{_NOUNS}",
    rf"^not (?:\w+ly )?{_TOLD} (?:in|by|on|within) ",
    rf"\b(?:information|answer|details?) (?:is|was|are) (?:not {_TOLD}|unknown|unavailable)\b",
    rf"\b(?:it|this|that) (?:is|was) (?:not (?:\w+ly )?{_TOLD}|unknown)(?:$| in| by| here| anywhere)",
    r"\bcannot be (?:determined|answered|found|inferred|known|said|established)\b",
    r"\b(?:insufficient|not enough) (?:information|context|data|details?)\b",
    rf"^(?:the answer is )?(?:unknown|not known|n/?a|no answer|unanswerable|not {_TOLD}|no idea)$",
)
"""Regular expressions of refusals in English, over one clause in lower case without contractions."""

_WORDINGS = tuple(regex.compile(wording) for wording in WORDINGS)
_SENTENCES = regex.compile(r"(?<=[.!?])\s+|\n+")
_TURNS = regex.compile(r"[,;:]?\s*\b(?:but|however|although|though|yet|still)\b[,:]?\s*")
_GUESSES = regex.compile(
    r"\b(?:probably|likely|perhaps|maybe|might be|may be|could be|would be|should be|must be|my (?:best )?guess|"
    r"i (?:think|believe|assume|suppose|guess|would (?:say|guess))|presumably|possibly|in general|usually)\b"
)
_EXPLAINS = regex.compile(
    rf"\b(?:{_NOUNS}|sorry|apologi[sz]e|apologies|unfortunately|please|contact|check|consult|refer|recommend|help|"
    r"assist|question|thank|provided?|mention\w*|ask)\b"
)
_SHORT = 4
"""Words of a sentence that is a guess without figures, such as "Paris." """


@functools.lru_cache(maxsize=4096)  # most metrics ask
def refusal_of(answer: str, rules: Rules, *, asked: str = "", cut_off: bool = False) -> Refusal | None:
    """How an answer refuses; None where it does not.

    Args:
        asked: the question, whose own figures are no guess.
        cut_off: the answer ended because it was as long as it may be.
    """
    declared = tokens(rules.refusal)
    if not declared:
        return None if answer.strip() else "declared"
    reading = read(answer, rules, cut_off=cut_off)
    declared_value = tokens(value_of(rules.refusal, rules))
    said = tokens(answer)
    if reading.found and not reading.cut:
        if tokens(reading.value) == declared_value:
            refusal: Refusal | None = "declared"
        else:
            refusal = "other" if _is_wording(reading.value, rules) else None
        refusing = refusal is not None or said[: len(declared)] == declared
        guessed = refusal is None or any(
            tokens(value) != declared_value and not _is_wording(value, rules) for value in reading.others
        )
        return "hedged" if refusing and guessed else refusal
    if said == declared or tokens(reading.value) == declared_value:
        return "declared"
    return _of_free_text(answer, rules, asked)


def is_refusal(answer: str, rules: Rules, *, asked: str = "") -> bool:
    """Whether an answer is a refusal, in whatever words, without a guess behind it."""
    return refusal_of(answer, rules, asked=asked) in ("declared", "other")


def outcome_of(question: Question, record: Record, rules: Rules) -> Outcome:
    """What an answer is, in one word; a right answer to a question without one is the refusal."""
    cut_off = is_cut_off(record)
    refusal = refusal_of(record.answer, rules, asked=question.question, cut_off=cut_off)
    if question.answerable:
        # A right answer may read like a refusal ("unknown" where a page says so).
        is_like_gold = refusal is None or (refusal != "hedged" and any(is_refusal(g, rules) for g in question.answers))
        if is_like_gold and equals_any(value_of(record.answer, rules, cut_off=cut_off), question.answers):
            return "right"
    if refusal == "hedged":
        return "hedged"
    return "refused" if refusal else "wrong"


def _of_free_text(answer: str, rules: Rules, asked: str) -> Refusal | None:
    """How a text without a value refuses: some clause says so, and whether another one guesses."""
    declared, known = tokens(rules.refusal), frozenset(tokens(asked))
    refusal: Refusal | None = None
    guessed = False
    for clause in _clauses(answer):
        said = tokens(clause)
        if said[: len(declared)] == declared and refusal is None:
            refusal = "declared"
        elif _is_wording(clause, rules):
            refusal = refusal or "other"
        else:
            guessed = guessed or _is_guess(clause, said, known)
    if refusal is None and contains_tokens(tokens(answer)[: len(declared)], declared):
        refusal = "declared"
    return "hedged" if refusal and guessed else refusal


def _clauses(answer: str) -> list[str]:
    sentences = (sentence for sentence in _SENTENCES.split(plain(answer)))
    return [clause for sentence in sentences for clause in _TURNS.split(sentence) if any(map(str.isalnum, clause))]


def _is_wording(clause: str, rules: Rules) -> bool:
    text = clause.casefold().replace("’", "'").replace("can't", "cannot").replace("n't", " not").replace("'m", " am")
    text = text.replace("'re", " are").strip().strip(".!,;: \"'")
    return any(wording.search(text) for wording in _WORDINGS) or any(
        pattern.search(clause) is not None for pattern in rules.refusals
    )


def _is_guess(clause: str, said: tuple[str, ...], known: frozenset[str]) -> bool:
    text = clause.casefold()
    if _GUESSES.search(text):
        return True
    if _EXPLAINS.search(text):
        return False
    has_figure = any(any(map(str.isdigit, token)) for token in said if token not in known)
    return has_figure or len(said) <= _SHORT
