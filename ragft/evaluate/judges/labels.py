"""Labels: what people say of some of the answers that a judge rates, as they come in a file.

CSV with a header, or JSON Lines. A score: `question_id`, `setup`, `score`. A preference: `question_id`, `a`, `b` (two
setups) and `preference` (`a`, `b`, `tie`, or the name of a setup). With both: `criterion`, which may be missing where
the rubric has one, and `person`, whose labels of one answer may not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from ragft.data.jsonl import read_objects
from ragft.errors import UsageError
from ragft.evaluate.judges.plan import Side
from ragft.evaluate.judges.rubric import Criterion
from ragft.evaluate.records import Record
from ragft.tables import table_rows

KEY = "evaluate.judge.labels"


@dataclass(frozen=True)
class ScoreLabel:
    """What one person says of one answer, on the criterion's scale."""

    question_id: str
    setup: str
    criterion: str
    score: float
    person: str


@dataclass(frozen=True)
class PreferenceLabel:
    """Which of two answers one person prefers."""

    question_id: str
    a: str
    b: str
    criterion: str
    preference: Side
    person: str


@dataclass(frozen=True)
class Labels:
    """The labels in a file; `left_out` counts those of answers that are not judged."""

    scores: tuple[ScoreLabel, ...] = ()
    preferences: tuple[PreferenceLabel, ...] = ()
    left_out: int = 0


def answer_hash(answer: str) -> str:
    """12 hex digits over an answer, by which a label knows which text it is of."""
    return blake3(answer.strip().encode()).hexdigest()[:12]


def read_labels(
    path: Path, criteria: Sequence[Criterion], answers: Mapping[tuple[str, str], Record], known: frozenset[str]
) -> Labels:
    """The labels in a file that are of answers which are judged.

    Args:
        answers: what is judged, by question and setup.
        known: ids of all questions that there are.

    Raises:
        UsageError: a row cannot be understood, labels an unknown question or another answer than the judged one, or
            repeats a label; the message names the row.
    """
    setups = frozenset(setup for _, setup in answers)
    by_name, seen = {criterion.name: criterion for criterion in criteria}, dict[tuple[str, ...], str]()
    scores, preferences, left_out = list[ScoreLabel](), list[PreferenceLabel](), 0
    for where, row in _rows(path):
        question, person = _field(row, "question_id", where), str(row.get("person") or "")
        criterion = _criterion(row, by_name, where)
        if question not in known:
            raise UsageError(f"{where}: there is no question {question!r}; labels are of questions of data.questions.")
        label: ScoreLabel | PreferenceLabel
        if row.get("preference") not in (None, ""):
            label = _preference(row, question, criterion, person, where)
            sides: tuple[str, ...] = (label.a, label.b)
        else:
            label = _score(row, question, criterion, person, where)
            sides = (label.setup,)
        key = (question, criterion.name, *sorted(sides), person)
        if key in seen:
            raise UsageError(f"{where}: {person or 'the same person'} labelled this already ({seen[key]}): keep one.")
        seen[key] = where.rpartition(", ")[2]
        if any((question, side) not in answers for side in sides):
            unknown = [side for side in sides if side not in setups]
            if unknown and not setups.intersection(sides) and len(sides) == 1:
                raise UsageError(f"{where}: there is no setup {unknown[0]!r} among {', '.join(sorted(setups))}.")
            left_out += 1
            continue
        _refuse_other_answers(row, question, sides, answers, where)
        if isinstance(label, ScoreLabel):
            scores.append(label)
        else:
            preferences.append(label)
    return Labels(tuple(scores), tuple(preferences), left_out)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(`FILE, row N`, values) of a table or of JSON Lines."""
    if path.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        yield from read_objects(path, "labels", KEY)
        return
    yield from table_rows(path, "labels", KEY)


def _field(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str | int) or not str(value).strip():
        raise UsageError(f"{where}: {name!r} is missing or empty.")
    return str(value).strip()


def _criterion(row: Mapping[str, Any], known: Mapping[str, Criterion], where: str) -> Criterion:
    named = str(row.get("criterion") or "").strip()
    if not named and len(known) == 1:
        return next(iter(known.values()))
    if named not in known:
        raise UsageError(f"{where}: the criterion is {named!r}; write one of the rubric's: {', '.join(known)}.")
    return known[named]


def _score(row: Mapping[str, Any], question: str, criterion: Criterion, person: str, where: str) -> ScoreLabel:
    given, (low, high) = row.get("score"), criterion.scale
    try:
        score = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else None
    except ValueError:
        score = None
    if score is None or not low <= score <= high:
        raise UsageError(f"{where}: the score is {given!r}; write a number from {low} to {high}.")
    return ScoreLabel(question, _field(row, "setup", where), criterion.name, score, person)


def _preference(
    row: Mapping[str, Any], question: str, criterion: Criterion, person: str, where: str
) -> PreferenceLabel:
    a, b = _field(row, "a", where), _field(row, "b", where)
    said = _field(row, "preference", where)
    sides: dict[str, Side] = {a: "a", b: "b", "a": "a", "b": "b", "tie": "tie"}
    if a == b or said not in sides:
        raise UsageError(
            f"{where}: the preference between {a!r} and {b!r} is {said!r}; write two setups, and a, b or tie."
        )
    return PreferenceLabel(question, a, b, criterion.name, sides[said], person)


def _refuse_other_answers(
    row: Mapping[str, Any], question: str, sides: Sequence[str], answers: Mapping[tuple[str, str], Record], where: str
) -> None:
    """A label that says of which answer it is must be of the one that is judged."""
    columns = ("answer_hash",) if len(sides) == 1 else ("a_hash", "b_hash")
    for column, side in zip(columns, sides, strict=True):
        told = str(row.get(column) or "").strip()
        if told and told != answer_hash(answers[question, side].answer):
            raise UsageError(
                f"{where}: the label is of another answer of {side} than the one that is judged now: label the answers "
                "anew, or leave the row out."
            )
