"""Blind sheets: pairs of answers without the names of their setups, and the key that tells which is which.

Which answer stands on which side is drawn by the seed. Some pairs come twice, the second time with the sides exchanged:
who answers them differently has no clear preference there. The key is a file of its own, and its hash stands on every
sheet, so that nobody can exchange it after the sheets have come back.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.judges.labels import answer_hash
from ragft.evaluate.judges.plan import answers_of
from ragft.evaluate.records import Record
from ragft.evaluate.shares import clusters_of
from ragft.tables import table_bytes, without_apostrophes

KEY_VERSION = 1
COLUMNS = ("sheet", "person", "item", "question", "reference", "answer_1", "answer_2", "choice")
CHOICES = ("1", "2", "tie")
_APART = 3
"""A repeated pair stands at least so many items behind the first time, where there are so many."""

Setup = Literal["a", "b"]


@dataclass(frozen=True)
class Item:
    """One pair as people see it."""

    item: str
    question: str
    reference: str
    answer_1: str
    answer_2: str

    @property
    def hash(self) -> str:
        """12 hex digits over what is shown, whatever a spreadsheet makes of white space."""
        shown = (self.question, self.reference, self.answer_1, self.answer_2)
        texts = (" ".join(without_apostrophes(text).split()) for text in shown)
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class KeyItem:
    """What the key says of one pair.

    Attributes:
        first: the setup whose answer is answer 1.
        repeats: the item that this one repeats with its sides exchanged; None for the first time.
        hash: of what is shown.
        a_hash, b_hash: of the two answers.
        cluster: of the question.
    """

    item: str
    question_id: str
    first: Setup
    repeats: str | None
    hash: str
    a_hash: str
    b_hash: str
    cluster: str


@dataclass(frozen=True)
class Settled:
    """A question that is on no sheet, because its pair needs no opinion: `identical` answers, or one that failed."""

    question_id: str
    preference: Literal["a", "b", "tie"]
    why: Literal["identical", "unanswered"]
    cluster: str


@dataclass(frozen=True)
class Key:
    """The key of a sheet.

    Attributes:
        a, b: the two setups.
        criterion: name of what people are asked; `asked` is how.
    """

    a: str
    b: str
    criterion: str
    asked: str
    items: tuple[KeyItem, ...]
    settled: tuple[Settled, ...]

    def to_bytes(self) -> bytes:
        """The key as its file holds it."""
        told = {"kind": "key of a blind sheet", "version": KEY_VERSION, **asdict(self)}
        return json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n"

    @property
    def seal(self) -> str:
        """64 hex digits: the SHA-256 of the key's file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def sheet(self) -> str:
        """The first 16 of them, which stand in every row of the sheet."""
        return self.seal[:16]

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Key:
        """The key in a file.

        Args:
            name: of the file, for messages.

        Raises:
            UsageError: it is no key.
        """
        try:
            told: dict[str, Any] = json.loads(content)
            if told.pop("kind") != "key of a blind sheet" or told.pop("version") != KEY_VERSION:
                raise ValueError
            items = tuple(KeyItem(**item) for item in told.pop("items"))
            settled = tuple(Settled(**row) for row in told.pop("settled"))
            return cls(**told, items=items, settled=settled)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UsageError(f"{name} is no key of a sheet: name the key.json that was made with the sheet.") from None


def make_sheet(
    questions: Sequence[Question],
    records: Iterable[Record],
    a: str,
    b: str,
    *,
    criterion: str,
    asked: str,
    reference: bool,
    repeated: float,
    seed: int,
) -> tuple[Key, list[Item]]:
    """A sheet on the answers of two setups, and its key.

    Args:
        criterion: name of what people are asked; `asked` is the question that they are shown.
        reference: whether people see the accepted answers.
        repeated: share of the pairs that come a second time.

    Raises:
        UsageError: a setup has no answer to a question, or no pair needs an opinion.
    """
    answers, clusters = answers_of(questions, records, (a, b)), clusters_of(questions)
    by_id, settled, open_ = {question.id: question for question in questions}, list[Settled](), list[str]()
    for question in questions:
        row = _settled(question, answers[question.id, a], answers[question.id, b], clusters[question.id])
        if row is None:
            open_.append(question.id)
        else:
            settled.append(row)
    if not open_:
        raise UsageError(f"{a} and {b} answer all {len(questions)} questions alike: there is nothing to compare.")
    rng = random.Random(seed)
    rng.shuffle(open_)
    firsts: dict[str, Setup] = {question: rng.choice(("a", "b")) for question in open_}
    order = _with_repeats(open_, round(repeated * len(open_)), rng)
    shown, key_items, numbers = list[Item](), list[KeyItem](), dict[str, str]()
    for number, question_id in enumerate(order, start=1):
        name, again = f"{number:03d}", numbers.get(question_id)
        numbers.setdefault(question_id, name)
        first = firsts[question_id] if again is None else _other(firsts[question_id])
        sides = {"a": answers[question_id, a].answer.strip(), "b": answers[question_id, b].answer.strip()}
        question = by_id[question_id]
        item = Item(
            name, question.spoken, _reference(question) if reference else "", sides[first], sides[_other(first)]
        )
        hashes = {side: answer_hash(text) for side, text in sides.items()}
        shown.append(item)
        key_items.append(
            KeyItem(name, question_id, first, again, item.hash, hashes["a"], hashes["b"], clusters[question_id])
        )
    return Key(a, b, criterion, asked, tuple(key_items), tuple(settled)), shown


def sheet_csv(key: Key, items: Sequence[Item]) -> bytes:
    """The sheet as CSV, with an empty column for the choices."""
    rows = [{"sheet": key.sheet, "person": "", **asdict(item), "choice": ""} for item in items]
    return table_bytes(COLUMNS, rows)


def _settled(question: Question, one: Record, other: Record, cluster: str) -> Settled | None:
    if one.error is not None or other.error is not None:
        better: Literal["a", "b", "tie"] = "a" if one.error is None else "b" if other.error is None else "tie"
        return Settled(question.id, better, "unanswered", cluster)
    if one.answer.strip() == other.answer.strip():
        return Settled(question.id, "tie", "identical", cluster)
    return None


def _with_repeats(order: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """The order, with some of it once more, apart from the first time."""
    made = list(order)
    for name in rng.sample(list(order), min(count, len(order))):
        earliest = min(made.index(name) + _APART, len(made))
        made.insert(rng.randint(earliest, len(made)), name)
    return made


def _reference(question: Question) -> str:
    return "; ".join(question.answers) if question.answerable else "The documents do not say; a good answer says so."


def _other(side: Setup) -> Setup:
    return "b" if side == "a" else "a"
