"""Text as comparable tokens, aware of dates, versions and numbers.

SQuAD's normalisation (Rajpurkar et al., 2016) ignores case, punctuation and articles. So does this one, but punctuation
*inside* a number belongs to it: SQuAD turns "2026-04-30" into "20260430" and "4.2.1" into "421", and a substring test
finds "4.2" in "4.2.1"; here both are single tokens that equal only themselves.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

_ARTICLES = frozenset({"a", "an", "the"})
_PLAIN = str.maketrans({"‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "’": "'", "‘": "'"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY, _YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?", r"(?P<year>\d{4})\b"
# Only dates in words are rewritten: "04/05/2026" does not say which is the month.
_WRITTEN_DATES = (
    re.compile(rf"\b{_DAY}(?:\s+of)?\s+{_MONTH},?\s+{_YEAR}"),
    re.compile(rf"\b{_MONTH}\s+{_DAY},?\s+{_YEAR}"),
)
_ISO_DATE = re.compile(r"(\d{4})[-/](0?[1-9]|1[0-2])[-/](0?[1-9]|[12]\d|3[01])")
_TOKEN = re.compile(
    r"""
      (?:(?<![^\s(])-)?                     # a minus sign, which a hyphen between words is not
      (?: \d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?           # 1,000.5
        | v?\d+[^\W_]*                      # 4 in 4.2.1, 2026 in 2026-04-30, v4, 3rd
          (?:[.:/-](?:\d+[^\W_]*|(?:x|rc\d*|alpha\d*|beta\d*|dev\d*|post\d*)\b))*
      )
    | \w+(?:'\w+)*(?:\+\+|\#)?              # words, max_tokens, c++, c#
    | [%$€£¥°]                              # 5 % is not 5
    """,
    re.VERBOSE,
)


@functools.lru_cache(maxsize=4096)  # every metric asks for the same few texts of a question
def tokens(text: str) -> tuple[str, ...]:
    """The comparable tokens of a text: two texts with equal tokens say the same, word for word.

    Ignores case, articles, surrounding punctuation, and how a date is written ("30 April 2026", "2026-4-30").
    """
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_PLAIN)
    plain = plain.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
    for pattern in _WRITTEN_DATES:
        plain = pattern.sub(_iso_of_words, plain)
    found = [word for word in (_canonical(match) for match in _TOKEN.findall(plain)) if word]
    kept = [word for word in found if word not in _ARTICLES]
    # The whole answer may be "A" or "→": a text that would be left without tokens keeps what it has.
    return tuple(kept or found or plain.split())


def contains_tokens(text: Sequence[str], part: Sequence[str]) -> bool:
    """Whether `part` occurs in `text` as a run of tokens."""
    width, wanted = len(part), tuple(part)
    return width > 0 and any(tuple(text[at : at + width]) == wanted for at in range(len(text) - width + 1))


def _canonical(token: str) -> str:
    if token[0].isdigit() or token[0] in "-v":
        if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", token):
            return token.replace(",", "")
        if re.match(r"v\d", token):
            token = token[1:]
        date = _ISO_DATE.fullmatch(token)
        if date:
            return f"{date[1]}-{int(date[2]):02d}-{int(date[3]):02d}"
        return token
    # Underscores around a word are emphasis in Markdown.
    return token.replace("'", "").strip("_")


def _iso_of_words(match: re.Match[str]) -> str:
    month = _MONTHS.index(match["month"][:3]) + 1
    return f"{match['year']}-{month:02d}-{int(match['day']):02d}"
