"""Facts that the structure of a document states: tables, lists of keys and values, definitions, headings with one
sentence, questions with their answers. Nothing here needs a model, and nothing is guessed from running text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from index.documents.markdown import tables
from ragft.data.generate.sections import Section, plain
from ragft.data.sources import collapsed

FACTS_VERSION = 2
"""Increased whenever the same section gives other facts."""

Kind = Literal["table", "key-value", "definition", "sentence", "faq"]

_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_MARK = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_PAIR = re.compile(r"(?P<key>[^\s:][^:\n]{0,59}?)\s*:(?:\*\*|__)?\s+(?P<value>\S[^\n]*)")
_DEFINITION = re.compile(r"^(?P<term>[^\s:][^\n]{0,79})\n[ \t]{0,3}:[ \t]+(?P<text>\S[^\n]*)", re.MULTILINE)
_ASKED = re.compile(
    r"^(?:Q(?:uestion)?[ ]?(?:\d{1,3})?[ ]?[.:)：][ .:]*|Q[ ]+"
    r"|(?:frage|f|pregunta|p|domanda|d|pergunta|vraag|v|fråga|问|問|質問)[ ]?(?:\d{1,3})?[ ]?[:：][ ]*)(?P<text>\S.*)$",
    re.IGNORECASE,
)
_ANSWERED = re.compile(
    r"^(?:A(?:nswer)?[ ]?(?:\d{1,3})?[ ]?[.:：]"
    r"|(?:antwort|respuesta|réponse|r|risposta|resposta|antwoord|svar|答|回答)[ ]?(?:\d{1,3})?[ ]?[:：])[ ]*"
    r"(?P<text>\S.*)$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[^\W\d_]{1,12}[ ]?(?:\d{1,3})?[ ]?[:：]")
"""A label of any language."""
_SENTENCE_END = re.compile(r"[.!?](?:[\"')\]]|\*\*)?(?:\s|$)")
_QUESTION_MARKS = ("?", "？", "؟")

_ATTRIBUTE = re.compile(r"[^\W\d_](?:[\w '’&/,.-]|\([^()]*\))*")
"""What may name an attribute: words, no code and no number of an issue."""

_ASIDES = frozenset({
    "note", "notes", "warning", "caution", "tip", "hint", "important", "example", "examples", "see", "see also",
    "for example", "e.g", "i.e", "that is", "http", "https", "todo", "usage", "source code",
})  # fmt: skip
"""What stands before a colon and names no attribute of anything."""

_MARKDOWN = frozenset({".md", ".markdown", ".txt", ".rst", ""})
"""Where a line that is followed by another one may be a wrapped sentence; other formats write one line a block."""


@dataclass(frozen=True)
class Fact:
    """A fact with its place.

    Attributes:
        subject: what it is about, complete enough to be asked about; see `Section.subject`.
        attribute: what of it; of a FAQ the question, of a heading with one sentence empty.
        statement: how the document says it, in one line.
    """

    kind: Kind
    section: Section
    subject: str
    attribute: str
    value: str
    statement: str

    @property
    def key(self) -> tuple[str, str]:
        """Subject and attribute as they are compared."""
        return collapsed(self.subject), collapsed(self.attribute)

    @property
    def label(self) -> str:
        """The subject as the document itself names it, without the heading and the title that complete it: of a row of
        a table its first cell.
        """
        short = self.subject.removesuffix(f" ({self.section.subject})")
        return short if short != self.subject else self.subject.removesuffix(f" ({self.section.name})")


def facts_in(section: Section) -> list[Fact]:
    """The facts that a section states, in the order of its text, each kind for itself."""
    text = _FENCED.sub("", section.text)
    found = [*_of_tables(section, text)]
    for table in reversed(tables(text)):
        text = text[: table.start] + "\n" + text[table.end :]
    questions = [*_of_questions(section, text)]
    if questions:
        # What begins with a label on both sides still has those of a language that is not known here.
        labelled = [all(map(_LABEL.match, (one.attribute, one.value))) for one in questions]
        return [*found, *(one for one, has in zip(questions, labelled, strict=True) if not has)]
    pairs = [*_of_pairs(section, text)]
    found += pairs
    if not pairs:
        found += _of_definitions(section, text)
    if not found:
        found += _of_one_sentence(section, text)
    return found


def _of_tables(section: Section, text: str) -> Iterator[Fact]:
    for table in tables(text):
        head, _, *rows = [_cells(line) for line in text[table.start : table.end].strip("\n").split("\n")]
        labels = [row[0] for row in rows if row]
        # The first column names the rows only where it tells them apart.
        if len(head) < 2 or len(set(map(collapsed, labels))) < len(labels) or not all(labels):
            continue
        for row in rows:
            subject = f"{row[0]} ({section.subject})"
            for column, value in zip(head[1:], row[1:], strict=False):
                if column and value and collapsed(column) != collapsed(row[0]):
                    yield Fact("table", section, subject, column, value, f"{row[0]}, {column}: {value}")


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    return [plain(cell.replace("\\|", "|")) for cell in _CELL_BORDER.split(inside)]


def _of_questions(section: Section, text: str) -> Iterator[Fact]:
    """Questions in the text or as the heading, each with the paragraph below it."""
    blocks = _paragraphs(text)
    if is_question(section.heading) and blocks:
        yield _faq(section, section.heading, blocks[0])
        return
    asked = ""
    for block in blocks:
        question, _, rest = block.partition("\n")
        question = plain(question)
        if asked:
            yield _faq(section, asked, block)
            asked = ""
        elif is_question(question) or (_ASKED.match(question) and _ANSWERED.match(plain(rest))):
            if rest:
                yield _faq(section, question, rest)
            else:
                asked = question


def _faq(section: Section, question: str, answer: str) -> Fact:
    value = _without_label(_ANSWERED, plain(_MARK.sub("", answer)))
    return Fact("faq", section, section.subject, _without_label(_ASKED, plain(question)), value, value)


def _without_label(label: re.Pattern[str], text: str) -> str:
    found = label.match(text)
    return found["text"] if found else text


def _of_pairs(section: Section, text: str) -> Iterator[Fact]:
    """Lines `key: value` where most lines are such: elsewhere what stands before a colon is the start of a sentence."""
    found, others = list[tuple[str, str, str]](), 0
    for block in _paragraphs(text):
        lines = [plain(_MARK.sub("", line)) for line in block.split("\n") if line.strip()]
        pairs = [
            (_without_subject(match["key"].strip(), section.heading), match["value"].strip(), line)
            for line in lines
            if (match := _PAIR.fullmatch(line)) and not match["value"].startswith("//")
        ]
        pairs = [pair for pair in pairs if _is_attribute(pair[0])]
        # A paragraph that holds other lines, too, is a wrapped sentence; the items of a list are lines of their own.
        whole = len(pairs) == len(lines) or _MARK.match(block) is not None
        found += pairs if whole else []
        others += len(lines) - (len(pairs) if whole else 0)
    times = Counter(collapsed(key) for key, _, _ in found)
    if len(found) < 2 or others > len(found):
        return
    for key, value, line in found:
        if times[collapsed(key)] == 1:
            yield Fact("key-value", section, section.subject, key, value, line)


def _of_definitions(section: Section, text: str) -> Iterator[Fact]:
    found = [(plain(match["term"]), plain(match["text"])) for match in _DEFINITION.finditer(text)]
    if not found and PurePosixPath(section.document_id.partition("#")[0]).suffix.lower() not in _MARKDOWN:
        # A `<dl>` of HTML is read as one block per term: a short line that ends no sentence, and what it means.
        blocks = [block.split("\n", 1) for block in _paragraphs(text)]
        found = [(plain(block[0]), plain(block[1])) for block in blocks if len(block) == 2 and _is_term(block[0])
                 and not _goes_on(block[1])]  # fmt: skip
        found = found if len(found) > 1 else []
    for term, meaning in found:
        if _names_something(term) and meaning[:1].isalnum():
            told = first_sentence(meaning)
            yield Fact("definition", section, f"{term} ({section.name})", "", told, f"{term}: {told}")


def _of_one_sentence(section: Section, text: str) -> Iterator[Fact]:
    """The sentence under a heading of its own, where it is the only one."""
    blocks = _paragraphs(text)
    if len(blocks) != 1 or len(section.path) < 2 or not _names_something(section.heading):
        return
    sentence = plain(blocks[0])
    if len(_SENTENCE_END.findall(sentence)) == 1 and sentence[-1:] in ".!" and not _MARK.match(blocks[0]):
        yield Fact("sentence", section, section.subject, "", sentence, sentence)


def _paragraphs(text: str) -> list[str]:
    return [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text) if block.strip()]


def _is_term(line: str) -> bool:
    text = line.strip()
    return len(text) <= 80 and not _MARK.match(line) and text[-1:] not in ".,;:!?…"


def _goes_on(text: str) -> bool:
    """Whether the first of several lines is one more term, so that nobody can tell where the meaning begins."""
    first, line_end, _ = text.partition("\n")
    return bool(line_end) and _is_term(first)


def _names_something(key: str) -> bool:
    words = key.split()
    return (
        0 < len(words) <= 8
        and any(letter.isalpha() for letter in key)
        and collapsed(key).strip(".") not in _ASIDES
        and not key.startswith(("(", "http"))
        and not is_question(key)
    )


def _is_attribute(key: str) -> bool:
    return _names_something(key) and len(key.split()) <= 6 and _ATTRIBUTE.fullmatch(key) is not None


def _without_subject(key: str, subject: str) -> str:
    """An attribute without the subject, or the last words of it, that a line repeats at its front: `5.2 released`."""
    words, named = key.split(), subject.split()
    for count in range(min(len(named), len(words) - 1), 0, -1):
        if [word.casefold() for word in words[:count]] == [word.casefold() for word in named[-count:]]:
            return " ".join(words[count:])
    return key


def is_question(text: str) -> bool:
    """Whether a text ends as questions do."""
    return text.rstrip("*_ \t").endswith(_QUESTION_MARKS) and len(text.split()) > 1


def first_sentence(text: str) -> str:
    """A text up to the end of its first sentence, which is followed by another one that begins with a capital."""
    end = re.search(r"(?<=[.!?])\s+(?=[^\W\d_a-z])", text)
    return text[: end.start()] if end else text
