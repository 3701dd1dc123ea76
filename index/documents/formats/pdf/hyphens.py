"""Words that a hyphen divides at the end of a line: `elec-⏎tric` is one word, `well-⏎known` keeps its hyphen.

No list of words is needed. The document itself decides if the word stands somewhere else in it, written as one or with
the hyphen. Else the hyphen stays

- before a capital or a digit, and after one letter, a digit or a word of capitals (`USB-⏎cable`);
- if either part has a hyphen already (`state-of-⏎the-art`), or one stands before the word (`--dry-⏎run`);
- after numerals and the few words that begin compounds (`two-⏎stage`, `well-⏎known`, `self-⏎test`), and before the few
  that end them (`rule-⏎based`);

and in all other cases goes, because setting programs divide words far more often than writers couple them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from index.documents.formats.pdf.lines import HYPHEN

_DIVIDED = re.compile(rf"([^\W_](?:[\w'’-]*\w)?)?{HYPHEN}(\n+)?([^\W_](?:[\w'’-]*\w)?)?")
_LAST_WORD = re.compile(rf"([^\W_](?:[\w'’-]*\w)?){HYPHEN}$")
_WORD = re.compile(r"[^\W_](?:[\w'’-]*\w)?")

_BEGIN = """well self non quasi half all cross high low long short full left right open old new late early fast slow
first second third one two three four five six seven eight nine eleven twelve twenty thirty forty fifty sixty seventy
eighty ninety single double triple user cost large small deep thin thick wide near far same"""
"""Before a hyphen, these are whole words nearly always; words such as `ten` (`ten-sion`) and `soft` (`soft-ware`) are
left out."""
_END = """based free friendly specific driven oriented aware only wide level term style scale sized shaped dependent
independent effective proof related built sided handed ended making"""
_ENDINGS = "land less like ment most ness ship teen ward ware wards hood self"
"""What may follow one of the first within a word: `well-ness`."""
_BEGIN_COMPOUNDS, _END_COMPOUNDS, _NO_WORDS = (frozenset(words.split()) for words in (_BEGIN, _END, _ENDINGS))
_SHORTEST = 4
"""Shorter parts are endings and prefixes (`high-er`, `un-aware`)."""


class DividedWords:
    """Decides on the hyphens of one document; `texts` are its parts, with `HYPHEN` where a line ends with one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._written: Counter[str] = Counter()
        if any(HYPHEN in text for text in texts):
            for text in texts:
                self._written.update(_WORD.findall(text.casefold()))

    def joined(self, text: str) -> str:
        """The text with divided words joined; what stands on the next line is drawn to the end of this one."""
        return _DIVIDED.sub(self._decided, text) if HYPHEN in text else text

    def _decided(self, match: re.Match[str]) -> str:
        before, ends, after = match.group(1) or "", match.group(2) or "", match.group(3) or ""
        if not before or not after or (len(ends) > 1 and not after[0].islower()):
            return f"{before}-{ends}{after}"
        is_option = match.string.endswith("-", 0, match.start())
        return before + ("-" if is_option or self.keeps(before, after) else "") + after

    def across(self, page: str, following: str) -> str | None:
        """The page without the hyphen that divides its last word, or with it if the word keeps it; None if the next
        page does not go on with that word."""
        before = _LAST_WORD.search(page)
        after = _WORD.match(following)
        if not before or not after or not after.group()[0].islower():
            return None
        return page[:-1] + ("-" if self.keeps(before.group(1), after.group()) else "")

    def keeps(self, before: str, after: str) -> bool:
        """Whether the hyphen between the two parts is one of the word."""
        together, coupled = (self._written[word.casefold()] for word in (before + after, f"{before}-{after}"))
        if together != coupled:
            return coupled > together
        return (
            not after[0].islower()
            or len(before) == 1
            or not before[-1].isalpha()
            or (before.isupper() and len(before) > 1)
            or "-" in before + after
            or (before.casefold() in _BEGIN_COMPOUNDS and len(after) >= _SHORTEST and after not in _NO_WORDS)
            or (after in _END_COMPOUNDS and len(before) >= _SHORTEST)
        )
