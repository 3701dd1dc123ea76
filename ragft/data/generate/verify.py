"""What a candidate must show before it counts. Each check gives a reason that stands beside what was rejected."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from index.documents.chunking import Chunk
from ragft.citations import parse_citations
from ragft.config.answer import AnswerSection
from ragft.data.answers import holds, run_of
from ragft.data.audit.texts import break_off
from ragft.data.copies import trained
from ragft.data.examples import Example
from ragft.data.generate.candidates import Candidate, Key
from ragft.data.generate.facts import Fact
from ragft.data.generate.sections import Section
from ragft.data.near import clusters
from ragft.data.questions import Question
from ragft.data.sources import Source, collapsed, sections_meant
from ragft.patterns import Bounded
from ragft.tokens import contains_tokens, tokens

VERIFY_VERSION = 2
"""Increased whenever another candidate may pass."""

_POINTING = re.compile(
    r"\b(?:this|that|these|those|the (?:above|following|given|provided|present|last|first))\s+"
    r"(?:documents?|passages?|texts?|pages?|sections?|tables?|articles?|files?|excerpts?|contexts?|paragraphs?|lists?)\b"
    r"|\b(?:in|of|to|by) the (?:passages?|texts?|excerpts?|contexts?|paragraphs?)\b"
    r"|\b(?:mentioned|described|listed|shown|given|stated)\s+(?:above|below|here)\b"
    r"|\bsee (?:above|below)\b"
    r"|\bpassage \d+\b",
    re.IGNORECASE,
)
"""Words that point at a text that whoever asks does not see."""


_CHAPTER = re.compile(r"(?<!\S)\d+\.\d+\.(?!\S)")


@dataclass(frozen=True)
class Rejected:
    """A candidate that does not count, and why.

    Attributes:
        candidate: None where a model's reply held none.
        check: which check it failed.
        reason: in a sentence.
        reply: what the model said, if that was no candidate.
    """

    candidate: Candidate | None
    check: str
    reason: str
    reply: str = ""

    def to_json(self) -> dict[str, Any]:
        told = {"check": self.check, "reason": self.reason}
        if self.candidate is not None:
            told |= self.candidate.to_json()
        # Half a character in a reply could not be written.
        reply = self.reply.encode("utf-8", "backslashreplace").decode()
        return {**told, "reply": reply} if reply else told


@dataclass(frozen=True)
class Checks:
    """The checks that need no search.

    Attributes:
        stated: the values that the documents state, by subject and attribute.
        labelled: the same by document, label and attribute; rows of one table are of one document.
        paths: the headings of all sections, by document.
    """

    answer: AnswerSection
    max_answer_words: int
    stated: Mapping[Key, set[str]]
    labelled: Mapping[tuple[str, str, str], set[str]]
    paths: Mapping[str, list[tuple[str, ...]]]
    titles: Mapping[str, str]

    @classmethod
    def over(
        cls, sections: Iterable[Section], facts: Iterable[Fact], answer: AnswerSection, max_answer_words: int
    ) -> Checks:
        stated: dict[Key, set[str]] = defaultdict(set)
        labelled: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for fact in facts:
            # A term is defined in several places in other words; only stated values contradict each other.
            value = " ".join(tokens(fact.value))
            stated[fact.key].add(value)
            if fact.attribute:
                labelled[_base(fact.section.document_id), collapsed(fact.label), fact.key[1]].add(value)
        paths: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        titles: dict[str, str] = {}
        for section in sections:
            paths[section.document_id].append(section.path)
            titles[section.document_id] = section.title
        return cls(answer, max_answer_words, stated, labelled, paths, titles)

    def fault(self, candidate: Candidate) -> Rejected | None:
        """The first check that a candidate fails; None where it passes all."""
        for name, check in self._table():
            if reason := check(candidate):
                return Rejected(candidate, name, reason)
        return None

    def _table(self) -> tuple[tuple[str, Callable[[Candidate], str]], ...]:
        return (
            ("value", self._value), ("wording", self._wording), ("format", self._format), ("source", self._source),
            ("ambiguous", self._ambiguous),
        )  # fmt: skip

    def _value(self, candidate: Candidate) -> str:
        """The answer is whole and short enough, and no question gives it away."""
        if candidate.shape == "unanswerable":
            return ""
        value = candidate.answers[0].strip()
        if not run_of(value):
            return "the answer is empty"
        if (words := len(value.split())) > self.max_answer_words:
            return f"the answer has {words} words, more than data.generate.max_answer_words = {self.max_answer_words}"
        if why := break_off(value):
            return f"the answer seems to break off: {why}"
        told = candidate.shape != "comparison" and any(
            contains_tokens(run_of(question), run_of(value)) for question in candidate.questions
        )
        return "the question holds its answer" if told else ""

    def _wording(self, candidate: Candidate) -> str:
        """Question and answer can be understood by somebody who does not see the document."""
        for question in candidate.questions:
            if not any(letter.isalpha() for letter in question):
                return "the question has no words"
            if pointing := _POINTING.search(question):
                return f"the question points at a text that nobody sees: {pointing[0]!r}"
            for section in (*candidate.sections, *([candidate.near] if candidate.near else [])):
                name = PurePosixPath(_base(section.document_id))
                if name.suffix and name.name.casefold() in question.casefold():
                    return f"the question names the file {name.name}"
        for value in candidate.answers[:1]:
            if candidate.way == "faq" and (_CHAPTER.search(value) or any(letter in value for letter in "?？؟")):
                return "the answer is a list of chapters or questions, as a table of contents holds"
            if pointing := _POINTING.search(value):
                return f"the answer points at a text that nobody sees: {pointing[0]!r}"
        return ""

    def _format(self, candidate: Candidate) -> str:
        """The answer is in the house format, and its value is found there by the rules of scoring."""
        answer = candidate.answer.strip()
        if answer == self.answer.refusal.strip():
            return "" if candidate.shape == "unanswerable" else "the answer is the refusal"
        if self.answer.format is not None and not Bounded(self.answer.format, "answer.format").fullmatch(answer):
            return "the answer is not in the house format (answer.format)"
        beyond = [number for number in parse_citations(answer) if number > len(candidate.sections)]
        if beyond:
            return f"the answer cites [{beyond[0]}], and has {len(candidate.sections)} sources"
        if self.answer.value is not None:
            found = Bounded(self.answer.value, "answer.value").search(answer)
            if found is None or run_of(found[1] or "") not in {run_of(one) for one in candidate.answers}:
                return "answer.value finds another value in the answer"
        return ""

    def _source(self, candidate: Candidate) -> str:
        """Each source names one section, a passage of which holds what the answer rests on."""
        for section, held in zip(candidate.sections, candidate.held, strict=True):
            meant = self._meant(section.source, section.document_id)
            if len(meant) != 1:
                return f"the source {section.source!r} names {len(meant)} sections"
            if not any(holds(passage, run_of(held)) for passage in section.passages):
                return f"no passage of {section.source!r} holds {held!r}"
        return ""

    def _meant(self, source: Source, document_id: str) -> list[tuple[str, ...]]:
        paths, title = self.paths[document_id], self.titles[document_id]
        meant = sections_meant(source, document_id, dict.fromkeys(paths), title)
        # Two sections under the same headings are one for everybody who reads the source.
        return [path for path in paths if path in meant] if len(meant) == 1 else meant

    def _ambiguous(self, candidate: Candidate) -> str:
        if candidate.shape == "unanswerable":
            values = self.stated.get(candidate.about, set()) | self._labelled(candidate)
            return f"the documents state it: {min(values)!r}" if values else ""
        for key in candidate.keys:
            if (count := len(self.stated.get(key, ()))) > 1:
                return f"the documents state {count} values of {' '.join(key)!r}: which is meant cannot be told"
        return ""

    def _labelled(self, candidate: Candidate) -> set[str]:
        """What the document of an unanswerable question states of its label, under whichever heading."""
        document = _base(candidate.near.document_id) if candidate.near else ""
        return self.labelled.get((document, collapsed(candidate.label), candidate.about[1]), set())


def _base(document_id: str) -> str:
    """The document; rows of a table are documents of their own, and all of one."""
    return document_id.partition("#")[0]


def without_copies(
    candidates: Sequence[Candidate], settled: Sequence[Candidate] = (), examples: Sequence[Example] = (),
    questions: Sequence[Question] = (),
) -> tuple[list[Candidate], list[Rejected]]:  # fmt: skip
    """Candidates of which none asks what another one does, on either side, and what was left out for it.

    The cells of a table are asked by one pattern: about different things, only the same words ask the same.

    Args:
        settled: what counts already, and stays.
        examples, questions: existing ones, which no candidate of the other kind may copy.
    """
    own = {candidate.id for candidate in settled}
    ordered = [*settled, *sorted(candidates, key=lambda one: not one.place.in_questions)]
    firsts = clusters(map(_said, ordered), map(_topic, ordered))
    copied = {
        id(candidate): f"it asks what {ordered[first].id} does"
        for place, (candidate, first) in enumerate(zip(ordered, firsts, strict=True))
        if first != place
    }
    left = [one for one in ordered if id(one) not in copied]
    asked = [one.evaluation() for one in left if one.place.in_questions]
    taught = [one.example() for one in left if not one.place.in_questions]
    crossing = {
        copy.question: f"it asks what the example {copy.of} does" for copy in trained(examples, asked) if copy.is_leak
    }
    # The nearest example of each question is told, one at a time.
    while leaks := [copy for copy in trained(taught, [*asked, *questions]) if copy.is_leak]:
        for copy in leaks:
            if copy.of in own and copy.question not in own:
                crossing[copy.question] = f"it asks what the example {copy.of} does"
            else:
                crossing[copy.of] = f"it asks what the question {copy.question} does"
        taught = [example for example in taught if example.id not in crossing]
        asked = [question for question in asked if question.id not in crossing]
    copied |= {id(one): crossing[one.id] for one in left if one.id in crossing}
    rejected = [Rejected(one, "copy", copied[id(one)]) for one in candidates if id(one) in copied]
    return [one for one in candidates if id(one) not in copied], rejected


def _said(candidate: Candidate) -> str:
    return "\n".join([*(one["content"] for one in candidate.history), candidate.question])


def _topic(candidate: Candidate) -> str:
    """What structure tells that it is about; empty where that is not known."""
    return "\0".join(part for key in candidate.keys for part in key)


def rank_of(candidate: Candidate, found: Sequence[Chunk]) -> int | None:
    """Where the retriever finds the sources of a candidate: the rank, from 1, of the first passage that holds what the
    answer rests on; of several sources, of the last one to be found. None where one is not among what is found.
    """
    ranks: list[int] = []
    for section, held in zip(candidate.sections, candidate.held, strict=True):
        place, run = (section.document_id, section.path), run_of(held)
        fitting = (
            rank
            for rank, chunk in enumerate(found, start=1)
            if (chunk.document_id, chunk.heading_path) == place and holds(chunk.passage, run)
        )
        rank = next(fitting, None)
        if rank is None:
            return None
        ranks.append(rank)
    return max(ranks, default=0)


def stated_by(candidate: Candidate, found: Iterable[Chunk]) -> str:
    """The first passage that seems to state what an unanswerable question asks for; empty where none does.

    It does where it holds the attribute word for word, and all words of the subject; in the same document those of the
    label, because another section may state it.
    """
    subject, attribute = candidate.about
    own, run = candidate.near.document_id if candidate.near else "", run_of(attribute)
    for chunk in found:
        words = run_of(chunk.passage)
        wanted = candidate.label if chunk.document_id == own else subject
        if run and contains_tokens(words, run) and set(run_of(wanted)) <= set(words):
            return chunk.id
    return ""
