"""Which files need not be read again, because nothing about them changed since they were read.

A refresh learns from sizes and times what it would otherwise have to read gigabytes for, as git does. What is known is
kept in one file of the index. It is a cache and no more: a file that is new, damaged or of another folder says nothing,
and then everything is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from index.durable import write_file
from index.snapshot import DocumentEntry
from index.walk import FileState

STATES = "files.json"

SETTLED_NS = 2_000_000_000
"""How long a file must have been left alone before it was looked at. A file that is changed twice within one tick of
the file system's clock has the same times after both; the coarsest clocks tick every two seconds."""

WORTH_WRITING = 100
"""Files that were read in vain, from which on what is known is written even if no snapshot is published."""


class HasContent(Protocol):
    """A document, as far as this module looks at it."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def hash(self) -> str: ...


class UnchangedFiles:
    """The files of one folder whose documents an index knows.

    Attributes:
        entries: Documents of the files that were found unchanged, so far.
    """

    def __init__(self, root: Path, reading: str, live: Mapping[str, DocumentEntry]) -> None:
        """Remember what earlier refreshes learnt.

        Args:
            root: Of the index.
            reading: All that decides what is made of a file, the folder included: anything else and nothing is known.
            live: The documents of the live snapshot by id. Only files whose documents are all in it as they were need
                not be read.
        """
        self.entries: list[DocumentEntry] = []
        self._path = root / STATES
        self._reading = reading
        self._live = live
        self._begin = time.time_ns()
        self._known = _read(self._path, reading)
        self._seen: dict[str, tuple[FileState, list[str]]] = {}
        self._read_in_vain = 0

    def knows(self, name: str, state: FileState) -> bool:
        """Whether the documents of a file are those of the live snapshot, which are then in `entries`."""
        known = self._known.get(name)
        if known is None or known[0] != list(state):
            return False
        documents = known[1]
        found: list[DocumentEntry] = []
        for place in range(0, len(documents), 2):
            entry = self._live.get(documents[place])
            if entry is None or entry.hash != documents[place + 1]:
                return False
            found.append(entry)
        self.entries += found
        self._seen[name] = (state, documents)
        return True

    def learn(self, name: str, state: FileState, documents: Sequence[HasContent]) -> None:
        """Note what a file held.

        Args:
            name: Of the file.
            state: As it was before the file was read.
            documents: All that came of it; a file of which something was skipped is not to be learnt.
        """
        live = self._live
        self._read_in_vain += all(
            (entry := live.get(item.id)) is not None and entry.hash == item.hash for item in documents
        )
        # A time in the future, by a clock that was set back, is not settled either.
        if max(*state[::5], *state[1::5]) < self._begin - SETTLED_NS:
            self._seen[name] = (state, [text for item in documents for text in (item.id, item.hash)])

    def save(self, published: bool) -> None:
        """Keep what is known for the next refresh, if that will spare it enough.

        Args:
            published: Whether files changed; otherwise, a refresh of an unchanged folder writes nothing.
        """
        if not published and self._read_in_vain < WORTH_WRITING:
            return
        content = json.dumps([self._reading, self._seen], separators=(",", ":"), ensure_ascii=False).encode()
        try:
            write_file(self._path, blake3(content).hexdigest().encode() + b"\n" + content)
        except OSError:  # a full disk is no reason to fail after the snapshot was published
            return


def _read(path: Path, reading: str) -> dict[str, tuple[list[int], list[str]]]:
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
        if checksum != blake3(content).hexdigest().encode():
            return {}
        written_for, known = json.loads(content)
    except (OSError, ValueError):
        return {}
    return known if written_for == reading else {}
