"""Whether an answer refuses: in the declared words, in others, or with a guess behind it.

An answer is one of four things, so that none is counted twice: right, wrong, refused or hedged. Hedged is a refusal
beside a guess ("I do not know, but it is probably 4.2."): it leaves the reader with a value that it does not stand for,
so that it is neither a refusal nor an answer.
"""

from __future__ import annotations

import functools
from typing import Literal

import regex

from ragft.data.answers import is_figure
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import Rules, is_cut_off
from ragft.evaluate.metrics.reading import equals_any, plain, read, value_of
from ragft.evaluate.records import Record
from ragft.tokens import contains_tokens, tokens

Refusal = Literal["declared", "other", "hedged"]
Outcome = Literal["right", "wrong", "refused", "hedged"]

# What a question is answered from, and what else may hold no answer.
_TEXTS = (
    r"(?:passages?|documents?|documentation|docs?|context|texts?|sources?|pages?|records?|articles?|excerpts?|"
    r"materials?|abstracts?|references?|knowledge base)"
)
_NOUNS = rf"(?:{_TEXTS}|data|information|database)"
_IN_THEM = rf"(?:in|by|on|within|from) (?:the|these|those|any|my|our|your) (?:\w+ )?{_NOUNS}"
# Verbs whose object does not matter, since only texts do that; and those that things do, too ("does not include VAT").
_SAYS = r"(?:say|mention|specify|state|answer|indicate|tell|address|disclose|discuss|reveal|describe|clarify)"
_HOLDS = r"(?:contain|provide|include|hold|give|list|cover|have|show)"
_TOLD = (
    r"(?:mentioned|specified|stated|provided|given|available|found|known|disclosed|listed|indicated|included|covered|"
    r"described)"
)
_SAID = r"(?:mentioned|specified|stated|given|known|disclosed|indicated|described|recorded)"
_KNOW = r"(?:know|answer|find|tell|determine|locate|confirm|identify|say)"
_THINGS = r"(?:information|info|mention|answer|data|details?|indication)"
_VALUES = (
    r"(?:date|day|time|year|month|version|release|name|number|amount|value|price|cost|fee|duration|length|reason|"
    r"cause|owner|author|location|address|size|answer)"
)
_OBJECT = (
    rf"(?:it|this|that|these|those|so|anything|enough|(?:an?|the|any|its|this|that|such|enough) (?:\w+ ){{0,2}}"
    rf"(?:{_THINGS}|{_VALUES})|(?:\w+ ){{0,2}}{_THINGS})(?:$|\b(?! desk))"
)
_NO_SUCH = r"\b(?:there is|there are|i see|i find|i found) (?:no|not any)"
_ABOUT = r"(?:about|on|regarding|concerning|for|as to|of)"
WORDINGS = (
    rf"\b(?:i|we) (?:\w+ly |just )?(?:do not|did not|cannot|could not) (?:\w+ly )?{_KNOW}\b",
    rf"\b(?:i|we) (?:am|are|was|were) (?:not able|unable) to (?:\w+ly )?(?:{_KNOW}|provide|give|help|assist)\b",
    rf"\b(?:i|we) (?:do not|did not) (?:have|see|find) (?:\w+ ){{0,3}}(?:{_THINGS}|access|knowledge)\b",
    r"\b(?:i am|we are) not (?:sure|certain|aware)\b",
    rf"\b(?:i|we) have no (?:idea|clue|knowledge|{_THINGS})\b",
    r"\b(?:nobody|no one) knows\b",
    rf"\b{_NOUNS}\b[^.!?\n]*\b(?:do|does|did) not (?:\w+ly )?{_SAYS}\b",
    rf"\b{_TEXTS}\b[^.!?\n]*\b(?:do|does|did) not (?:\w+ly )?{_HOLDS}(?:$| {_OBJECT})",
    rf"\b{_TEXTS}\b[^.!?\n]*\b(?:contains?|provides?|gives?|has|have|holds?|makes?|includes?) no (?:\w+ )?{_THINGS}\b",
    rf"\b{_TEXTS}\b[^.!?\n]*\b(?:lacks?|omits?) {_OBJECT}",
    rf"\bnone of (?:the|these|those|my|our|your) (?:\w+ )?{_TEXTS}(?:$| (?:\w+ly )?(?:{_SAYS}|{_HOLDS})(?:s|es)?\b)",
    rf"\bin none of (?:the|these|those|my|our|your) (?:\w+ )?{_TEXTS}\b",
    rf"^(?:no|neither)(?: of (?:the|these|those))? (?:\w+ )?{_TEXTS} (?:\w+ly )?(?:{_SAYS}|{_HOLDS})(?:s|es)?\b",
    rf"\bnothing (?:in|within) (?:the|these|those|any|my|our) (?:\w+ )?{_TEXTS}\b",
    rf"\b(?:there is|i see|i find|i found) nothing\b(?:[^.!?\n]*\b{_IN_THEM}| (?:about|on) (?:it|this|that))\b",
    (
        rf"{_NO_SUCH} (?:\w+ ){{0,2}}{_THINGS}"
        r"(?:$| (?:in|on|about|regarding|concerning|for|of|as to|that|to|here|available|given|provided|whether)\b)"
    ),
    rf"{_NO_SUCH} (?:evidence|records?)\b[^.!?\n]*\b{_IN_THEM}\b",
    (
        rf"^no (?:\w+ ){{0,2}}(?:{_THINGS}|evidence|records?)(?:$| (?:is |are |was |were )?(?:{_TOLD}|found)$|"
        rf"[^.!?\n]* {_IN_THEM}\b)"
    ),
    (
        rf"^no (?:\w+ ){{0,2}}{_THINGS} (?:is |are |was |were )?(?:{_TOLD} )?{_ABOUT} "
        r"(?!.*\b(?:is|are|was|were)\b)"
    ),
    rf"\b(?:is|are|was|were) not (?:\w+ly )?{_TOLD} {_IN_THEM}\b",
    rf"^not (?:\w+ly )?{_TOLD} {_IN_THEM}\b",
    rf"\b(?:is|are|was|were) (?:missing|absent) from (?:the|these|those|my|our) (?:\w+ )?{_NOUNS}\b",
    (
        rf"\b(?:information|info|answer|details?) (?:(?:is |was |are |were )?not {_TOLD}|"
        r"(?:is|was|are) (?:unknown|unavailable|missing|lacking))\b"
    ),
    rf"\b(?:it|this|that) (?:is|was) (?:not (?:\w+ly )?{_SAID}|unknown)(?:$| {_IN_THEM}| here| anywhere)",
    rf"\b(?:it|this|that) (?:is|remains) (?:unclear|not clear|uncertain)(?:$| {_IN_THEM})",
    rf"^(?:the|this|that|its|their|an?) (?:\w+ ){{1,5}}(?:is|was|are|were) not (?:\w+ly )?{_SAID}(?: here| anywhere)?$",
    (
        rf"^(?:the|this|that|its|their|an?) (?:\w+ ){{0,4}}{_VALUES}(?: (?:of|for) [^.!?\n]*)? (?:is|was|are|were) "
        rf"(?:not (?:\w+ly )?(?:{_SAID}|provided|available|found|listed)|unknown|unclear)(?: here| anywhere)?$"
    ),
    rf"^(?:cannot|could not|unable to|not able to|impossible to|not possible to) (?:be )?(?:\w+ly )?{_KNOW}\b",
    r"\bcannot be (?:determined|answered|inferred|known|said|established)\b",
    rf"\b(?:it|this|that|answer|information) cannot be found\b|\bcannot be found {_IN_THEM}\b",
    r"\b(?:insufficient|not enough) (?:\w+ )?(?:information|info|context|details?)\b",
    r"\b(?:insufficient|not enough) data(?:$| (?:in|to|available)\b)",
    (
        rf"^(?:the answer is )?(?:unknown|not known|n/?a|no answer|unanswerable|undetermined|unclear|not {_TOLD}|"
        r"no idea|no clue)$"
    ),
)
"""Regular expressions of refusals in English, over one clause in lower case without contractions."""

_WORDINGS = tuple(regex.compile(wording) for wording in WORDINGS)
_LACKING = regex.compile(rf"\b{_TEXTS}\b[^.!?\n]*\b(?:do|does|did) not (?:\w+ly )?{_HOLDS} (?P<object>.+)$")
# Figures that name texts, and no answer: "passages 1 to 4", "the 4 passages", "[1]".
_COUNTED = regex.compile(rf"\[[^\]]*\]|\b{_NOUNS} \d+(?:(?: to |-|, | and )\d+)*|\b\d+ (?:\w+ )?{_NOUNS}\b", regex.I)
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
_LITTLE = frozenset(["a", "any", "of", "for", "in", "on", "about", "to", "this", "that", "its", "and", "or"])
_SHORT = 4
"""Words of a sentence that is a guess without figures, such as "Paris." """


@functools.lru_cache(maxsize=4096)  # most metrics ask
def refusal_of(answer: str, rules: Rules, *, asked: str, cut_off: bool = False) -> Refusal | None:
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


def is_refusal(answer: str, rules: Rules, *, asked: str, cut_off: bool = False) -> bool:
    """Whether an answer is a refusal, in whatever words, without a guess behind it; see `refusal_of`."""
    return refusal_of(answer, rules, asked=asked, cut_off=cut_off) in ("declared", "other")


def golds_of(reference: str, rules: Rules, *, asked: str) -> tuple[str, ...]:
    """The gold answers of a question whose right answer is written out: its value; none where that is a refusal."""
    return () if is_refusal(reference, rules, asked=asked) else (value_of(reference, rules),)


def outcome_of(question: Question, record: Record, rules: Rules) -> Outcome:
    """What an answer is, in one word; a right answer to a question without one is the refusal."""
    cut_off = is_cut_off(record)
    refusal = refusal_of(record.answer, rules, asked=question.question, cut_off=cut_off)
    if question.answerable:
        # A right answer may read like a refusal ("unknown" where a page says so).
        of_golds = (is_refusal(gold, rules, asked=question.question) for gold in question.answers)
        is_like_gold = refusal is None or (refusal != "hedged" and any(of_golds))
        if is_like_gold and equals_any(read(record.answer, rules, cut_off=cut_off), question.answers):
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
        elif _is_wording(clause, rules, known):
            refusal = refusal or "other"
            guessed = guessed or (is_figure(clause) and _has_figure(tokens(_COUNTED.sub(" ", clause)), known))
        else:
            guessed = guessed or _is_guess(clause, said, known)
    if refusal is None and contains_tokens(tokens(answer)[: len(declared)], declared):
        refusal = "declared"
    return "hedged" if refusal and guessed else refusal


def _clauses(answer: str) -> list[str]:
    sentences = (sentence for sentence in _SENTENCES.split(plain(answer)))
    return [clause for sentence in sentences for clause in _TURNS.split(sentence) if any(map(str.isalnum, clause))]


def _is_wording(clause: str, rules: Rules, known: frozenset[str] = frozenset()) -> bool:
    """Whether a clause says that there is no answer.

    Args:
        known: tokens of the question: what a text does not have, as the question says it, is not there to be told.
    """
    text = clause.casefold().replace("’", "'").replace("can't", "cannot").replace("n't", " not").replace("'m", " am")
    text = text.replace("'re", " are").replace("there's", "there is").replace("it's", "it is")
    text = text.strip().strip(".!,;: \"'")
    if any(wording.search(text) for wording in _WORDINGS):
        return True
    lacking = _LACKING.search(text)
    if lacking and known and all(word in known or word in _LITTLE for word in tokens(lacking["object"])):
        return True
    return any(pattern.search(clause) is not None for pattern in rules.refusals)


def _is_guess(clause: str, said: tuple[str, ...], known: frozenset[str]) -> bool:
    text = clause.casefold()
    if _GUESSES.search(text):
        return True
    if _EXPLAINS.search(text):
        return False
    return _has_figure(said, known) or len(said) <= _SHORT


def _has_figure(said: tuple[str, ...], known: frozenset[str]) -> bool:
    return any(is_figure(token) for token in said if token not in known)
