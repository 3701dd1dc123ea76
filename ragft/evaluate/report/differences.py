"""Answers beside their gold answer, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

Mark = Literal["", "same", "other"]
Part = tuple[Mark, str]
"""A run of an answer: `same` is in the gold answer, too, `other` stands where the gold answer says something else."""

_WORD = re.compile(r"\w+(?:[.,:/'’+-]\w+)*|[^\w\s]")
_LONG = 3
"""An answer of more than this many times the words of the gold answer is prose around it, not another value."""


def marked(answer: str, golds: Sequence[str], value: str | None = None) -> list[Part]:
    """An answer in runs that join to it, each with whether its words are those of the nearest gold answer.

    Args:
        value: the part of the answer that is compared; None: all of it.
    """
    # The last one: what an answer cites or recalls on the way may be the same text.
    start = answer.rfind(value) if value else 0
    end = start + len(value) if value else len(answer)
    words = list(_WORD.finditer(answer, start, end)) if start >= 0 else []
    if not words or not golds:
        return [("", answer)] if answer else []
    said = [word.group().casefold() for word in words]
    matcher, gold = max(
        ((SequenceMatcher(None, said, gold, autojunk=False), gold) for gold in map(_words, golds)),
        key=lambda pair: pair[0].ratio(),
    )
    same = {at for block in matcher.get_matching_blocks() for at in range(block.a, block.a + block.size)}
    is_value = len(said) <= _LONG * max(1, len(gold))
    # Full stops and words that many sentences share mean nothing on their own.
    if not is_value and len(same) < len(gold):
        same = set()
    marks: list[Mark] = ["same" if at in same else "other" if is_value else "" for at in range(len(words))]
    return _runs(answer, words, marks)


def lacking(answer: str, golds: Sequence[str]) -> str:
    """The words of the nearest gold answer that an answer lacks, in their order; empty where it has all."""
    said = set(_words(answer))
    missing: list[list[str]] = [[word for word in _WORD.findall(gold) if word.casefold() not in said] for gold in golds]
    fewest: list[str] = min(missing, key=len, default=[])
    return " ".join(fewest)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _runs(text: str, words: Sequence[re.Match[str]], marks: Sequence[Mark]) -> list[Part]:
    runs: list[Part] = []
    at = 0
    for word, mark in zip(words, marks, strict=True):
        between, at = text[at : word.start()], word.end()
        # What stands between two words of one kind belongs to their run.
        if runs and runs[-1][0] == mark:
            runs[-1] = (mark, runs[-1][1] + between + word.group())
            continue
        if between:
            runs.append(("", between))
        runs.append((mark, word.group()))
    if at < len(text):
        runs.append(("", text[at:]))
    return _joined(runs)


def _joined(runs: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one run."""
    joined: list[Part] = []
    for mark, text in runs:
        if joined and joined[-1][0] == mark:
            joined[-1] = (mark, joined[-1][1] + text)
        else:
            joined.append((mark, text))
    return joined
