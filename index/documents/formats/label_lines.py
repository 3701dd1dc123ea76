"""Finds lines at the top of a text that look as if they were meant as access labels; the safety net under front matter.

Front matter that is recognised is understood or refused. This is for all that is not recognised, because of a missing
rule, a blank, a comment or an invisible character above it, a notation that is not read, or a file that is caught half
saved: whatever the reason, such a line is text for the index, and its document would be open to everybody.

**The rule.** Only the head of a text is looked at: until ten lines of prose have gone by, and 300 lines at most; blank
lines, rules, comments, and lines of keys and values are no prose. In it, a line is an attempt to label if it begins
with a spelling of `labels` and a colon or an equals sign, whatever marks are around them. It is none

- in a code block or a heading below the first line of prose: an example;
- below a line of prose of three words or more, as an item of a list below the first line of prose, or with a name of
  more than five words: a sentence. A list in brackets makes it an attempt there, too, and even without the colon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from index.documents.formats.labels import is_spelling, looks_like_labels

_MOST_CHARACTERS, _MOST_LINES, _MOST_PROSE = 65_536, 300, 10
_SENTENCE = 3
"""Words from which on a line of prose may be continued by the next one."""
_LONGEST_HEAD = 1_000
_LONGEST_KEY, _LONGEST_NAME = 60, 5
"""Characters of a key, and words of a label."""
_SIGN = re.compile("[:=：＝﹕꞉ː∶]")
_BRACKETED = re.compile(r"[\s\"'`*>]*[\[({<]")
_LIST_ALONE = re.compile(r"[\W_]*labels?\s*[\[({][^\])}]*[\])}]?\W*", re.IGNORECASE)
_IN_BRACES = re.compile(r"[{,\s\"']labels?[\"']?\s*[:=]\s*[\[({\"']", re.IGNORECASE)
_LETTER = re.compile(r"[^\W_\u115f\u1160\u3164\uffa0]")
"""Those left out are letters that nobody sees."""
_GAP = r"[^A-Za-z0-9\n]*(?:\n[^A-Za-z0-9\n]*)?"
_BROKEN = re.compile(
    rf"^[^A-Za-z0-9\n]*(?P<word>{_GAP.join('label')}(?:{_GAP}s)?)"
    rf"(?:[^A-Za-z0-9\n]*|{_GAP}(?=[:=]\s*[\[{{\"']))(?<![:=])[:=](?![:=])",
    re.MULTILINE | re.IGNORECASE,
)
"""The word and its sign with line ends inside; a term and its definition, or a heading and its underline, are none."""
_CODE_FENCE = re.compile(r" {0,3}(?:`{3}|~{3})")
_INDENTED = re.compile(r" {4}|\t")
_ITEM = re.compile(r"\s*(?:[-*+•>|]|\d+[.)])\s")
_BLANKS = re.compile(" +")


@dataclass(frozen=True, slots=True)
class LabelLine:
    """A line that looks like labels: its number from 1, and what stands there, shortened."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number} ({self.text!a})"


def label_line(text: str) -> LabelLine | None:
    """The first line in the head of a text that looks like labels (see the module); None if there is none."""
    broken = _broken_line(text)
    if broken is not None:
        return broken
    prose = 0
    above_is_prose = above_is_blank = is_indented = in_example = in_comment = False
    for number, line in enumerate(text[:_MOST_CHARACTERS].split("\n", _MOST_LINES)[:_MOST_LINES], start=1):
        if prose and _CODE_FENCE.match(line):
            in_example = not in_example
            continue
        if not line.strip():
            above_is_prose, above_is_blank = False, True
            continue
        is_indented = bool(prose and (above_is_blank or is_indented) and _INDENTED.match(line))
        above_is_blank = False
        if in_example or is_indented:
            continue
        key, value = _key_and_value(line)
        if _is_attempt(line, key, value, prose=prose, above_is_prose=above_is_prose):
            return LabelLine(number, line.strip()[:_LONGEST_KEY])
        in_comment = "<!--" in line or in_comment
        is_prose = not in_comment and _is_prose(line, key, prose)
        above_is_prose = is_prose and len(line.split()) >= _SENTENCE
        in_comment = in_comment and "-->" not in line
        prose += is_prose
        if prose == _MOST_PROSE:
            break
    return None


def _broken_line(text: str) -> LabelLine | None:
    """A word for labels that a line end breaks; searched where front matter would stand."""
    for found in _BROKEN.finditer(text[:_LONGEST_HEAD]):
        if "\n" in text[found.start("word") : found.end()]:
            return LabelLine(text.count("\n", 0, found.start("word")) + 1, found.group().strip())
    return None


def labels_in_braces(text: str) -> bool:
    """Whether `labels: [...]` stands anywhere in a text that is all keys and values."""
    return _IN_BRACES.search(text) is not None


def _key_and_value(line: str) -> tuple[str, str]:
    """What stands before the first colon or equals sign behind a letter, and behind it; blank without a short key."""
    letter = _LETTER.search(line)
    sign = _SIGN.search(line, letter.start()) if letter else None
    if letter is None or sign is None or sign.start() > _LONGEST_KEY:
        return "", ""
    return line[letter.start() : sign.start()], line[sign.end() :]


def _is_attempt(line: str, key: str, value: str, *, prose: int, above_is_prose: bool) -> bool:
    marks = line.lstrip()[:2]
    if marks[:1] == "#" and (prose or marks != "#+"):  # a heading, or a comment of YAML; but `#+LABELS: board`
        return False
    if marks[:1] == "{" and labels_in_braces(line):
        return True
    if not key:
        return _LIST_ALONE.fullmatch(line) is not None
    if _BRACKETED.match(value):
        return is_spelling(key) or (not prose and looks_like_labels(key))
    if above_is_prose or (prose and _ITEM.match(line)) or len(_words(key)) != 1 or not is_spelling(key):
        return False
    return all(len(name.split()) <= _LONGEST_NAME for name in re.split("[,;]", value))


def _words(key: str) -> list[str]:
    return [word for word in _BLANKS.split(key) if any(map(str.isalnum, word))]


def _is_prose(line: str, key: str, prose: int) -> bool:
    """Whether a line is more than marks, a key with its value, or, above any prose, an item of a list."""
    if not _LETTER.search(line):
        return False
    return len(_words(key)) != 1 and not (not prose and _ITEM.match(line))
