"""Reading files of one JSON object a line, with errors that name file and line."""

from __future__ import annotations

import difflib
import json
import math
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, overload

from index.durable import replacing
from ragft.data.duplicates import hash_of
from ragft.errors import UsageError


def read_objects(path: Path, what: str, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (`FILE, line N`, object) for every line, read one after the other; blank lines are skipped.

    Args:
        what: what the file holds, in the plural, for messages.
        key: the configuration key that names the file.

    Raises:
        UsageError: the file is missing, not UTF-8, or empty, or a line is no JSON object.
    """
    for line in each_line(path, what, key):
        where = f"{path}, line {line.number}"
        try:
            text = line.raw.decode("utf-8-sig" if line.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"{error.reason} at byte {line.offset + error.start}"
            raise UsageError(f"{path} is not UTF-8 text ({problem}): save it as UTF-8.") from None
        if text.strip():
            yield where, object_in(text, where)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file as it stands there.

    Attributes:
        number: from 1; blank lines count.
        offset: of its first byte.
    """

    number: int
    offset: int
    raw: bytes


def each_line(path: Path, what: str, key: str) -> Iterator[Line]:
    """The lines of a file that are not blank, read one after the other, so that a file of any size can be.

    Args, Raises:
        as `read_objects`, but for the content of lines.
    """
    empty, offset = True, 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip():
                    empty = False
                    yield Line(number, offset, raw)
                offset += len(raw)
    except FileNotFoundError:
        raise UsageError(f"There is no file of {what} {str(path)!r}: set {key} to one.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): set {key} to a readable file.") from None
    if empty:
        raise UsageError(f"{path} holds no {what}: write one JSON object per line.")


def object_at(raw: bytes, where: str) -> dict[str, Any]:
    """The object of one line in bytes.

    Raises:
        UsageError: it is not UTF-8, or as `object_in`.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start}"
        raise UsageError(f"{where}: not UTF-8 text ({problem}): save the file as UTF-8.") from None
    return object_in(text, where)


def object_in(line: str, where: str) -> dict[str, Any]:
    """The object of one line.

    Raises:
        UsageError: it is no JSON object, or holds half a character or a number that is not finite.
    """
    try:
        values = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON ({_detail(error)}).") from None
    if not isinstance(values, dict):
        raise UsageError(f"{where}: write an object with fields, not a {type(values).__name__}.")
    if "\\ud" in line.lower() and holds_half_a_character(values):
        raise UsageError(f"{where}: a \\ud... escape stands for half a character: write both halves, or none.")
    return values


class Ids:
    """The ids in one file, each of which may stand there once."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}  # by hash, so that a million ids take little memory

    def claim(self, identity: str, where: str) -> str:
        """The id, which belongs to this line from now on.

        Args:
            where: `FILE, line N`.

        Raises:
            UsageError: it belongs to another line already.
        """
        line = int(where.rpartition(" ")[2])
        first = self._lines.setdefault(hash_of(identity), line)
        if first != line:
            raise UsageError(f"{where}: duplicate id {identity!r} (first on line {first}): give each its own.")
        return identity


Item = TypeVar("Item")


class LinesOf(Sequence[Item]):
    """What stands in a file of ours, an item a line, read when it is asked for; memory holds where lines begin."""

    def __init__(self, path: Path, read: Callable[[dict[str, Any]], Item], order: Sequence[int] | None = None) -> None:
        """
        Args:
            order: line numbers, from 0, in the order in which they count. None: as they stand there.
        """
        self._path, self._read, self._order = path, read, order
        self._starts = array("Q", [0])
        with path.open("rb") as file:
            for line in file:
                self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        with self._path.open("rb") as file:
            return self._at(file, at)

    def __iter__(self) -> Iterator[Item]:
        with self._path.open("rb") as file:
            for at in range(len(self)):
                yield self._at(file, at)

    def raw(self) -> Iterator[bytes]:
        """The lines themselves, in order."""
        with self._path.open("rb") as file:
            for at in range(len(self)):
                yield self._line(file, at)

    def _at(self, file: BinaryIO, at: int) -> Item:
        return self._read(json.loads(self._line(file, at)))

    def _line(self, file: BinaryIO, at: int) -> bytes:
        start = self._starts[at if self._order is None else self._order[at]]
        if file.tell() != start:
            file.seek(start)
        return file.readline()


def refuse_misspelt_keys(
    values: Mapping[str, Any], known: Collection[str], where: str, *, beside_right_one: bool
) -> None:
    """Other keys are the author's own, but one that nearly is a known one would be lost silently.

    Args:
        beside_right_one: refuse such a key where the one that it nearly is stands, too; else it is the author's own.

    Raises:
        UsageError: there is such a key.
    """
    for key in values:
        if key in known:
            continue
        nearest = _nearest(key, tuple(known))
        if nearest and (beside_right_one or nearest not in values):
            raise UsageError(f"{where}: unknown field {key!r}: did you mean {nearest!r}?")


@lru_cache(maxsize=256)  # a file repeats its fields on every line
def _nearest(key: str, known: tuple[str, ...]) -> str:
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.8)), "")


def texts_in(values: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """A field that is a list of texts; empty where it is missing.

    Raises:
        UsageError: it is something else, or one of the texts is empty.
    """
    texts = values.get(field) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UsageError(f"{where}: `{field}` must be a list of texts, none of them empty, not {texts!r}.")
    return tuple(texts)


def _detail(error: ValueError | RecursionError) -> str:
    if isinstance(error, _NotFinite):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "too deep" if isinstance(error, RecursionError) else "a number that is too long"


class _NotFinite(ValueError):
    """A number that JSON cannot hold, so that the row could never be written again."""


def _not_finite(text: str) -> float:
    raise _NotFinite(f"{text} is not a finite number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_not_finite)


def holds_half_a_character(values: Any) -> bool:
    """Whether some text cannot be written down again, nor be tokenized."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def refuse_existing(out: Path, option: str = "--out") -> None:
    """Refuses to overwrite what is there.

    Args:
        option: what names the file, for messages.

    Raises:
        UsageError: it exists, or the folder for it does not.
    """
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already: name another with {option}, or delete it first.")
    refuse_missing_folder(out, option)


def refuse_missing_folder(out: Path, option: str) -> None:
    """Refuses a file whose folder is not there; arguments and errors as for `refuse_existing`."""
    if not out.parent.is_dir():
        raise UsageError(f"There is no folder {str(out.parent)!r}: make it, or name another place with {option}.")


def to_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as JSON Lines.

    Raises:
        ValueError: a number is not finite.
    """
    return b"".join(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Replaces a file by rows as JSON Lines, written one after the other; returns how many there were.

    Raises:
        ValueError: a number is not finite.
    """
    count = 0
    with replacing(path) as file:
        for row in rows:
            file.write(to_lines([row]))
            count += 1
    return count
