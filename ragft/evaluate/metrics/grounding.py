"""Whether an answer stands on the passages that it cites: its value and its figures are looked up in them.

Words are compared as metrics compare them, and no model judges, so that this costs a millisecond and says the same in
the evaluation and at the endpoint. What it cannot decide it calls unsure: a "yes" stands in no passage, whether it is
right or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragft.citations import parse_citations, without_citations
from ragft.data.answers import HELD, holds, is_figure, is_short, run_of, text_of
from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, metric
from ragft.evaluate.metrics.reading import plain, read, sentences_of
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.evaluate.records import Record
from ragft.tokens import contains_tokens

_DATE = re.compile(r"\d{4}-\d\d-\d\d")

Grounded = Literal["true", "false", "unsure"]


@dataclass(frozen=True)
class Grounding:
    """What was found of an answer in its passages.

    Attributes:
        grounded: whether the cited passages hold what the answer says; `unsure` where words alone cannot tell.
        reason: why, in a sentence.
        passage: number of the passage that supports the answer best; None where none does.
        sentence: the sentence or line of it that does.
    """

    grounded: Grounded
    reason: str
    passage: int | None = None
    sentence: str | None = None


def ground(answer: str, question: str, passages: Sequence[str], rules: Rules) -> Grounding | None:
    """Looks an answer up in the passages of its prompt.

    An answer that cites nothing may stand on any of them.

    Args:
        question: what it says itself needs no support, but does not make an answer grounded either.
        passages: texts, in the order of their numbers.

    Returns:
        None where there is nothing to look up: no passages, or the answer refuses.
    """
    if not passages or not answer.strip() or is_refusal(answer, rules, asked=question):
        return None
    numbers = parse_citations(answer)
    cited = (
        [number for number in numbers if number <= len(passages) and number > 0] if numbers else list(_all(passages))
    )
    if not cited:
        return Grounding("false", f"It cites {', '.join(f'[{number}]' for number in numbers)}, which there is not.")
    said = _Said.of(answer, question, rules)
    place = _best(said, cited, passages)
    held = _with_parts(passages[number - 1] for number in cited)
    if missing := [figure for figure in said.figures if figure not in held]:
        others = [number for number in _all(passages) if set(missing) <= _with_parts([passages[number - 1]])]
        if others:
            reason = f"{missing[0]} is not in what it cites, but in [{others[0]}]."
            return Grounding("unsure", reason, *_best(said, others, passages))
        return Grounding("false", f"{missing[0]} is in no passage that it cites.", *place)
    verdict, reason = _by_words(said, [passages[number - 1] for number in cited])
    if verdict == "true" and (strange := [figure for figure in said.repeated if figure not in held]):
        verdict, reason = "unsure", f"The question says {strange[0]}, and nothing that it cites does."
    return Grounding(verdict, reason, *place)


@metric("grounded", axis="facts", title="grounded in what is cited", version=2, default=False)
def grounded(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the cited passages hold what the answer says, 0 where not; does not apply to what words cannot tell.

    Nor does it to refusals, and to records without the texts of their passages.

    >>> tried("grounded", "It ends in 2027 [1].", "2026", passages=shown(("a.md", "It ends in 2026.")))
    0.0
    """
    texts = [passage.text for passage in record.passages]
    found = ground(record.answer, question.question, texts, rules) if any(texts) else None
    if found is None or found.grounded == "unsure":
        return NOT_APPLICABLE
    return Score(float(found.grounded == "true"), found.reason)


@dataclass(frozen=True)
class _Said:
    """What an answer says.

    Attributes:
        value: its value as tokens; empty where `answer.value` finds none.
        run: all of it as tokens, without its citations.
        figures: those that the question does not have, in order.
        repeated: those that the question has, too.
        words: all words but those of the question and of the refusal, which are labels of the house format.
        asked: the question as tokens.
    """

    value: tuple[str, ...]
    run: tuple[str, ...]
    figures: tuple[str, ...]
    repeated: tuple[str, ...]
    words: frozenset[str]
    asked: tuple[str, ...]

    @classmethod
    def of(cls, answer: str, question: str, rules: Rules) -> _Said:
        reading = read(answer, rules)
        everything, asked = run_of(without_citations(plain(answer))), run_of(question)
        in_question, labels = _with_parts([question]), frozenset(run_of(rules.refusal))
        told = [word for word in dict.fromkeys(everything) if word not in labels]
        own = [word for word in told if word not in in_question]
        value = run_of(reading.value) if reading.found else ()
        return cls(
            value, everything, tuple(filter(is_figure, own)),
            tuple(word for word in told if word in in_question and is_figure(word)),
            frozenset(word for word in own if len(word) > 1), asked,
        )  # fmt: skip

    @property
    def drawn(self) -> tuple[str, ...]:
        """The value, or the answer where none is read, if it is a yes or no, or what the question says: a conclusion,
        which is drawn from passages and not read in them. Empty where it is something else.
        """
        said = self.value or self.run
        return said if is_short(said) or (bool(said) and contains_tokens(self.asked, said)) else ()


def _with_parts(texts: Iterable[str]) -> frozenset[str]:
    """The words of texts, and year, month and day of their dates: who compares dates writes them one by one."""
    words = frozenset[str]().union(*(text_of(text).words for text in texts))
    return words | {part for word in words if _DATE.fullmatch(word) for part in word.split("-")}


def _by_words(said: _Said, cited: Sequence[str]) -> tuple[Grounded, str]:
    """What the words of an answer tell whose figures are all held."""
    if said.drawn:
        stands = "its figures are in what it cites" if said.figures else "no figure of its own can be looked up"
        return "unsure", f"{' '.join(said.drawn)} is a conclusion; {stands}."
    if said.value:
        if any(holds(text, said.value) for text in cited):
            return "true", "A passage that it cites says so."
        if any(map(is_figure, said.value)):
            return "true", "What it cites holds all its figures."
    words = frozenset(said.value or said.words) - set(said.asked)
    if not words and not said.figures:
        return "unsure", "It says nothing that the question does not say."
    held = frozenset[str]().union(*(text_of(text).words for text in cited))
    share = len(words & held) / len(words) if words else 0.0
    if share >= HELD:
        return "true", "What it cites says most of its words."
    if said.figures or share >= HELD / 2:
        return "unsure", "What it cites says only a part of its words."
    return "false", "What it cites says other words."


def _best(said: _Said, numbers: Iterable[int], passages: Sequence[str]) -> tuple[int, str] | tuple[None, None]:
    """The number of a passage and the sentence of it that has the most of an answer: its value, figures, words."""

    def support(sentence: str) -> tuple[bool, int, int]:
        text = text_of(sentence)
        value = bool(said.value) and contains_tokens(text.run, said.value)
        return value, len(text.words & set(said.figures)), len(text.words & (said.words | set(said.asked)))

    found = [
        (support(sentence), number, sentence) for number in numbers for sentence in sentences_of(passages[number - 1])
    ]
    best = max(found, key=lambda one: one[0], default=None)
    if best is None or not any(best[0]):
        return None, None
    return best[1], best[2]


def _all(passages: Sequence[str]) -> range:
    return range(1, len(passages) + 1)
