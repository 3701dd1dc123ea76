"""Answers that exist already, with the questions that they answer: of this configuration, or in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from ragft.data.questions import Question, read_questions, sample
from ragft.errors import UsageError
from ragft.evaluate.records import Record, read_records
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.evaluation import existing


@dataclass(frozen=True)
class Answers:
    """Questions, and what setups answered to them.

    Attributes:
        setups: those of the four in their own order, then the others as they come.
    """

    questions: tuple[Question, ...]
    records: tuple[Record, ...]
    setups: tuple[str, ...]

    def limited(self, limit: int | None, seed: int) -> Answers:
        """The same for a seeded sample of the questions; all of them where `limit` is None."""
        return Answers(sample(self.questions, limit, seed), self.records, self.setups)

    def of(self, setups: tuple[str, ...], key: str) -> Answers:
        """The same for these setups alone.

        Args:
            key: what names them, for messages.

        Raises:
            UsageError: there are no answers of one of them.
        """
        if unknown := [name for name in setups if name not in self.setups]:
            raise UsageError(
                f"There are no answers of {unknown[0]!r}, which {key} names; there are answers of "
                f"{', '.join(self.setups)}."
            )
        return Answers(self.questions, tuple(record for record in self.records if record.setup in setups), setups)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the questions with their accepted answers, and over what was answered to them."""
        asked = {question.id: question for question in self.questions}
        shown = [[q.id, q.question, q.answers, q.answerable, q.sources] for q in self.questions]
        answered = sorted(
            [record.question_id, record.setup, record.answer, record.error or ""]
            for record in self.records
            if record.question_id in asked and record.setup in self.setups
        )
        return blake3(json.dumps([shown, answered], ensure_ascii=False).encode()).hexdigest()[:16]


def existing_answers(app: Application, records_file: Path | None, questions_file: Path | None) -> Answers:
    """The answers in a file, or those that `ragft evaluate` made for this configuration.

    Args:
        records_file: JSONL of `{"question_id", "setup", "answer"}` and whatever else a `Record` holds.
        questions_file: JSONL of the questions that they answer; None: those of the configuration.

    Raises:
        RagftError: there are none.
    """
    if records_file is None:
        if questions_file is not None:
            raise UsageError("--questions says which questions the answers of --records answer: give both, or none.")
        paths = [artifact.folder / "records.jsonl" for artifact in existing(app).values()]
        found = tuple(record for path in paths for record in read_records(path))
        questions = app.questions
    else:
        found = read_records(records_file)
        if not found:
            raise UsageError(f"{records_file} holds no records: write one JSON object per line.")
        questions = read_questions(questions_file) if questions_file else app.all_questions
        known = {question.id for question in questions}
        if stray := list(dict.fromkeys(record.question_id for record in found if record.question_id not in known)):
            raise UsageError(
                f"{records_file} answers {len(stray)} questions that are not asked, {stray[0]!r} for one: "
                "name their file with --questions."
            )
    setups = list(dict.fromkeys(record.setup for record in found))
    ordered = (*(name for name in SETUPS if name in setups), *(name for name in setups if name not in SETUPS))
    return Answers(questions, found, ordered)
