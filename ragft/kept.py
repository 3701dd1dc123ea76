"""What was paid for once and outlives the process that got it: values by key, in a file that is only appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from index.durable import locked
from ragft.errors import RagftError


class Kept:
    """JSON objects by the key of what they answer, in a file of JSON lines."""

    def __init__(self, path: Path, file: BinaryIO, values: dict[str, dict[str, Any]]) -> None:
        self.path, self._file, self._values = path, file, values

    def get(self, key: str) -> dict[str, Any] | None:
        return self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, key: str, value: dict[str, Any]) -> None:
        """Keeps a value; it is on disk when this returns."""
        self.keep_all({key: value})

    def keep_all(self, values: Mapping[str, dict[str, Any]]) -> None:
        """Keeps values, which are on disk when this returns."""
        lines = [json.dumps({"key": key, **value}, ensure_ascii=True).encode() + b"\n" for key, value in values.items()]
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._values |= values


@contextmanager
def kept_in(path: Path, *, busy: str, what: str, keys: Collection[str]) -> Iterator[Kept]:
    """What a file keeps; an incomplete last line, which a killed process left, is removed.

    Args:
        busy: what another process that uses the file is doing, for messages.
        what: what a line is, for messages.
        keys: what every value has.

    Raises:
        RagftError: another process uses it, or a line of it is none of these.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path.with_suffix(".lock"), remove=True), path.open("ab+") as file:
            yield Kept(path, file, _read(path, file, what, keys))
    except BlockingIOError:
        raise RagftError(f"Another process is {busy} and writes {path}: wait until it ends.") from None


def _read(path: Path, file: BinaryIO, what: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    file.seek(0)
    content = file.read()
    whole = content.rpartition(b"\n")[0]
    if len(whole) + 1 < len(content) or (content and not content.endswith(b"\n")):
        file.truncate(len(whole) + 1 if whole else 0)
    values: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            value = json.loads(line)
            if any(key not in value for key in keys):
                raise KeyError
            values[str(value.pop("key"))] = value
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RagftError(f"{path}, line {number} is no {what}: delete the line.") from None
    return values
