"""One question, explained: what every setup answered, from which passages, and why it is wrong."""

from __future__ import annotations

import difflib
from typing import Any

from ragft.data.jsonl import read_objects
from ragft.data.questions import Question
from ragft.errors import UsageError
from ragft.evaluate.causes import CAUSES
from ragft.evaluate.records import Record, read_answers
from ragft.stages.application import Application
from ragft.stages.evaluation import looked_up, score


def explanation(app: Application, question_id: str) -> dict[str, Any]:
    """What the latest comparison of this configuration holds about a question, scored again if need be.

    Returns:
        `{id, question, answers, answerable, sources, tags, setups, folder}`; each of the setups is
        `{setup, answer, right, cause, title, why, error, passages}`, where the last three of a right answer are empty,
        and each passage is `{number, id, heading, is_source, text}`.

    Raises:
        UsageError: there is no such question; the message names the nearest ids.
        RagftError: nothing was answered yet.
    """
    asked = {question.id: question for question in app.questions}
    if question_id not in asked:
        near = difflib.get_close_matches(question_id, asked, n=3) or list(asked)[:3]
        raise UsageError(f"There is no question {question_id!r} in this evaluation; there are {', '.join(near)}.")
    evaluation = score(app, track=False)
    folders = [app.workspace / "records" / name for name in evaluation.manifest["inputs"]["records"].values()]
    records = [one for folder in folders for one in read_answers(folder) if one.question_id == question_id]
    (question,) = looked_up(app, [asked[question_id]], records).questions
    rows: dict[str, dict[str, Any]] = {record.setup: {} for record in records}
    for file in ("scores.jsonl", "causes.jsonl"):
        for _, row in read_objects(evaluation.folder / file, "rows", ""):
            if row["question_id"] == question_id:
                rows[row["setup"]] |= row
    return {
        "id": question.id, "question": question.spoken, "answers": list(question.answers),
        "answerable": question.answerable, "sources": list(question.sources), "tags": list(question.tags),
        "setups": [_explained(question, record, rows[record.setup]) for record in records],
        "folder": str(evaluation.folder),
    }  # fmt: skip


def _explained(question: Question, record: Record, row: dict[str, Any]) -> dict[str, Any]:
    cause = row.get("cause", "")
    return {
        "setup": record.setup, "answer": record.answer, "error": record.error,
        "right": row["scores"].get("exact_match") == 1.0,
        "cause": cause, "title": CAUSES[cause].title if cause else "", "why": row.get("why", ""),
        "passages": [
            {
                "number": number, "id": passage.chunk_id, "heading": " > ".join(passage.path or (passage.heading,)),
                "is_source": any(
                    question.sources_of(passage.document_id, path, passage.title) for path in passage.paths
                ),
                "text": passage.text,
            }
            for number, passage in enumerate(record.passages, 1)
        ],
    }  # fmt: skip


def explanation_lines(told: dict[str, Any]) -> list[str]:
    """The same for people; passages that are shown to several setups alike stand once, those of sources with a `*`."""
    gold = " | ".join(told["answers"]) if told["answerable"] else "(none: the right answer is the refusal)"
    lines = [f"{told['id']}: {told['question']}", f"right: {gold}", f"sources: {', '.join(told['sources']) or '-'}"]
    seen: dict[str, str] = {}
    for setup in told["setups"]:
        state = "right" if setup["right"] else f"wrong, {setup['title']}. {setup['why']}"
        answer = setup["answer"] if setup["error"] is None else f"(failed: {setup['error']})"
        lines += ["", f"{setup['setup']}: {state}", *(f"    {line}" for line in answer.strip().split("\n"))]
        shown = [
            f"  {'*' if one['is_source'] else ' '} [{one['number']}] {one['id']}: {' '.join(one['text'].split())}"
            for one in setup["passages"]
        ]
        before = seen.setdefault("\n".join(shown), setup["setup"])
        lines += [f"  passages as for {before}"] if shown and before != setup["setup"] else shown
    return [*lines, "", f"From {told['folder']}"]
