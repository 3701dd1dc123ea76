"""Sheets on which people compare the answers of two setups, and their opinion when the sheets come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_file
from ragft.data.jsonl import to_lines
from ragft.errors import UsageError
from ragft.evaluate.judges.rubric import OVERALL
from ragft.evaluate.people.filled import read_sheets, sheet_named
from ragft.evaluate.people.page import sheet_page
from ragft.evaluate.people.sheets import KEY_VERSION, Key, make_sheet, sheet_csv
from ragft.evaluate.people.summary import label_rows, opinion
from ragft.evaluate.statistics import STATISTICS_VERSION
from ragft.stages.answers import Answers
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import OPINION, SHEET

KEY, FOR_PEOPLE = "key.json", "for-people"
_ASKED = "Which of the two answers is better for the person who asked?"


def make(
    app: Application, answers: Answers, a: str, b: str, *,
    limit: int | None, repeated: float, criterion: str | None, reference: bool,
) -> Artifact:  # fmt: skip
    """A blind sheet on the answers of two setups; found again if it exists, filled or not.

    Args:
        limit: questions, a seeded sample; None: all.
        repeated: share of the pairs that come twice.
        criterion: of the rubric, whose question people are asked; None: the only one, or which answer is better.

    Raises:
        UsageError: there is no such setup or criterion, or nothing to compare.
    """
    if a == b:
        raise UsageError(f"{a!r} is compared with itself: name two setups.")
    chosen = answers.of((a, b), "the command").limited(limit, app.config.seed)
    name, asked = _criterion(app, criterion)
    told = {"a": a, "b": b, "answers": chosen.fingerprint, "repeated": repeated, "reference": reference}
    inputs = Inputs((SHEET,), {**told, "criterion": name, "asked": asked, "version": KEY_VERSION})

    def work(folder: Path) -> dict[str, Any]:
        key, items = make_sheet(
            chosen.questions, chosen.records, a, b, criterion=name, asked=asked, reference=reference,
            repeated=repeated, seed=app.config.seed,
        )  # fmt: skip
        people = folder / FOR_PEOPLE
        people.mkdir(exist_ok=True)
        write_file(folder / KEY, key.to_bytes())
        write_file(people / "sheet.csv", sheet_csv(key, items))
        write_file(people / "sheet.html", sheet_page(key, items).encode())
        again = sum(item.repeats is not None for item in key.items)
        return {"sheet": key.sheet, "pairs": len(items), "repeated": again, "settled": len(key.settled)}

    return app.build(inputs, work)


def import_sheets(app: Application, paths: Sequence[Path], key_file: Path | None, *, partial: bool) -> Artifact:
    """What people say on filled sheets of one key.

    Args:
        key_file: None: the one in the workspace that fits the first sheet.

    Raises:
        UsageError: a sheet is half filled, edited or another one, or there is no key for it.
    """
    path = key_file or _key_of(app, paths[0])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): name the key of the sheet with --key.") from None
    key = Key.from_bytes(content, str(path))
    if key.to_bytes() != content:
        raise UsageError(f"{path} was changed since the sheet was made: restore it.")
    sheets = read_sheets(paths, key, partial=partial)
    inputs = Inputs((OPINION,), {"key": key.seal, "sheets": sorted(map(hash_file, paths)), "names": [
        sheet.person for sheet in sheets
    ], "statistics": STATISTICS_VERSION})  # fmt: skip

    def work(folder: Path) -> dict[str, Any]:
        found = opinion(key, sheets, seed=app.config.seed)
        write_file(folder / "opinion.json", json.dumps(found.to_json(), indent=1, ensure_ascii=False).encode())
        write_file(folder / "labels.jsonl", to_lines(label_rows(key, sheets)))
        return {"people": len(sheets), "questions": found.rate.n, "win_rate": found.rate.mean}

    return app.build(inputs, work)


def _criterion(app: Application, named: str | None) -> tuple[str, str]:
    """Name of what people are asked, and the question."""
    declared = {criterion.name: criterion.question for criterion in app.config.evaluate.judge.criteria}
    if named is None and len(declared) != 1:
        return OVERALL.name, _ASKED
    name = named if named is not None else next(iter(declared))
    if name not in declared:
        known = ", ".join(declared) or "there are none"
        raise UsageError(f"The rubric, evaluate.judge.criteria, has no criterion {name!r}; known: {known}.")
    return name, declared[name]


def _key_of(app: Application, sheet: Path) -> Path:
    """The key in the workspace that a sheet was made with."""
    named = sheet_named(sheet)
    for path in sorted((app.workspace / SHEET.folder).glob(f"*/{KEY}")):
        if Key.from_bytes(path.read_bytes(), str(path)).sheet == named:
            return path
    raise UsageError(
        f"{sheet} is sheet {named!r}, and {app.workspace / SHEET.folder} holds no key of it: name one with --key."
    )
