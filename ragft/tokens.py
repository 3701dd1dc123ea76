"""Text as comparable tokens, aware of dates, numbers, units, signs and operators.

SQuAD's normalisation (Rajpurkar et al., 2016) ignores case, punctuation and articles. So does this one, but keeps what
changes the meaning: SQuAD turns "2026-04-30" into "20260430", ".5" into "5", "O-" into "O" and "x != 5" into "x 5".
What can be read in two ways is left as it is written: "04/05/2026" is no date here, and "1.000" is not a thousand.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import date

import regex

from ragft.spelling import DATE_IN_DIGITS, UNITS, date_of_digits, month_of, number_of, plain_characters

# What follows the letter A, never the article: "A is right", "A or B", "A to Z".
_AFTER_A_LETTER = frozenset([
    "is", "was", "are", "were", "be", "and", "or", "to", "in", "of", "on", "at", "for", "from", "with", "without",
    "because", "but", "not", "has", "had", "by", "as", "than", "vs", "does", "can", "will", "if", "then",
])  # fmt: skip
_WORD = r"[\p{L}\p{M}\p{N}_]"
_TOKEN = regex.compile(
    rf"""
      (?<!{_WORD}|[).%°])-?\.\d+(?!{_WORD}|[.,]\d)                          # .5
    | (?:(?<!{_WORD}|[).%°'"/:-])[-+])?(?:                                  # a sign, which a hyphen in words is not
          (?: [1-9]\d{{0,2}}(?:,\d{{3}})+(?:\.\d+)? | [1-9]\d{{0,2}}(?:'\d{{3}})+(?:\.\d+)?
            | [1-9]\d{{0,2}}(?:_\d{{3}})+ | [1-9]\d{{0,2}}(?:\.\d{{3}})+,\d+ | [1-9]\d?(?:,\d\d)+,\d{{3}}
            | (?<![.,]|\d)\d+,\d+
          )(?!\d|[.,'_]\d)\p{{L}}*                                          # 1,000.5  1'000  1_000  1.000,5  1,5km
        | v?\d+[\p{{L}}\p{{M}}\d_]*                                         # 4 in 4.2.1, 2026 in 2026-04-30, v4, 3rd
          (?:[.:/-](?:\d+[\p{{L}}\p{{M}}\d_]*|(?:x|rc\d*|alpha\d*|beta\d*|dev\d*|post\d*)\b))*
      )(?:\^-?\d+)?(?:\+(?!{_WORD}|[+.]\d))?                                # 10^2, and 17+ for 17 or later
    | (?:(?<!{_WORD})!(?=\p{{L}}))?{_WORD}+(?:'{_WORD}+)*(?:\^-?\d+)?              # words, max_tokens, m^2
      (?: \+{{1,2}}(?!{_WORD}|\+) | \#(?!{_WORD}) | (?<=(?<!{_WORD}|[-.'])[a-z]{{1,2}}\d?)-(?!{_WORD}|-))?  # c++ c# o-
    | <= | >= | != | == | => | -> | && | \|\| | (?<=\s)-(?=\s)
    | [%$£¥°‰′″] | [\p{{Sm}}--[|]] | [*/@^]
    """,
    regex.VERBOSE | regex.VERSION1,
)
_OPERANDS_BOTH_SIDES = frozenset("*/@+-")
_SIGNS = {"≤": "<=", "≥": ">=", "≠": "!=", "×": "*", "÷": "/", "≈": "~", "→": "->", "⇒": "=>"}
_LIST_MARK = regex.compile(r"(?m)^[ \t]*[-*+•‣▪][ \t]+")
_QUOTE_MARK = regex.compile(r"(?m)^[ \t]*(?:>[ \t]*)+(?=\p{L})")
_EMPHASIS = regex.compile(rf"(?<!\S|[(\[])\*+(?=\S)|(?<=\S)\*+(?!\S|{_WORD})|(?<!{_WORD})_+(?=\S)|(?<=\S)_+(?!{_WORD})")
_NOT = (("can't", "cannot"), ("won't", "will not"), ("n't", " not"))
_PERCENT = regex.compile(r"\bper ?cent\b")
_DOTTED_CLOCK = regex.compile(r"(?<=\d)\s?([ap])\.\s?m\b\.?")
_CLOCK = regex.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.0+)?)?")
_HALF_DAY = regex.compile(r"(0?[1-9]|1[0-2])(?::([0-5]\d))?")
_DAY, _YEAR = regex.compile(r"(\d{1,2})(?:st|nd|rd|th)?"), regex.compile(r"[12]\d{3}")
_DATE_AND_TIME = regex.compile(r"(?<=\d{4}-\d\d-\d\d)t(?=\d\d:\d\d)|(?<=\d\d:\d\d(?::\d\d(?:\.\d+)?)?)z\b")
_NUMBER_BEGINS = regex.compile(r"[-+v]?\.?\d")
_STUCK_UNIT = regex.compile(r"(-?\d+(?:\.\d+)?)([^\W\d_]+)")
# A sign behind a letter or two, set off: "AB +", "Rh (-)"; elsewhere it is punctuation.
_SET_OFF_SIGN = regex.compile(rf"(?<!{_WORD}|[-'])([a-z]{{1,2}}\d?)(?:\s?\(([+-])\)|\s([+-])(?=\s*[.!]?\s*$))")
_SECONDS = regex.compile(r"(?<=\d)\s?(?:′′|″)")
_MINUTES = regex.compile(r"(?<=\d)\s?′(?!′)")
_INCHES = regex.compile(r'(?<=\d)"')
_FEET = regex.compile(r"(?<=\d)'(?=\s|$|[.,;:!?)]|\d{1,2}(?:\.\d+)?\s?(?:\"|″))")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@functools.lru_cache(maxsize=16_384)  # every metric asks for the same few texts of a question and its answers
def tokens(text: str) -> tuple[str, ...]:
    """The comparable tokens of a text: two texts with equal tokens say the same, word for word.

    Ignores case, articles, surrounding punctuation and Markdown, how a date is written ("30 April 2026", "30.04.2026"),
    how the digits of a number are grouped ("1,000"), a comma for its point ("1,5"), and whether a unit is set off
    ("5km"). Keeps comparison signs, signs of numbers and of blood groups, feet and inches, operators, exponents and
    combining marks.
    """
    plain = _plain(text)
    found = [part for match in _TOKEN.finditer(plain) for part in _canonical(match[0])]
    kept = _with_operands([token for token in found if token not in ("an", "the")])
    kept = _with_dates(_without_leading_article(kept))
    # The whole answer may be "The" or "☺": a text that would be left without tokens keeps what it has.
    return tuple(kept or _with_operands(found) or found or plain.split())


def contains_tokens(text: Sequence[str], part: Sequence[str]) -> bool:
    """Whether `part` occurs in `text` as a run of tokens."""
    return next(places_of(text, part), None) is not None


def places_of(text: Sequence[str], part: Sequence[str]) -> Iterator[int]:
    """The places in `text` where `part` begins as a run of tokens; a number is not found before its unit of one letter.

    That letter may have been a part of it: "Update 3w" is another one than "Update 3".
    """
    width, wanted = len(part), tuple(part)
    ends_in_number = width > 0 and wanted[-1][-1].isdigit()
    for at in range(len(text) - width + 1 if width else 0):
        if tuple(text[at : at + width]) == wanted:
            following = text[at + width] if at + width < len(text) else ""
            if not (ends_in_number and len(following) == 1 and following in UNITS):
                yield at


def _plain(text: str) -> str:
    """The text without case, markup and other ways to write one character."""
    plain = plain_characters(text).casefold()
    plain = unicodedata.normalize("NFKC", plain)
    for written, meant in _NOT:
        plain = plain.replace(written, meant)
    plain = _SET_OFF_SIGN.sub(r"\1\2\3 ", _with_primes(_PERCENT.sub("%", plain)))
    plain = _EMPHASIS.sub(" ", _QUOTE_MARK.sub(" ", _LIST_MARK.sub(" ", plain)))
    return str(_DATE_AND_TIME.sub(" ", _DOTTED_CLOCK.sub(r" \1m ", plain)))


def _with_primes(plain: str) -> str:
    """With feet and inches, or minutes and seconds of arc, as signs of their own, which quotes, in pairs, are not."""
    if plain.count("'") % 2:
        plain = _FEET.sub(" ′ ", plain)
    if plain.count('"') % 2:
        plain = _INCHES.sub(" ″ ", plain)
    return _MINUTES.sub(" ′ ", _SECONDS.sub(" ″ ", plain)) if "′" in plain or "″" in plain else plain


def _canonical(token: str) -> list[str]:
    """A token in its one spelling; several where it holds a number and its unit."""
    if token[0] in _SIGNS:
        return [_SIGNS[token[0]]]
    if not _NUMBER_BEGINS.match(token):
        # Underscores around a word are emphasis in Markdown.
        word = token.replace("'", "").strip("_")
        return [word] if word else []
    token = token.removeprefix("+")
    if token.startswith("v") and token[1:2].isdigit():
        token = token[1:]
    if DATE_IN_DIGITS.fullmatch(token):
        return [date_of_digits(token) or token]
    token = number_of(token)
    if clock := _CLOCK.fullmatch(token):
        return [_clock(int(clock[1]), clock[2], clock[3])]
    stuck = _STUCK_UNIT.fullmatch(token)
    return [stuck[1], stuck[2]] if stuck and stuck[2] in UNITS else [token]


def _clock(hour: int, minute: str, second: str | None) -> str:
    return f"{hour:02d}:{minute}" + (f":{second}" if second and second != "00" else "")


def _with_operands(found: Sequence[str]) -> list[str]:
    """Without the signs that join nothing: a stroke at the end, a star that marks a footnote."""
    kept: list[str] = []
    for at, word in enumerate(found):
        following = found[at + 1] if at + 1 < len(found) else ""
        joins = bool(kept) and _is_operand(kept[-1]) and _is_operand(following)
        if word in _OPERANDS_BOTH_SIDES and not joins:
            continue
        # A dash with spaces around it is a minus between numbers and letters, and punctuation between words.
        if word == "-" and not (_may_be_reckoned_with(kept[-1]) and _may_be_reckoned_with(following)):
            continue
        if word in ("~", "^") and not _is_operand(following):
            continue
        # At the start of a line it quotes what follows, except before a number.
        if word == ">" and not kept and not following[:1].isdigit():
            continue
        kept.append(word)
    return kept


def _is_operand(token: str) -> bool:
    return any(letter.isalnum() for letter in token)


def _may_be_reckoned_with(token: str) -> bool:
    return len(token) == 1 or token[0].isdigit() or (token[0] == "-" and token[1:2].isdigit())


def _with_dates(found: Sequence[str]) -> list[str]:
    """With dates in words, and hours in two halves of a day, in one spelling; without the weekday that a date has."""
    kept: list[str] = []
    at = 0
    while at < len(found):
        word, width = _written_date(found, at) or _written_hour(found, at) or (found[at], 1)
        at += width
        before = kept[-1] if kept else ""
        # Midnight is how a program writes a date.
        if word == "00:00" and _is_date(before):
            continue
        if before in _WEEKDAYS and _is_date(word) and _WEEKDAYS[date.fromisoformat(word).weekday()] == before:
            kept.pop()
        kept.append(word)
    return kept


def _is_date(word: str) -> bool:
    return word[:1].isdigit() and date_of_digits(word) == word


def _written_hour(found: Sequence[str], at: int) -> tuple[str, int] | None:
    """The hour that begins at a place and is told by halves of a day, and its two words."""
    half = found[at + 1] if at + 1 < len(found) else ""
    hour = _HALF_DAY.fullmatch(found[at]) if half in ("am", "pm") else None
    return (_clock(int(hour[1]) % 12 + 12 * (half == "pm"), hour[2] or "00", None), 2) if hour else None


def _written_date(found: Sequence[str], at: int) -> tuple[str, int] | None:
    """The date whose words begin at a place, and how many they are: day month year, month day year, year month day."""
    places = [place for place in range(at, min(at + 5, len(found))) if found[place] != "of"][:3]
    if len(places) < 3 or places[0] != at:
        return None
    words, width = [found[place] for place in places], places[-1] + 1 - at
    for day, month, year in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        number = _DAY.fullmatch(words[day])
        which = month_of(words[month])
        if number and which and _YEAR.fullmatch(words[year]):
            iso = date_of_digits(f"{words[year]}-{which:02d}-{int(number[1]):02d}")
            return (iso, width) if iso else None
    return None


def _without_leading_article(found: Sequence[str]) -> list[str]:
    """Without "a" at the start; elsewhere it may be the letter ("Vitamin A", "type a"), and so it may before "is"."""
    at = 0
    while at + 1 < len(found) and found[at] == "a" and _is_article_before(found[at + 1]):
        at += 1
    return list(found[at:])


def _is_article_before(word: str) -> bool:
    return len(word) > 1 and word[0].isalpha() and word not in _AFTER_A_LETTER
