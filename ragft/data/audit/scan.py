"""One reading of files of examples, row by row: what is wrong with a row by itself, and what it adds to the whole.

Memory holds a few numbers of each row (`Table`), counts, and some rows to show. Whatever compares rows with each other
follows from the numbers, after the last row was read.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragft.citations import without_citations
from ragft.console import Advance
from ragft.data.audit.kinds import SHOWN, Flag, Flags, Kind, Table
from ragft.data.audit.repeats import near_repeats, repeated_ids, repeats
from ragft.data.audit.support import Sections, is_supported
from ragft.data.audit.texts import (
    LANGUAGE_NAMES,
    break_off,
    is_closed,
    language_of,
    shape,
    strange_shapes,
    untidiness,
)
from ragft.data.copies import Copy, copied, key, nearness
from ragft.data.duplicates import hash_of
from ragft.data.examples import EmptyExample, Example, example_of, unread_fields
from ragft.data.jsonl import each_line, object_at
from ragft.data.near import Words, plain_words
from ragft.data.personal import Found, find_in_texts, find_personal
from ragft.data.personal import Kind as PersonalKind
from ragft.data.questions import Question
from ragft.data.sources import Source
from ragft.data.wording import Mentions, Toxic, generalising
from ragft.errors import UsageError
from ragft.patterns import Bounded

_BATCH = 2048
_MOST_SHAPES, _MOST_TAGS = 20_000, 2_000
_FEWEST = 20
"""Rows from which one can depart from the others."""
_CLOSED = 0.9
"""Share of the longer answers that end as sentences do, from which one that does not seems cut."""
_LONGER = 6  # words of an answer that could be a sentence
_SPREADS = 5.0
"""Robust standard deviations (1.4826 times the median deviation, Rousseeuw and Croux, 1993) of the logarithm of a
length that make it strange."""
_TIMES = 3.0  # and how many times the median it must be at least

Tokens = Callable[[list[str]], list[int]]
"""Numbers of tokens of texts."""


@dataclass(frozen=True)
class Rules:
    """What rows are compared with.

    Attributes:
        format: `answer.format`; None: there is no house format.
        value: `answer.value`.
        personal: kinds of personal data to look for.
        find: finds personal data.
        sections: of the documents that the examples were written from; None: they could not be read.
        tokens: counts tokens of the base model; None: it is not here.
        longest: tokens from which a row cannot be trained.
        near: share of words from which questions are near duplicates.
    """

    format: Bounded | None
    value: Bounded | None
    refusal: str
    personal: frozenset[PersonalKind]
    find: Callable[[str], list[Found]]
    toxic: Toxic
    mentions: Mentions
    questions: Sequence[Question]
    sections: Callable[[], Sections | None]
    tokens: Tokens | None
    longest: int
    near: float

    def personal_in(self, texts: Sequence[str]) -> list[list[Found]]:
        """The personal data of these kinds in each of the texts of a row."""
        return [[one for one in own if one.kind in self.personal] for own in find_in_texts(texts, self.find)]


@dataclass
class Seen:
    """What all rows together showed.

    Attributes:
        read: examples by file.
        first_error: of each file.
        overlap: by question id the nearest example.
        sources: how many examples name each source.
        lengths: characters of questions and answers, tokens of both together: counts by length.
    """

    read: Counter[int] = field(default_factory=Counter)
    behind_turns: Counter[int] = field(default_factory=Counter)
    left_out: Counter[int] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    first_error: dict[int, str] = field(default_factory=dict)
    overlap: dict[str, Copy] = field(default_factory=dict)
    sources: Counter[Source] = field(default_factory=Counter)
    bad_sources: dict[Kind | str, list[str]] = field(default_factory=dict)
    unclear: dict[Source, str] = field(default_factory=dict)
    missing: int = 0
    tags: Counter[str] = field(default_factory=Counter)
    untagged: int = 0
    refusals: int = 0
    personal: Counter[str] = field(default_factory=Counter)
    mentions: Counter[tuple[str, str]] = field(default_factory=Counter)
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)


def written_in_row(values: Any) -> Iterator[tuple[str, bool]]:
    """What may hold a personal value, in the order of the row, and whether it is a text: besides texts, the numbers,
    and the names of fields, each before its value; but no names of sources, which must stay those of documents.
    """
    if isinstance(values, str):
        yield values, True
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield name, False
            if name != "sources":
                yield from written_in_row(value)
    elif isinstance(values, list):
        for value in values:
            yield from written_in_row(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield str(values), False


class Scan:
    """An audit of files of examples; see `run`."""

    def __init__(self, rules: Rules, folder: Path, files: Sequence[tuple[Path, str]]) -> None:
        """
        Args:
            folder: exists, and takes the words of all rows and `rows.jsonl`.
            files: with the configuration key that names each.
        """
        self.rules, self.files = rules, files
        self.table, self.seen = Table(), Seen()
        self._words_path = folder / "words.bin"
        self._words = Words(self._words_path)
        self.flags = Flags(self.table, folder / "rows.jsonl", [path.name for path, _ in files])
        self._shapes: dict[tuple[str, ...], int] = {}
        self._open = array("I")
        self._telling = _telling(rules.questions)
        self._near: list[tuple[int, Example]] = []
        self._pending: list[tuple[int, str, str]] = []
        self._unsourced = array("I")
        self._longer = 0

    def run(self, advance: Advance) -> None:
        """Reads all files and flags rows. A file that cannot be read at all is told in `Seen.first_error`."""
        size, done = sum(path.stat().st_size for path, _ in self.files if path.is_file()), 0
        for number, (path, name) in enumerate(self.files):
            try:
                for line in each_line(path, "examples", name):
                    self._line(number, line.number, line.offset, line.raw)
                    if len(self.table) % _BATCH == 0:
                        self._batch()
                        advance((done + line.offset) >> 20, size >> 20, "MiB")
            except UsageError as error:
                self.seen.first_error.setdefault(number, str(error))
            done += path.stat().st_size if path.is_file() else 0
        self._batch()
        self._copies()
        self._whole()
        advance(size >> 20, size >> 20, "MiB")
        self.flags.close()
        self._words_path.unlink(missing_ok=True)

    # --- one row

    def _line(self, file: int, number: int, offset: int, raw: bytes) -> None:
        row = self.table.begin(file, number, offset)
        where = f"{self.files[file][0]}, line {number}"
        try:
            values = object_at(raw, where)
            example = example_of(values, where)
        except UsageError as error:
            self.seen.first_error.setdefault(file, str(error))
            kind: Kind = "empty" if isinstance(error, EmptyExample) else "schema"
            self._words.add(())
            self.flags.add(Flag(kind, row, str(error).removeprefix(f"{where}: ")), f"line-{number}")
            return
        if example is None:
            self.seen.left_out[file] += 1
            self._words.add(())
            return
        self._example(row, file, example, values)

    def _example(self, row: int, file: int, example: Example, values: Mapping[str, Any]) -> None:
        table, seen, rules = self.table, self.seen, self.rules
        seen.read[file] += 1
        seen.unread.update(unread_fields(values))
        seen.behind_turns[file] += any(turn["role"] == "user" for turn in example.history)
        is_refusal = example.answer.strip() == rules.refusal
        seen.refusals += is_refusal
        spoken, words = example.spoken, plain_words(example.spoken)
        table.is_read[row] = 1
        table.identity[row], table.group[row] = hash_of(example.id), hash_of(example.group)
        table.question[row], table.answer[row] = hash_of(key(spoken)), hash_of(key(example.answer))
        table.said[row] = hash_of(self._said(example.answer))
        table.characters[row] = len(example.question) + len(example.answer)
        self._words.add(words)
        for name, length in (("question", len(example.question)), ("answer", len(example.answer))):
            seen.lengths.setdefault(name, Counter())[length] += 1
        table.asked_in[row] = language_of(example.question, words)
        table.answered_in[row] = language_of(example.answer, plain_words(without_citations(example.answer)))
        self._tags(example)
        self._shape(row, example, is_refusal)
        self._texts(row, example, values)
        self._sources(row, example, is_refusal)
        if not self._telling.isdisjoint(words) or any(turn["role"] == "user" for turn in example.history):
            self._near.append((row, example))
            if len(self._near) >= _BATCH:
                self._copies()
        if rules.tokens:
            told = "\n".join([*(turn["content"] for turn in example.history), example.question, example.answer])
            self._pending.append((row, example.id, told))

    def _flag(self, kind: Kind, row: int, example: Example, detail: str = "") -> None:
        self.flags.add(Flag(kind, row, detail), example.id)

    def _said(self, answer: str) -> str:
        """What an answer says, to compare it: its value if there is one, without citations."""
        found = self.rules.value.search(answer) if self.rules.value else None
        return key(without_citations((found[1] or "") if found else answer))

    def _tags(self, example: Example) -> None:
        self.seen.untagged += not example.tags
        for tag in example.tags:
            if tag in self.seen.tags or len(self.seen.tags) < _MOST_TAGS:
                self.seen.tags[tag] += 1

    def _shape(self, row: int, example: Example, is_refusal: bool) -> None:
        answer, rules = example.answer, self.rules
        if not is_refusal:
            one = shape(answer)
            if one in self._shapes or len(self._shapes) < _MOST_SHAPES:
                self.table.style[row] = self._shapes.setdefault(one, len(self._shapes) + 1)
        why = "" if is_refusal else break_off(answer)
        if rules.format is not None and not is_refusal and rules.format.fullmatch(answer.strip()) is None:
            # What the house format could begin with, and does not end with, was cut.
            if rules.format.begins(answer.strip()):
                why = why or "it is only the beginning of the house format"
            self._flag("form", row, example, "cut short" if why else "not in the house format")
        if why:
            self._flag("truncated", row, example, why)
        elif not is_refusal and answer.count(" ") >= _LONGER - 1:
            self._longer += 1
            if not is_closed(answer):
                self._open.append(row)

    def _texts(self, row: int, example: Example, values: Mapping[str, Any]) -> None:
        written = list(written_in_row(values))
        texts = [one for one, is_text in written if is_text]
        text = "\n".join(texts)
        if found := [one for own in self.rules.personal_in([one for one, _ in written]) for one in own]:
            self.seen.personal.update(one.kind for one in found)
            kinds = Counter(one.kind for one in found)
            self._flag("personal", row, example, ", ".join(f"{kind} ({count})" for kind, count in kinds.items()))
        if words := self.rules.toxic(text):
            self._flag("toxic", row, example, ", ".join(words[:5]))
        if said := generalising(text):
            self._flag("groups", row, example, ", ".join(said[:5]))
        self.seen.mentions.update(self.rules.mentions(text))
        if why := next((why for one in texts if (why := untidiness(one))), ""):
            self._flag("untidy", row, example, why)

    def _sources(self, row: int, example: Example, is_refusal: bool) -> None:
        seen = self.seen
        if not example.sources:
            if not is_refusal:
                self._unsourced.append(row)
            return
        seen.sources.update(example.sources)
        sections = self.rules.sections()
        if sections is None:
            return
        faults = {source: fault for source in example.sources if (fault := sections.fault(source))}
        for source, fault in faults.items():
            self._flag("source", row, example, f"{source}: {fault}")
            if fault != "missing":
                seen.unclear.setdefault(source, fault)
                continue
            seen.missing += 1
            if len(seen.bad_sources.setdefault("missing", [])) < 3:
                seen.bad_sources["missing"].append(f"{example.id} ({source})")
        texts = [sections.texts(source) for source in example.sources]
        if not faults and not is_refusal and not is_supported(example, texts, self.rules.value, self.rules.refusal):
            self._flag("unsupported", row, example, f"not in {', '.join(example.sources)}")

    # --- many rows

    def _batch(self) -> None:
        """Counts the tokens of the rows of a batch."""
        if not self._pending or self.rules.tokens is None:
            return
        counts = self.seen.lengths.setdefault("tokens", Counter())
        lengths = self.rules.tokens([text for _, _, text in self._pending])
        for (row, name, _), length in zip(self._pending, lengths, strict=True):
            counts[length] += 1
            if length > self.rules.longest:
                told = f"{length:,} tokens, and finetune.max_seq_length is {self.rules.longest:,}"
                self.flags.add(Flag("length", row, told), name)
        self._pending.clear()

    def _copies(self) -> None:
        """Flags rows that hold evaluation questions."""
        rows, examples = [row for row, _ in self._near], [example for _, example in self._near]
        for place, copies in copied(examples, self.rules.questions):
            nearest = copies[0]
            kind: Kind = "evaluation" if nearest.is_leak else "near_evaluation"
            self._flag(kind, rows[place], examples[place], f"question {nearest.question}{nearest.remark}")
            for copy in copies:
                known = self.seen.overlap.get(copy.question)
                if known is None or nearness(copy) < nearness(known):
                    self.seen.overlap[copy.question] = copy
        self._near.clear()

    def _whole(self) -> None:
        """Flags rows by what the others are like."""
        for row, first in repeated_ids(self.table):
            told = f"duplicate id {self._name(row)!r} (first on line {self.table.line[first]}): give each its own."
            path = self.files[self.table.file[row]][0]
            where = f"{path}, line {self.table.line[row]}"
            self.seen.first_error.setdefault(self.table.file[row], f"{where}: {told}")
            self.flags.add(Flag("schema", row, told, first), self._name(row))
        for flag in repeats(self.table):
            self._named(flag)
        for flag in near_repeats(self.table, self._words, self.rules.near):
            self._named(flag)
        # Where no example names sources, they are not wanted.
        for row in self._unsourced if self.seen.sources else ():
            self._named(Flag("no_source", row))
        self._languages()
        if sum(self.seen.read.values()) >= _FEWEST:
            self._cut()
            self._strange()
            self._lengths()

    def _named(self, flag: Flag) -> None:
        wanted = len(self.flags.shown[flag.kind]) < SHOWN and not self.table.has(flag.row, flag.kind)
        if wanted and flag.of >= 0:
            self.flags.ids.setdefault(flag.of, self._name(flag.of))
        self.flags.add(flag, self._name(flag.row) if wanted else "")

    def _name(self, row: int) -> str:
        """The id of a row, read again from its file."""
        example = self.example(row)
        return example.id if example else f"line-{self.table.line[row]}"

    def values(self, row: int) -> bytes:
        """The line of a row as it stands in its file."""
        with self.files[self.table.file[row]][0].open("rb") as file:
            file.seek(self.table.offset[row])
            return file.readline()

    def example(self, row: int) -> Example | None:
        """A row, read again; None where it is no example."""
        where = f"{self.files[self.table.file[row]][0]}, line {self.table.line[row]}"
        try:
            return example_of(object_at(self.values(row), where), where)
        except UsageError:
            return None

    def _languages(self) -> None:
        asked, answered = (np.frombuffer(column, np.uint8) for column in (self.table.asked_in, self.table.answered_in))
        both = np.bincount(asked, minlength=256) + np.bincount(answered, minlength=256)
        read = int(np.frombuffer(self.table.is_read, np.uint8).sum())
        both[0] -= 2 * (len(asked) - read)
        self.seen.languages = Counter({LANGUAGE_NAMES[code]: int(both[code]) for code in np.flatnonzero(both).tolist()})
        most = int(both[1:].argmax()) + 1
        other = ((asked != most) & (asked > 0)) | ((answered != most) & (answered > 0))
        for row in np.flatnonzero(other).tolist() if both[1:].any() else []:
            where = [
                f"{part} in {LANGUAGE_NAMES[code]}"
                for part, code in (("question", int(asked[row])), ("answer", int(answered[row])))
                if code not in (0, most)
            ]
            self._named(Flag("language", row, ", ".join(where)))

    def _cut(self) -> None:
        if self._longer >= _FEWEST and len(self._open) <= (1 - _CLOSED) * self._longer:
            for row in self._open:
                self._named(Flag("truncated", row, "it does not end as a sentence, and the others do"))

    def _strange(self) -> None:
        style = np.frombuffer(self.table.style, np.uint16)
        counts = np.bincount(style, minlength=len(self._shapes) + 1)
        strange = strange_shapes(Counter({one: int(counts[code]) for one, code in self._shapes.items()}))
        codes = {self._shapes[one]: why for one, why in strange.items()}
        for row in np.flatnonzero(np.isin(style, list(codes))).tolist() if codes else []:
            self._named(Flag("style", row, codes[style[row]]))

    def _lengths(self) -> None:
        lengths = np.frombuffer(self.table.characters, np.uint32)
        rows = np.flatnonzero(lengths)
        logs: npt.NDArray[np.float64] = np.log(lengths[rows])
        middle = float(np.median(logs))
        spread = 1.4826 * float(np.median(np.abs(logs - middle)))
        limit = max(_SPREADS * spread, float(np.log(_TIMES)))
        for place in np.flatnonzero(np.abs(logs - middle) > limit).tolist():
            row = int(rows[place])
            told = f"{lengths[row]:,} characters, and half of the rows have less than {np.exp(middle):,.0f}"
            self._named(Flag("length", row, told))


def _telling(questions: Sequence[Question]) -> frozenset[str]:
    """Words of evaluation questions without any of which no example can come near one: the rarer half of each."""
    words = [dict.fromkeys(plain_words(question.spoken)) for question in questions]
    times = Counter(word for one in words for word in one)
    return frozenset(word for one in words for word in sorted(one, key=lambda w: (times[w], w))[: len(one) // 2 + 1])


def finder(kinds: Sequence[PersonalKind]) -> Callable[[str], list[Found]]:
    """Finds personal data of these kinds; names of people with a model.

    Raises:
        MissingDependency: names are wanted, and what finds them is not installed.
    """
    if "name" not in kinds:
        return find_personal
    from ragft.data.names import names_in

    further = names_in()
    return lambda text: find_personal(text, further)
