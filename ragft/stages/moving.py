"""Examples that come from other tools, and that go to them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from index.durable import publish_folder, replacing, write_file
from ragft.citations import in_plain_words
from ragft.console import PLAIN_SECONDS, counted
from ragft.data.examples import Example, as_line, fields_beside
from ragft.data.formats.importing import Form, Told, import_rows
from ragft.data.formats.layouts import IMPORTED, Unheld
from ragft.data.formats.lost import digest_of, lost_between
from ragft.data.formats.targets import PARTS, Kind, Part, Shown, Target
from ragft.data.jsonl import refuse_existing, to_lines
from ragft.errors import UsageError
from ragft.prompts import conversation, turn
from ragft.stages.application import Application
from ragft.stages.data import parted, rows

_PROMPT = ("question", "system", "history", "messages")
"""Fields that are there, as the prompt of the house format has them."""


def import_examples(
    app: Application, path: Path, out: Path, *, form: Form, split: str | None, names: Mapping[str, str],
    lost: Path | None,
) -> Told:  # fmt: skip
    """Writes another tool's rows as examples into a new file; see `ragft.data.formats.importing.import_rows`."""
    refuse_existing(out)
    last = time.monotonic()

    def advance(done: int) -> None:
        # How many there are is known at the end, so that there is no bar.
        nonlocal last
        if time.monotonic() - last > PLAIN_SECONDS:
            last = time.monotonic()
            app.reporter.say(f"{done:,} rows so far")

    return import_rows(path, out, form=form, split=split, names=names, lost=lost, advance=advance)


@dataclass
class Exported:
    """What an export wrote.

    Attributes:
        rows: by part.
        lost: fields that the target has no place for, by how many rows had them.
        left_out: why rows were left out, by how often.
        first_left_out: the first of them, with its id.
        with_history: rows that have earlier answers.
        without_marks: answers whose citations were left out, because nothing is shown that they could cite.
    """

    target: str
    folder: str
    lost_files: dict[str, str]
    rows: dict[str, int] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: str = ""
    with_history: int = 0
    without_marks: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "lost": dict(self.lost), "left_out": dict(self.left_out)}

    def sentences(self, target: Target) -> list[str]:
        """For people, one thing each."""
        sizes = ", ".join(f"{count:,} rows to {'train on' if part == 'train' else 'validate'}"
                          for part, count in self.rows.items())  # fmt: skip
        told = [f"{sizes}, as {target.title} takes them ({target.page})"]
        if self.without_marks:
            told.append(
                f"Citations are left out of {counted(self.without_marks, 'answer')}, because no passages stand in the "
                "prompts (--with-passages shows them)"
            )
        files = " and ".join(self.lost_files.values())
        if self.lost:
            fields = ", ".join(f"{name} ({count:,})" for name, count in self.lost.most_common())
            told.append(
                f"{target.title} has no place for {fields}: they are in {files}, and `ragft data import --lost` gives "
                "them back"
            )
        for reason, count in self.left_out.most_common(5):
            told.append(f"Left out, and kept there: {counted(count, 'row')}, because {reason}")
        if self.first_left_out:
            told.append(f"The first one left out: {self.first_left_out}")
        if target.hint and self.with_history:
            told.append(f"{counted(self.with_history, 'row')} with earlier answers: {target.hint}")
        return told


@dataclass(frozen=True)
class _Row:
    """An example, or a mixed row, and how the model sees it."""

    original: Mapping[str, Any]
    shown: Shown
    without_marks: bool = False


def export_examples(app: Application, target: Target, out: Path, *, with_passages: bool, preferences: bool) -> Exported:
    """Writes the examples for another tool into a new folder, and what it has no place for beside it.

    Rows are what the model sees in training: the system prompt and the question in the form of `ragft.prompts`, either
    without passages (as `closed-book` rows of the mix), or the rows of the mix.

    Args:
        preferences: pairs of a better and a worse answer, of the examples that have one.

    Raises:
        UsageError: the folder exists; the target takes no pairs, or more rows than there are.
    """
    lost = {part: out.with_name(f"{out.name}.{part}.lost.jsonl") for part in PARTS}
    for path in (out, *lost.values()):
        refuse_existing(path)
    kind = target.chat
    if preferences:
        if target.pair is None:
            raise UsageError(f"ragft writes no preference files for {target.title}: leave --preferences out.")
        kind = target.pair
    told = Exported(target.name, str(out), {part: str(path) for part, path in lost.items()})
    growing = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with ExitStack() as stack:
            for part in PARTS:
                beside = stack.enter_context(replacing(lost[part]))
                found = _mixed(app, part) if with_passages else _plain(app, part)
                path = growing / target.files[part]
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    told.rows[part] = _written(target, kind, found, file, beside, told, preferences)
                _refuse_size(target, part, told.rows[part], path.stat().st_size, told)
            for name, content in target.companions(preferences).items():
                write_file(growing / name, content)
            growing.chmod(0o755)
            publish_folder(growing, out)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return told


def _written(
    target: Target, kind: Kind, found: Iterator[_Row], file: BinaryIO, beside: BinaryIO, told: Exported,
    preferences: bool,
) -> int:  # fmt: skip
    """Writes the rows of one part; returns how many."""
    count = 0
    if target.with_mark:
        file.write(b"\xef\xbb\xbf")
    for row in found:
        try:
            if preferences and not row.shown.rejected:
                raise Unheld(
                    "they have no worse answer, or one that differs by citations alone (--with-passages shows those)"
                )
            values, back = kind.row(row.shown)
        except Unheld as error:
            told.left_out[str(error)] += 1
            told.first_left_out = told.first_left_out or f"example {row.original.get('id')!r}: {error}"
            beside.write(to_lines([{"left_out": row.original, "reason": str(error)}]))
            continue
        file.write(to_lines([values]))
        count += 1
        told.without_marks += row.without_marks
        told.with_history += any(one["role"] == "assistant" for one in row.shown.prompt)
        if fields := lost_between(row.original, back):
            gone = [name for name, value in fields.items() if value is not None and name not in _PROMPT]
            # All of an answer is there but for its marks.
            told.lost.update("citations" if name == "answer" else name for name in gone)
            beside.write(to_lines([{"row": digest_of(values), "fields": fields}]))
    return count


def _refuse_size(target: Target, part: Part, count: int, size: int, told: Exported) -> None:
    fewest = target.fewest if part == "train" else 1
    if count < fewest:
        why = f" The first one left out: {told.first_left_out}." if told.first_left_out else ""
        raise UsageError(
            f"{target.title} needs {counted(fewest, 'row')} in its {part} file at least, and there are {count}.{why} "
            f"See {target.page}."
        )
    if target.most_bytes is not None and size > target.most_bytes:
        raise UsageError(
            f"The {part} file has {size >> 20} MiB, and {target.title} takes {target.most_bytes >> 20} at most: export "
            "fewer examples."
        )


def _parts(app: Application) -> dict[str, Sequence[Example]]:
    return app.once("examples by part", lambda: dict(zip(PARTS, parted(app), strict=True)))


def _plain(app: Application, part: Part) -> Iterator[_Row]:
    """The examples of a part without passages, and so without marks that cite some."""
    authors_own = app.once("fields of the author's own", lambda: _authors_own(app))
    all_answers = app.config.finetune.train_on == "all"
    for example in _parts(app)[part]:
        answer, worse = in_plain_words(example.answer), in_plain_words(example.rejected)
        following = [turn("assistant", answer)]
        messages = conversation(
            app.config.prompt.system, example.question, None, history=example.history, following=following
        )
        rejected = "" if worse.strip() == answer.strip() else worse
        original = {**as_line(example), **authors_own.get(example.id, {})}
        yield _Row(original, Shown(messages, rejected, all_answers), answer != example.answer)


def _authors_own(app: Application) -> dict[str, dict[str, Any]]:
    """The fields that examples do not hold, by the id of the one that has them."""
    data = app.config.data
    validating = fields_beside(data.validation, "data.validation") if data.validation else {}
    return {**fields_beside(data.examples, "data.examples"), **validating}


def _mixed(app: Application, part: Part) -> Iterator[_Row]:
    """The rows of the mix: examples of their own, which say of which example they were made."""
    groups = {example.id: example.group for examples in _parts(app).values() for example in examples}
    for number, row in enumerate(rows(app, part)):
        *history, asked, answer = row.messages
        made = Example(
            f"{row.example_id}:{part}:{number}", asked["content"], answer["content"],
            group=groups.get(row.example_id, ""), history=tuple(history), rejected=row.rejected,
            origin=f"mix {row.kind} {row.example_id}",
        )  # fmt: skip
        kept = {"passages": list(row.passages), "gold": list(row.gold)} if row.passages else {}
        original = {**as_line(made), **({IMPORTED: kept} if kept else {})}
        yield _Row(original, Shown(row.messages, row.rejected, app.config.finetune.train_on == "all"))
