"""Whether sources of examples are there, and whether they hold the answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from index.documents.document import Document
from index.documents.sections import sections
from ragft.citations import without_citations
from ragft.data.answers import HELD, SHORT, Answer, is_figure, text_of
from ragft.data.examples import Example
from ragft.data.gold import ambiguous
from ragft.data.near import plain_words
from ragft.data.sources import Source, sections_meant
from ragft.patterns import Bounded

_FIGURE = re.compile(r"\w*\d[\w.,:/-]*\w|\d")
_LIST_NUMBER = re.compile(r"(?m)^[ \t]*\d{1,3}[.)][ \t]")


class Sections:
    """The sections of documents, by the sources that name them."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents: Mapping[str, Document] = {document.id: document for document in documents}
        self._faults: dict[Source, str] = {}
        self._texts: dict[Source, tuple[str, ...]] = {}

    def places(self, source: Source) -> list[tuple[str, tuple[str, ...], str]]:
        """Document, path of headings and title of the sections that a source matches."""
        return [
            (document.id, section.path, document.title)
            for document in map(self._documents.get, source.documents)
            if document is not None
            for section in sections(document)
            if source.matches(document.id, section.path, document.title)
        ]

    def fault(self, source: Source) -> str:
        """What is wrong with a source: `missing`, or what it may mean; empty: nothing."""
        if source not in self._faults:
            at = self.places(source)
            meant = ambiguous(source, at)
            self._faults[source] = "missing" if not at else f"may mean {' or '.join(meant)}" if meant else ""
        return self._faults[source]

    def texts(self, source: Source) -> tuple[str, ...]:
        """The texts of the sections that a source means."""
        if source not in self._texts:
            self._texts[source] = tuple(self._read(source))
        return self._texts[source]

    def _read(self, source: Source) -> list[str]:
        found = []
        for document in map(self._documents.get, source.documents):
            if document is None:
                continue
            own = sections(document)
            meant = sections_meant(source, document.id, dict.fromkeys(one.path for one in own), document.title)
            found += [
                "\n".join((*one.path, document.text[one.start : one.end]))
                for one in own
                if () in meant or one.path in meant
            ]
        return found


def is_supported(example: Example, sources: Sequence[Sequence[str]], value: Bounded | None, refusal: str) -> bool:
    """Whether the sources of an example hold its answer, or nobody could tell.

    What stands in a source as it is written is found at once; everything else is looked for as the mix of training rows
    looks for it (`ragft.data.answers`). An answer that is too short to look for, such as "yes", counts as held.

    Args:
        sources: the texts of each source.
        value: finds the value in an answer, as `answer.value` says.
    """
    text = without_citations(example.answer)
    found = value.search(example.answer) if value else None
    wanted = without_citations(found[1] or "").strip() if found else ""
    asked = "\n".join([*(turn["content"] for turn in example.history), example.question])
    if _stands_in(wanted, text, asked, sources):
        return True
    if not wanted and _has_other_figures(text, asked, sources):
        return False
    if any(one is not None for one in Answer.of_example(example, value, refusal).evidence(sources)):
        return True
    known = text_of(asked).words | text_of(refusal).words if refusal else text_of(asked).words
    own = text_of(wanted or text).words - known
    # Nothing to look for: the answer repeats the question, or is a single short word.
    return len(own) < 2 and not any(any(map(str.isdigit, word)) or len(word) > SHORT for word in own)


def _has_other_figures(text: str, asked: str, sources: Sequence[Sequence[str]]) -> bool:
    """Whether an answer has figures of its own and none of them is in a source. Where one is, the others may have been
    reckoned with it.
    """
    own = set(filter(is_figure, text_of(_LIST_NUMBER.sub("", text)).words)) - text_of(asked).words
    return bool(own) and not any(own & text_of(passage).words for passages in sources for passage in passages)


def _stands_in(wanted: str, text: str, asked: str, sources: Sequence[Sequence[str]]) -> bool:
    """A quick look: the value, or every figure, or most words stand in a source word for word."""
    texts = ["\n".join(passages).casefold() for passages in sources]
    if len(wanted) > SHORT:
        part = wanted.casefold()
        return part not in asked.casefold() and any(_holds(passage, part) for passage in texts)
    if wanted:
        return False
    known = asked.casefold()
    figures = {figure.casefold() for figure in _FIGURE.findall(text)} - set(_FIGURE.findall(known))
    if not all(any(_holds(passage, figure) for passage in texts) for figure in figures):
        return False
    words = set(plain_words(text)) - set(plain_words(known))
    held = set(plain_words("\n".join(texts)))
    return len(words) > 3 and len(words & held) >= HELD * len(words)


def _holds(text: str, part: str) -> bool:
    at = text.find(part)
    while at >= 0:
        end = at + len(part)
        after = text[end : end + 2]
        goes_on = after[:1].isalnum() or (after[:1] in (".", ",", "-", ":") and after[1:].isdigit())
        if not (goes_on or text[max(0, at - 1) : at].isalnum()):
            return True
        at = text.find(part, at + 1)
    return False
