"""Questions by a language model: what it is asked about passages, and what its replies are read as.

Knows nothing of engines. What a model claims is a candidate like any other, and is verified like any other; besides, it
answers its own questions from the passages that the retriever finds.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from ragft.data.answers import run_of
from ragft.data.generate.candidates import Candidate, Place, Shape
from ragft.data.generate.sections import Section
from ragft.data.generate.verify import Rejected
from ragft.data.generate.wording import Wording
from ragft.data.jsonl import holds_half_a_character
from ragft.data.sources import Source
from ragft.messages import Message, turn
from ragft.tokens import contains_tokens

PROMPT_VERSION = 1
"""Increased whenever the same passage is asked about in other words."""

NOT_STATED = "NOT STATED"

_SYSTEM = (
    "You write questions that test a search system. Whoever asks has never seen the passages: name what a question is "
    "about, and never mention a passage, a document or a text. Reply with JSON and nothing else."
)
_REFUSED = re.compile(r"\s*(?:I(?:'|’)?m sorry|I am sorry|Sorry|I cannot|I can(?:'|’)?t|As an AI)\b", re.IGNORECASE)
_SHORTEST = 8
"""Words that a section needs for a question about it."""


@dataclass(frozen=True)
class Ask:
    """One request to the model.

    Attributes:
        sections: what it is shown, in this order.
    """

    shape: Shape
    sections: tuple[Section, ...]
    messages: tuple[Message, ...]

    def key(self, model: str, max_tokens: int) -> str:
        """Identifies the request and whom it is made to."""
        return key_of(self.messages, model, max_tokens)


def key_of(messages: Sequence[Message], model: str, max_tokens: int) -> str:
    """Identifies a conversation and whom it is held with."""
    return blake3(json.dumps([list(messages), model, max_tokens, PROMPT_VERSION]).encode()).hexdigest()[:24]


def asks_about(
    sections: Sequence[Section], places: Mapping[Source, Place], shapes: Sequence[Shape], wording: Wording,
    per_request: int, max_answer_words: int, seed: int,
) -> list[Ask]:  # fmt: skip
    """A request for each of the shapes, in their order, about sections in a seeded order; fewer where there are none
    left to ask about.

    Args:
        shapes: what each request is for.
        places: a comparison, and what is unanswerable, need a neighbour.
    """
    chance = random.Random(seed)
    told = [section for section in sections if len(section.text.split()) >= _SHORTEST]
    chance.shuffle(told)
    families: dict[str, list[Section]] = defaultdict(list)
    for section in told:
        families[places[section.source].family].append(section)
    waiting = iter(told)
    asks: list[Ask] = []
    for shape in shapes:
        found = next(waiting, None)
        if found is None:
            break
        section = found
        own = families[places[section.source].family]
        others = [other for other in own if other is not section and other.text != section.text]
        pair = shape in ("comparison", "unanswerable")
        if pair and not others:
            shape = "single"
        shown = (section, chance.choice(others)) if pair and others else (section,)
        persona = chance.choice(wording.personas)
        asks.append(Ask(shape, shown, _messages(shape, shown, persona, per_request, max_answer_words)))
    return asks


def _messages(
    shape: Shape, shown: Sequence[Section], persona: str, count: int, words: int
) -> tuple[Message, ...]:  # fmt: skip
    task = TASKS[shape].format(persona=persona, count=count, words=words)
    # The first passage of a section is enough to ask about, and fits wherever a prompt of retrieval does.
    passages = "\n\n".join(f"Passage {number}:\n{one.passages[0]}" for number, one in enumerate(shown, start=1))
    return turn("system", _SYSTEM), turn("user", f"{passages}\n\n{task}")


TASKS: Mapping[Shape, str] = {
    "single": (
        "Write up to {count} different questions that {persona} might ask and that passage 1 answers. Copy each answer "
        "word for word from the passage, {words} words at most.\n"
        'Reply with: [{{"question": "...", "answer": "..."}}]'
    ),
    "comparison": (
        "Write one question that {persona} might ask and that needs both passages, because it compares what they say. "
        "Copy word for word what it rests on: `first` from passage 1 and `second` from passage 2. The answer has "
        "{words} words at most.\n"
        'Reply with: [{{"question": "...", "first": "...", "second": "...", "answer": "..."}}]'
    ),
    "unanswerable": (
        "Passage 2 states something of its subject that passage 1 does not state of its own subject. Write one "
        "question that {persona} might ask about the subject of passage 1, for exactly that. Copy what passage 2 says "
        "of its own subject as `stated`, {words} words at most.\n"
        'Reply with: [{{"question": "...", "stated": "..."}}]'
    ),
    "follow-up": (
        "Write two questions that {persona} might ask one after the other and that passage 1 answers. The second is "
        "short and cannot be understood without the first; write it as `alone` again, so that it can. Copy the "
        "answers word for word from the passage, {words} words at most.\n"
        'Reply with: [{{"question": "...", "answer": "...", "then": "...", "alone": "...", "then_answer": "..."}}]'
    ),
}
"""What a model is asked for, by the shape of the question."""


def read_reply(
    ask: Ask, reply: str, cut_off: bool, wording: Wording, refusal: str, places: Mapping[Source, Place]
) -> tuple[list[Candidate], list[Rejected]]:
    """The candidates in a reply, and what of it is none.

    Args:
        cut_off: whether the reply ended at the limit of tokens.
    """
    found, faults = list[Candidate](), list[Rejected]()
    for values in _objects(reply):
        try:
            found.append(_READ[ask.shape](ask, values, wording, refusal, places[ask.sections[0].source]))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"a question of the reply lacks {error}" if isinstance(error, KeyError) else str(error)
            faults.append(Rejected(None, "reply", reason, json.dumps(values, ensure_ascii=False)[:300]))
    if not found and not faults:
        if _REFUSED.match(reply):
            reason = "the model refused"
        else:
            reason = (
                "the reply was cut off at data.generate.max_tokens" if cut_off else "the reply holds no JSON object"
            )
        faults.append(Rejected(None, "reply", reason, reply[:300]))
    return found, faults


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a reply, whatever stands around them; the whole ones of a list that was cut off."""
    decoder = json.JSONDecoder()
    at = reply.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict):
                yield value
        at = reply.find("{", end)


def _text(values: Mapping[str, Any], field: str) -> str:
    value = values[field]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"`{field}` of a question in the reply is no text")
    if holds_half_a_character(value):
        raise ValueError(f"`{field}` of a question in the reply holds half a character")
    return " ".join(value.split())


def _single(ask: Ask, values: Mapping[str, Any], wording: Wording, refusal: str, place: Place) -> Candidate:
    (section,) = ask.sections
    value = _text(values, "answer")
    answer = wording.answered(section.subject, section.heading, value, _sentence_with(section, value), 1)
    return Candidate(
        "single", "model", _text(values, "question"), (value,), answer, ask.sections, (value,), place
    )  # fmt: skip


def _comparison(ask: Ask, values: Mapping[str, Any], wording: Wording, refusal: str, place: Place) -> Candidate:
    one, other = ask.sections
    first, second, value = (_text(values, name) for name in ("first", "second", "answer"))
    question = _text(values, "question")
    known = {*run_of(question), *run_of(one.text), *run_of(other.text), *run_of(one.subject), *run_of(other.subject)}
    if unknown := [word for word in run_of(value) if word not in known and word not in ("yes", "no")]:
        raise ValueError(f"the answer of a comparison has {unknown[0]!r}, which neither passage has")
    answer = wording.answered(f"{one.subject} and {other.subject}", one.heading, value, f"{first}; {second}", 2)
    return Candidate("comparison", "model", question, (value,), answer, ask.sections, (first, second), place)


def _unanswerable(ask: Ask, values: Mapping[str, Any], wording: Wording, refusal: str, place: Place) -> Candidate:
    near, other = ask.sections
    stated = run_of(_text(values, "stated"))
    if not contains_tokens(run_of(other.text), stated):
        raise ValueError("what the neighbour is said to state is not in its passage")
    if contains_tokens(run_of(near.text), stated):
        raise ValueError("the passage states itself what only its neighbour should")
    return Candidate("unanswerable", "model", _text(values, "question"), (), refusal, (), (), place, near=near)


def _follow_up(ask: Ask, values: Mapping[str, Any], wording: Wording, refusal: str, place: Place) -> Candidate:
    (section,) = ask.sections
    first, value = _text(values, "answer"), _text(values, "then_answer")
    if not contains_tokens(run_of(section.text), run_of(first)):
        raise ValueError("the first answer of a follow-up is not in the passage")

    def answered(value: str) -> str:
        return wording.answered(section.subject, section.heading, value, _sentence_with(section, value), 1)

    history = (turn("user", _text(values, "question")), turn("assistant", answered(first)))
    return Candidate(
        "follow-up", "model", _text(values, "then"), (value,), answered(value), ask.sections, (value,), place,
        history=history, standalone=_text(values, "alone"),
    )  # fmt: skip


_READ: Mapping[Shape, Callable[[Ask, Mapping[str, Any], Wording, str, Place], Candidate]] = {
    "single": _single, "comparison": _comparison, "unanswerable": _unanswerable, "follow-up": _follow_up,
}  # fmt: skip


def _sentence_with(section: Section, value: str) -> str:
    """The sentence of a section that holds a value; the value itself where none does."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", section.text)
    run = run_of(value)
    return next((" ".join(one.split()) for one in sentences if run and contains_tokens(run_of(one), run)), value)


def check_messages(candidate: Candidate, passages: Sequence[str]) -> tuple[Message, ...]:
    """Asks the model its own question, over what the retriever finds and the sources."""
    shown = list(dict.fromkeys([*passages, *(one.passages[0] for one in candidate.sections)]))
    numbered = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(shown, start=1))
    system = (
        "Answer the question from the passages alone, in a few words copied from them. If they do not state the "
        f"answer, reply with {NOT_STATED} and nothing else."
    )
    return turn("system", system), turn("user", f"{numbered}\n\nQuestion: {candidate.asked}")


def check_fault(candidate: Candidate, reply: str) -> str:
    """Why the model's own answer speaks against a candidate; empty where it does not."""
    refused = NOT_STATED.casefold() in reply.casefold()
    if candidate.shape == "unanswerable":
        return "" if refused else "the model finds an answer in the passages"
    said, wanted = run_of(reply), run_of(candidate.answers[0])
    if refused:
        return "the model finds no answer in the passages"
    agrees = contains_tokens(said, wanted) or (said and contains_tokens(wanted, said))
    return "" if agrees else "the model gives another answer from the passages"
