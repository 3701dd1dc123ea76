"""Citations: the passage numbers in an answer.

The endpoint that resolves `[2]` for a user and the evaluation that asks whether `[2]` was right read them alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_KIND = r"(?:(?:sources?|passages?|documents?|docs?|references?|refs?|citations?)[\s:#.]*)?"
_ITEM = rf"{_KIND}#?\d{{1,3}}(?:\s*[-–—‐‑]\s*\d{{1,3}})?"
_BETWEEN = r"(?:\s*[,;]\s*(?:and\s+|&\s*)?|\s+(?:and|&)\s+|\s*&\s*)"
# Up to three digits: [2026] is a year. Not an image, a link or the definition of one: ![1], [1](...), [1]: http...
_CITATION = re.compile(
    rf"(?<!!)(?:\[\s*\^?({_ITEM}(?:{_BETWEEN}{_ITEM})*)\s*\]|【\s*({_ITEM}(?:{_BETWEEN}{_ITEM})*)\s*(?:†[^】]*)?】)"
    r"(?!\(|:\s*http)",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(\d+)(?:\s*[-–—‐‑]\s*(\d+))?")
_WIDEST = 20
"""Passages that a range may name: [1-3] is one, [100-900] is an interval of something else."""
# `args[1]` is an element; "supported[1]", "GitHub[1]" and "Node.js[1]" are citations: the words and letters that
# programs call their lists.
_LISTS = frozenset([
    "arg", "args", "argv", "arr", "array", "buf", "dict", "elem", "idx", "kwargs", "list", "lst", "params", "ptr",
    "str", "tmp", "tuple", "vec", "xs", "ys", "i", "j", "v", "w", "x", "y", "z",
])  # fmt: skip
_WORDS_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# What stands at once before brackets, read backwards, so that each is matched in one go: a word, `list_2`, `call()`.
_NAMES_BEFORE = tuple(map(re.compile, (r"[^\W\d][\w.$\])]*", r"\w*_[\w.]*", r"\)\(\w")))
# Code within a line, in which nothing is cited unless it is nothing but marks; and blocks, which may be a whole answer.
_CODE = re.compile(r"(?ms)^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)|`([^`\n]+)`")
_LIST_BEGINS = re.compile(r"(?:[=(,+]|\b(?:in|return))\s*\Z")
_LONGEST_NAME = 200
"""Characters before brackets in which a name is looked for, so that a long line is read in one go."""


@dataclass(frozen=True)
class _Code:
    """What is marked as code: a span within a line, which may be nothing but citations, or a block."""

    start: int
    end: int
    is_inline: bool
    is_marks: bool

    @classmethod
    def of(cls, found: re.Match[str]) -> _Code:
        inline = found[2]
        return cls(*found.span(), inline is not None, inline is not None and not _CITATION.sub("", inline).strip())


@dataclass(frozen=True)
class _Mark:
    """A citation in a text, with where it stands."""

    start: int
    end: int
    numbers: tuple[int, ...]


def parse_citations(answer: str) -> tuple[int, ...]:
    """The passage numbers that an answer cites, each once, in order.

    Read are `[2]`, `[1][3]`, `[1, 3]`, `[1 and 3]`, `[1-3]`, `[Source 2]`, `[^2]` and `【2】`; not `(2)`, an element
    of a list (`list[0]`, `args[1]`), a list in code, a link, a name (`[RFC 2119]`) or a year. Numbers are not
    checked against the passages: one that does not exist is a wrong citation, not none.
    """
    return tuple(dict.fromkeys(number for mark in _marks(answer) for number in mark.numbers))


def without_citations(answer: str) -> str:
    """The answer without its citation marks, whose numbers must not be read as values."""
    return _with_each(answer, lambda mark: "")


def without_last_citations(text: str, *, single: bool = False) -> str:
    """The text without the citations that it ends with; with `single`, only those of one passage each."""
    for mark in reversed(list(_marks(text))):
        if text[mark.end :].strip(" .\t\n") or (single and len(mark.numbers) > 1):
            break
        text = (text[: mark.start].rstrip() + text[mark.end :]).rstrip()
    return text


def with_citations(answer: str, number_of: Callable[[int], int]) -> str:
    """The answer with other numbers in its citation marks; a range becomes a list of its numbers."""

    def renumbered(mark: _Mark) -> str:
        text = answer[mark.start : mark.end]
        if not any(last for _, last in _RANGE.findall(text)):
            return re.sub(r"\d+", lambda number: str(number_of(int(number[0]))), text)
        return f"[{', '.join(str(number_of(number)) for number in mark.numbers)}]"

    return _with_each(answer, renumbered)


def in_plain_words(answer: str) -> str:
    """The answer as one writes it where there is nothing to cite: the marks go, and the space that set them off."""
    kept, end = [], 0
    for start, stop in _runs(answer):
        before, after = answer[:start], answer[stop:]
        if not before or before.endswith("\n"):
            # Marks at the start of a line go with the space behind them,
            stop += after.startswith(" ")
        elif before.endswith(" ") and not re.match(r"\w", after):
            start -= 1  # others with the space before, unless a word follows.
        kept.append(answer[end:start])
        end = stop
    return "".join([*kept, answer[end:]])


def _marks(answer: str) -> Iterator[_Mark]:
    code = [_Code.of(found) for found in _CODE.finditer(answer)] if "`" in answer or "~~~" in answer else []
    at = 0
    for found in _CITATION.finditer(answer):
        numbers = _numbers(found[1] or found[2])
        while at < len(code) and code[at].end <= found.start():
            at += 1
        within = code[at] if at < len(code) and code[at].start < found.start() else None
        if numbers and not _is_element(answer, found, within):
            yield _Mark(*found.span(), numbers)


def _numbers(inside: str) -> tuple[int, ...]:
    """The numbers of a mark; none where it cannot be one: passages are numbered from 1, and ranges are short."""
    numbers: list[int] = []
    for first, last in _RANGE.findall(inside):
        low, high = int(first), int(last or first)
        if low < 1 or not low <= high < low + _WIDEST:
            return ()
        numbers += range(low, high + 1)
    return tuple(numbers)


def _is_element(answer: str, found: re.Match[str], code: _Code | None) -> bool:
    """Whether brackets are an index, as in `args[1]`, or a list in code; prose has citations behind any name.

    Args:
        code: what of the answer is marked as code around them, if anything.
    """
    if found[0].startswith("【"):
        return False
    if code is not None and code.is_inline:
        return not code.is_marks
    begin = max(0, found.start() - _LONGEST_NAME)
    line = answer[max(begin, answer.rfind("\n", begin, found.start()) + 1) : found.start()]
    name = _name_before(line)
    if code is not None:
        return bool(name) or _LIST_BEGINS.search(line) is not None
    if not name:
        return False
    after = answer[found.end() : found.end() + 2]
    is_used = re.match(r"\.\w|\(|\s?[=+*/]", after) is not None
    return is_used or name.endswith(")") or _last_word(name) in _LISTS


def _last_word(name: str) -> str:
    """The word that a name of a program ends with: `list` of `my_list2`, `args` of `self.args`."""
    words = _WORDS_OF_NAME.findall(name)
    return words[-1].casefold() if words else ""


def _name_before(line: str) -> str:
    """The name or call that a line ends with; empty where it ends with none."""
    backwards = line[::-1]
    matches = [names.match(backwards) for names in _NAMES_BEFORE]
    return max((found[0][::-1] for found in matches if found), key=len, default="")


def _with_each(answer: str, replaced: Callable[[_Mark], str]) -> str:
    parts, end = [], 0
    for mark in _marks(answer):
        parts += [answer[end : mark.start], replaced(mark)]
        end = mark.end
    return "".join([*parts, answer[end:]])


def _runs(answer: str) -> list[tuple[int, int]]:
    """Where marks stand; those that follow each other at once count as one."""
    runs: list[tuple[int, int]] = []
    for mark in _marks(answer):
        if runs and runs[-1][1] == mark.start:
            runs[-1] = (runs[-1][0], mark.end)
        else:
            runs.append((mark.start, mark.end))
    return runs
