"""Freshness: facts in the documents are edited, the index is refreshed, and the questions are asked again.

What an edit should do to an answer depends on its kind. A changed fact should be answered by its new value. A fact
whose document is deleted should not be answered any more. Where an added document contradicts an old one, there is no
right answer, and what counts is which of the two is given. Planning edits and judging answers are pure functions.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from index.search.search import Hit
from ragft.data.other_values import standing
from ragft.data.questions import Question
from ragft.engine.base import EngineDead
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.statistics import cluster_questions, estimates
from ragft.evaluate.suites.counterfactual import Said, changed, said_of
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import Setup

Edit = Literal["changed", "contradicted", "deleted"]
Outcome = Said | Literal["failed"]

FRESHNESS_VERSION = 1
"""Raised whenever the same documents would be edited in another way, or the same answer judged otherwise."""

EDITS: tuple[Edit, ...] = get_args(Edit)
OUTCOMES: tuple[Outcome, ...] = ("new", "old", "both", "refused", "other", "failed")

SHOWN: dict[Edit, tuple[bool, bool]] = {
    "changed": (True, False),
    "contradicted": (True, True),
    "deleted": (False, False),
}
"""Whether the passages of a prompt hold the new and the old value where they are what the edited documents say."""

_HEADING = re.compile(r"\s*#{1,6} ")
_NOWHERE = "its sources are not in the index, or it names none"
_SEVERAL = "its sources are several documents"
_ROW = "its document is no file of its own"
_NO_VALUE = "no date, version, number, yes or no of its answers stands in its source, or another edit changed it"
_NOT_AS_READ = "its passage does not stand in the file as it was read"
_A_GUESS = "after its document is deleted, yes or no may be guessed"


@dataclass(frozen=True)
class Fact:
    """A question whose answer is edited.

    Attributes:
        document_id: of the one document that the answer stands in.
        old, new: the value before and after; a deleted document leaves none, and `new` is said nowhere.
    """

    question: Question
    edit: Edit
    kind: str
    document_id: str
    old: str
    new: str


@dataclass(frozen=True)
class Edits:
    """What is done to a folder of documents.

    Attributes:
        written: the new text of files, changed and added ones, by name.
        deleted: names of files.
        left_out: why an answerable question is not asked, by its id.
    """

    facts: tuple[Fact, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A fact with what the search finds after the edits."""

    fact: Fact
    hits: tuple[Hit, ...]

    @property
    def question(self) -> Question:
        return self.fact.question


@dataclass(frozen=True)
class Told:
    """What a setup answered after the edits.

    Attributes:
        shows_new, shows_old: whether a passage of the prompt holds the value.
        finds_document: whether a passage of the document was found, which a deleted one should have none of.
    """

    question_id: str
    setup: str
    edit: Edit
    kind: str
    document_id: str
    old: str
    new: str
    answer: str
    outcome: Outcome
    shows_new: bool = False
    shows_old: bool = False
    finds_document: bool = False
    error: str | None = None

    @property
    def is_told(self) -> bool:
        """Whether the passages in the prompt are what the edited documents say."""
        return (self.shows_new, self.shows_old) == SHOWN[self.edit]


def planned(
    questions: Sequence[Question], hits: Mapping[str, Sequence[Hit]], files: Mapping[str, str | None], seed: int
) -> Edits:
    """Edits of the documents that the answers stand in, in a seeded order.

    Each document gets one kind of edit: of those that are possible, the one that the fewest have got so far.

    Args:
        hits: by question id, the passages of its sources.
        files: by id of a document that is a file of its own, its text; None for a file that is no text, in which a fact
            cannot be changed.
    """
    asked, left_out = dict[str, list[Question]](), dict[str, str]()
    for question in questions:
        if not question.answerable:
            continue
        documents = {hit.document_id for hit in hits[question.id]}
        if len(documents) != 1:
            left_out[question.id] = _SEVERAL if documents else _NOWHERE
        elif not documents <= files.keys():
            left_out[question.id] = _ROW
        else:
            asked.setdefault(documents.pop(), []).append(question)
    facts, written, deleted = list[Fact](), dict[str, str](), list[str]()
    counts = Counter[Edit]()
    for document in random.Random(f"{seed}\0freshness").sample(sorted(asked), len(asked)):
        drafts = [_Draft(edit, document, files[document]) for edit in EDITS]
        for draft in drafts:
            for question in asked[document]:
                draft.add(question, hits[question.id], seed)
        draft = min(drafts, key=lambda one: (not one.facts, counts[one.edit]))
        left_out |= draft.left_out
        if not draft.facts:
            continue
        facts += draft.facts
        counts[draft.edit] += 1
        if draft.edit == "deleted":
            deleted.append(document)
        elif draft.edit == "contradicted":
            written[_free_name(document, {*files, *written})] = draft.contradiction()
        elif draft.text is not None:
            written[document] = draft.text
    return Edits(tuple(facts), written, tuple(deleted), left_out)


@dataclass
class _Draft:
    """One kind of edit of one document, grown question by question.

    Attributes:
        text: of the file, as it is edited; None: it is no text.
        passages: those that say another value now, by chunk id.
    """

    edit: Edit
    document: str
    text: str | None
    facts: list[Fact] = field(default_factory=list)
    passages: dict[str, Hit] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, question: Question, hits: Sequence[Hit], seed: int) -> None:
        """Edits the answer of a question, or notes why it cannot be."""
        before = [self.passages.get(hit.chunk_id, hit) for hit in hits]
        case = changed(question, before, seed)
        if case is None:
            self.left_out[question.id] = _NO_VALUE
            return
        if self.edit == "deleted" and case.kind == "choice":
            self.left_out[question.id] = _A_GUESS
            return
        pairs = [(old, new) for old, new in zip(before, case.hits, strict=True) if old.text != new.text]
        if self.edit == "changed":
            text = None if self.text is None else _rewritten(self.text, pairs)
            if text is None:
                self.left_out[question.id] = _NOT_AS_READ
                return
            self.text = text
        self.passages |= {new.chunk_id: new for _, new in pairs}
        self.facts.append(Fact(question, self.edit, case.kind, self.document, case.old, case.new))

    def contradiction(self) -> str:
        """A document in Markdown that says the changed passages, each below its headings."""
        return "\n\n".join(map(_section, self.passages.values())) + "\n"


def _section(hit: Hit) -> str:
    """A passage below its headings; one of Markdown begins with its own."""
    above = hit.heading_path[:-1] if _HEADING.match(hit.text) else hit.heading_path
    headings = [f"{'#' * min(level, 6)} {title}" for level, title in enumerate(above, start=1)]
    return "\n\n".join([*headings, hit.text.strip()])


def _rewritten(text: str, pairs: Sequence[tuple[Hit, Hit]]) -> str | None:
    """A file with passages replaced; None where one of them does not stand in it, or more than once."""
    for old, new in pairs:
        if text.count(old.text) != 1:
            return None
        text = text.replace(old.text, new.text)
    return text


def _free_name(document: str, files: Collection[str]) -> str:
    """A name for a document beside another one, so that the same callers see it."""
    path, number = PurePosixPath(document), 1
    while (name := str(path.with_name(f"{path.stem}-{number}.md"))) in files:
        number += 1
    return name


async def ask(pipeline: Pipeline, setup: Setup, asked: Asked, rules: Rules) -> Told:
    """Asks a setup with retrieval about a fact that was edited.

    Args:
        pipeline: over an engine that has started; its retriever is not asked.

    Raises:
        EngineDead: the engine died.
    """
    fact, found = asked.fact, asked.hits
    told = Told(
        fact.question.id, setup.name, fact.edit, fact.kind, fact.document_id, fact.old, fact.new, "", "failed",
        finds_document=any(hit.document_id == fact.document_id for hit in found),
    )  # fmt: skip
    try:
        prompt = pipeline.render(setup, fact.question.question, Retrieved(found, "edited", 0.0))
        told = replace(told, shows_new=holds(prompt.hits, fact.new), shows_old=holds(prompt.hits, fact.old))
        answer = await pipeline.answer(prompt)
    except EngineDead:
        raise
    except RagftError as error:
        return replace(told, error=str(error))
    return replace(
        told, answer=answer.text, outcome=said_of(answer.text, fact.old, fact.new, rules, asked=fact.question.question)
    )


def holds(hits: Sequence[Hit], value: str) -> bool:
    """Whether a passage holds a value."""
    pattern = standing(value)
    return any(pattern.search(hit.text) for hit in hits)


def result(
    told: Sequence[Told], facts: Sequence[Fact], right_before: Collection[str], documents: Collection[str]
) -> dict[str, Any]:
    """What the answers of one setup are after the edits; one that failed counts as none of the values.

    Args:
        right_before: ids of the questions that the setup answers rightly from the documents as they were.
        documents: ids of all documents, to tell which questions belong together.

    Returns:
        By kind of edit `{facts, finds_document, all, where_shown, where_right}`, kinds without facts left out:
        `finds_document`, in how many searches a passage of the document was found; then shares of the outcomes `{n,
        new, old, both, refused, other, failed}` of all answers, of those whose prompt held what the edited documents
        say, and of those to questions that were answered rightly before; each share `{mean, low, high, n, clusters}`
        with its 95 % interval by document.
    """
    by_id = {fact.question.id: fact.question for fact in facts}
    found: dict[str, Any] = {}
    for edit in EDITS:
        of_it = [one for one in told if one.edit == edit]
        if not of_it:
            continue

        def shares(told: Sequence[Told]) -> dict[str, Any]:
            return _shares(told, [by_id[one.question_id] for one in told], documents)

        found[edit] = {
            "facts": len(of_it), "finds_document": sum(one.finds_document for one in of_it), "all": shares(of_it),
            "where_shown": shares([one for one in of_it if one.is_told]),
            "where_right": shares([one for one in of_it if one.question_id in right_before]),
        }  # fmt: skip
    return found


def _shares(told: Sequence[Told], questions: Sequence[Question], documents: Collection[str]) -> dict[str, Any]:
    if not told:
        return {"n": 0, **dict.fromkeys(OUTCOMES)}
    columns = np.array([[float(one.outcome == name) for name in OUTCOMES] for one in told])
    clusters = cluster_questions(questions, documents)
    found = estimates(columns, clusters, bounds=[(0.0, 1.0)] * len(OUTCOMES))
    return {"n": len(told), **{name: asdict(one) for name, one in zip(OUTCOMES, found, strict=True)}}
