"""A copy of the examples without what can be mended: rows left out, texts tidied, personal data under pseudonyms.

Knows what the audit found and decides what becomes of each row. Rows that need no change are copied byte for byte. The
log names every change, and holds no personal value: where one stood, it says its kind and length. The original still
has it, on the same line. What is found in one text of a row is replaced in all of them, in its numbers and in the names
of its fields, too.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ragft.console import Advance
from ragft.data.audit.kinds import KINDS, Kind, bit
from ragft.data.audit.scan import Scan, written_in_row
from ragft.data.audit.texts import tidy
from ragft.data.jsonl import each_line, object_at
from ragft.data.personal import Found, labelled, replaced
from ragft.errors import UsageError

CLEAN_VERSION = 2
"""Increased whenever the same rows would be changed otherwise."""

Texts = Iterator[tuple[str, list[Found]]]
"""What a row holds, tidied, in the order of `written_in_row`, each with the personal values in it."""

_ANY_PLACE = re.compile(r"\[\d+\]")
ROWS, CHANGES = "examples.jsonl", "changes.jsonl"


@dataclass
class Cleaned:
    """What became of the rows.

    Attributes:
        dropped: rows that were left out, by the first fault in the order of `KINDS` that decides so.
        tidied: texts, not rows.
        masked: values by kind, each time that one stands there; `fields` says in which fields.
    """

    rows: int = 0
    kept: int = 0
    changed: int = 0
    tidied: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        counts = {"rows": self.rows, "kept": self.kept, "changed": self.changed, "tidied": self.tidied}
        more = {"dropped": self.dropped, "masked": self.masked, "masked_fields": self.fields}
        return {**counts, **{name: dict(values.most_common()) for name, values in more.items()}}


def write_clean(
    scan: Scan, folder: Path, drop: tuple[Kind, ...], pseudonym: Callable[[Found], str], advance: Advance
) -> Cleaned:
    """Writes `examples.jsonl` and `changes.jsonl` of the first file that was scanned into a folder.

    Args:
        scan: has run.
        drop: faults for which a row is left out.
        pseudonym: what stands for a personal value.
    """
    path, key = scan.files[0]
    with (folder / ROWS).open("wb") as rows, _private(folder / CHANGES) as log:
        cleaner = _Cleaner(scan, drop, pseudonym, log)
        size = path.stat().st_size >> 20
        for row, line in enumerate(each_line(path, "examples", key)):
            if kept := cleaner.row(row, line.number, line.raw):
                rows.write(kept if kept.endswith(b"\n") else kept + b"\n")
            if row % 4096 == 0:
                advance(line.offset >> 20, size, "MiB")
        advance(size, size, "MiB")
    return cleaner.told


def _private(path: Path) -> TextIO:
    """Opens a file that only its owner may read: rows that are left out stand in the log."""
    path.unlink(missing_ok=True)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")  # noqa: PTH123


class _Cleaner:
    """Decides what becomes of one row after another."""

    def __init__(self, scan: Scan, drop: tuple[Kind, ...], pseudonym: Callable[[Found], str], log: TextIO) -> None:
        self.told = Cleaned()
        self._scan, self._pseudonym, self._log = scan, pseudonym, log
        self._drop = sum(bit(kind) for kind in drop)
        self._beside: list[str] = []  # what else the row holds

    def row(self, row: int, number: int, raw: bytes) -> bytes:
        """What the copy holds of a row; nothing where it is left out."""
        self.told.rows += 1
        self._beside = []
        if wrong := self._scan.table.kinds[row] & self._drop:
            kind = next(kind for kind in KINDS if wrong & bit(kind))
            self.told.dropped[kind] += 1
            of = self._scan.table.of[row]
            more = {"of_line": self._scan.table.line[of]} if of >= 0 and self._scan.table.file[of] == 0 else {}
            before = self._hidden(raw.decode("utf-8", "replace").rstrip("\n"))
            self._note(number, change="dropped", kind=kind, **more, before=before, after=None)
            return b""
        self.told.kept += 1
        try:
            values = object_at(raw, "")
        except UsageError:  # it is to be kept all the same
            return raw
        plain = [tidy(text) if is_text else text for text, is_text in written_in_row(values)]
        self._beside = plain
        changed = self._mended(values, zip(plain, self._scan.rules.personal_in(plain), strict=True), number, "")
        if changed == values:
            return raw
        self.told.changed += 1
        return json.dumps(changed, ensure_ascii=False).encode() + b"\n"

    def _mended(self, values: Any, texts: Texts, number: int, where: str) -> Any:
        if isinstance(values, Mapping):
            return self._fields(values, texts, number, where)
        if isinstance(values, list):
            return [self._mended(value, texts, number, f"{where}[{at}]") for at, value in enumerate(values)]
        if isinstance(values, str):
            plain, found = next(texts)
            if plain != values:
                self.told.tidied += 1
                before, after = self._hidden(values), self._hidden(plain)
                self._note(number, field=where, change="tidied", kind="untidy", before=before, after=after)
            return self._masked(plain, found, number, where)
        if isinstance(values, int | float) and not isinstance(values, bool):
            written, found = next(texts)
            return self._masked(written, found, number, where) if found else values
        return values

    def _fields(self, values: Mapping[str, Any], texts: Texts, number: int, where: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for name, value in values.items():
            _, found = next(texts)
            place = f"{where}.{replaced(name, found, labelled)}".lstrip(".")
            new = self._masked(name, found, number, place)
            while new in changed:  # two spellings of one value
                new += "_"
            changed[new] = value if name == "sources" else self._mended(value, texts, number, place)
        return changed

    def _masked(self, plain: str, found: list[Found], number: int, where: str) -> str:
        for one in found:
            self.told.masked[one.kind] += 1
            self.told.fields[_ANY_PLACE.sub("[]", where)] += 1
            before = f"{one.kind} of {one.end - one.start} characters at {one.start}"
            self._note(
                number, field=where, change="masked", kind=one.kind, before=before, after=self._pseudonym(one)
            )  # fmt: skip
        return replaced(plain, found, self._pseudonym)

    def _hidden(self, text: str) -> str:
        """The text without its personal values and those of its row, for the log."""
        return replaced(text, self._scan.rules.personal_in([text, *self._beside])[0], labelled)

    def _note(self, number: int, **change: Any) -> None:
        self._log.write(json.dumps({"line": number, **change}, ensure_ascii=True) + "\n")
