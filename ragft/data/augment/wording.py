"""A question asked otherwise: by which kinds, what of it must stay, and what a new wording must show before it counts.

What stays is what the answer hangs on: figures, names, code, what is quoted, and the words of the answer
(`ragft.data.noise`). Kinds without a model never touch it; of what a model writes it is verified.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ragft.data import noise
from ragft.data.answers import is_figure, run_of, text_of
from ragft.data.copies import key
from ragft.data.examples import Example

NoiseKind = Literal["typos", "keyboard", "case", "deletion", "insertion"]
ModelKind = Literal["paraphrase", "back_translation", "contextual"]
Kind = Literal[NoiseKind, "synonyms", ModelKind]
KINDS: tuple[Kind, ...] = (*get_args(NoiseKind), "synonyms", *get_args(ModelKind))
MODEL_KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

ORIGIN = "augment"
"""What an `origin` begins with, so that augmented rows are told from others and never augmented again."""

_LONGEST = 2.5  # times the words of the question, and
_MORE = 8  # words besides
_CHANGED = 1 / 3
"""Words that `contextual` may replace, as a share of the question; one is always allowed."""

Synonyms = Callable[[str], Sequence[str]]
"""Words that mean the same as a word."""


@dataclass(frozen=True)
class Plan:
    """Which examples get a further row of a kind, first ones first; those behind are taken where one of them fails.

    Attributes:
        wanted: how many rows.
    """

    kind: Kind
    wanted: int
    order: tuple[Example, ...]


def plans(examples: Sequence[Example], shares: Mapping[Kind, float], seed: int) -> list[Plan]:
    """A plan for each kind with a share, over the examples in a seeded order of its own."""
    made = []
    for kind in KINDS:
        if wanted := round(shares[kind] * len(examples)):
            order = random.Random(f"{seed}\0{kind}").sample(list(examples), len(examples))
            made.append(Plan(kind, wanted, tuple(order)))
    return made


def kept_words(example: Example) -> frozenset[str]:
    """Words in lower case that must stay: those of the answers."""
    return text_of(example.answer).words | (text_of(example.rejected).words if example.rejected else frozenset())


def reworded(example: Example, kind: Kind, seed: int, synonyms: Synonyms | None = None) -> str | None:
    """The question of an example with the change of a kind without a model; None where there is nothing to change.

    The same seed changes it in the same way, whatever other examples there are.
    """
    draw = random.Random(f"{seed}\0{kind}\0{example.id}")
    text, kept = example.question, kept_words(example)
    long, all_words = noise.free_words(text, kept), noise.free_words(text, kept, shortest=2)
    match kind:
        case "typos":
            return noise.with_slips(text, long, draw)
        case "keyboard":
            return noise.with_wrong_keys(text, long, draw)
        case "case":
            return noise.with_other_case(text, all_words, draw)
        case "deletion":
            return noise.without_a_word(text, all_words, draw)
        case "insertion":
            return noise.with_a_word(text, all_words, draw)
        case "synonyms":
            return _with_synonym(text, long, synonyms, draw) if synonyms else None
    raise ValueError(f"{kind} needs a model")


def _with_synonym(text: str, words: Sequence[re.Match[str]], synonyms: Synonyms, draw: random.Random) -> str | None:
    for word in draw.sample(words, len(words)):
        if others := synonyms(word[0]):
            return text[: word.start()] + draw.choice(others) + text[word.end() :]
    return None


def fixed_texts(example: Example) -> tuple[str, ...]:
    """What of a question must stand in every other wording of it, in its order: names, figures, code, answer words."""
    text, kept = example.question, kept_words(example)
    spans = [text[start:end].strip(".,;:!?()…¿¡") for start, end in noise.fixed_spans(text)]
    words = [word for word in re.findall(r"[^\W_]+", text) if word.casefold() in kept and len(word) >= noise.SHORTEST]
    return tuple(dict.fromkeys(part for part in (*spans, *words) if part))


def fault(example: Example, text: str, kind: Kind) -> str:
    """Why a new wording does not count; empty where it does."""
    before, after = run_of(example.question), run_of(text)
    if not text.strip() or not after:
        return "the new wording is empty"
    if "\n" in text.strip() and "\n" not in example.question.strip():
        return "the new wording has several lines"
    if key(text) == key(example.question) and kind != "case":
        return "the new wording is the same"
    if text == example.question:
        return "the new wording is the same"
    if len(after) > _LONGEST * len(before) + _MORE:
        return "the new wording is much longer"
    if missing := next((part for part in fixed_texts(example) if part not in text), None):
        return f"the new wording lacks {missing!r}" if kind in MODEL_KINDS else "what must stay was changed"
    if figures := sorted((_figures(after) - _figures(before)).elements()):
        return f"the new wording has the figure {figures[0]!r}, which the question has not"
    given = {word for word in text_of(example.answer).words if len(word) >= noise.SHORTEST or is_figure(word)}
    if told := sorted(given & (set(after) - set(before))):
        return f"the new wording gives the answer's word {told[0]!r} away"
    if kind == "contextual":
        changed = sum((Counter(before) - Counter(after)).values())
        if changed > max(1, _CHANGED * len(before)):
            return "more than a third of the words were replaced"
    return ""


def _figures(run: Sequence[str]) -> Counter[str]:
    return Counter(word for word in run if is_figure(word))


def augmented(example: Example, text: str, kind: Kind, identity: str) -> Example:
    """The further row: the same answer, sources, history, group and tags, and where it comes from."""
    return replace(example, id=identity, question=text, origin=f"{ORIGIN} {kind} of {example.id}")
