"""Reads a folder of Markdown and text files.

Knows files and their text, nothing of chunks or vectors. One bad file never stops the others: it is named,
with the reason, in the list of what was skipped.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from blake3 import blake3

from index.errors import NoDocuments
from index.markdown import headings
from index.walk import FileState, file_state, visible_files

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
TEXT_SUFFIXES = frozenset({".txt"})


Value = str | int | float | bool | list[str]
Metadata = Mapping[str, Value]
"""Flat, and made of what JSON has; a list holds strings."""


@dataclass(frozen=True, slots=True)
class Document:
    """One readable file.

    Attributes:
        id: Path below the folder, with forward slashes.
        title: First level-1 heading, or the file's stem.
        text: The content; line ends are `\\n`, a byte order mark is dropped.
        hash: blake3 of everything else here, in hex.
        metadata: What is known about the document beside its text, to filter by.
        labels: Who may see it: callers that hold any of them; empty for everybody.
        page_starts: Where each page begins in the text, the first at 0; empty where there are no pages.
    """

    id: str
    title: str
    text: str
    hash: str
    metadata: Metadata = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    page_starts: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        path: str,
        text: str,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        labels: tuple[str, ...] = (),
        page_starts: tuple[int, ...] = (),
    ) -> Document:
        """The document at this path below the folder; the title, unless given, follows from path and text."""
        title = title or _title(path, text)
        content = [title, text, metadata or {}, sorted(labels), page_starts]
        digest = blake3(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        return cls(path, title, text, digest, metadata or {}, tuple(sorted(labels)), page_starts)

    def page_at(self, offset: int) -> int | None:
        """The page (from 1) that a character stands on; None where there are no pages."""
        return bisect_right(self.page_starts, offset) or None

    @property
    def is_markdown(self) -> bool:
        return PurePosixPath(self.id).suffix.lower() in MARKDOWN_SUFFIXES


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not read, and why.

    Attributes:
        by_rule: It is none of the documents (another format, a link), so that an older version of it goes from the
            index; False where it could not be read, and an older version stays.
    """

    path: str
    reason: str
    by_rule: bool = False


class Unchanged(Protocol):
    """Knows files that need not be read again; see `index.unchanged`."""

    def knows(self, name: str, state: FileState) -> bool: ...
    def learn(self, name: str, state: FileState, documents: Sequence[Document]) -> None: ...


def read_documents(folder: Path, unchanged: Unchanged | None = None) -> tuple[list[Document], list[Skipped]]:
    """Read every Markdown and text file below `folder`; both lists are sorted by path.

    Hidden files and folders are passed over in silence; links that lead out of the folder are skipped by
    name.

    Args:
        folder: Of the documents.
        unchanged: Files that it knows are not read, and their documents are not in the result.

    Raises:
        NoDocuments: the folder is missing, or no file in it can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")
    documents: list[Document] = []
    skipped: list[Skipped] = []
    unreadable: list[OSError] = []
    known = 0
    for name, entry in visible_files(folder, unreadable.append):
        state = _state(entry) if unchanged else None
        if unchanged and state and unchanged.knows(name, state):
            known += 1
            continue
        item = _read(Path(entry.path), name, folder)
        if isinstance(item, Document):
            documents.append(item)
            if unchanged and state:
                unchanged.learn(name, state, [item])
        else:
            skipped.append(item)
    for error in unreadable:
        path = Path(error.filename)
        if path == folder:
            raise NoDocuments(f"The folder of documents {folder} cannot be read ({error.strerror}); change its mode.")
        skipped.append(Skipped(path.relative_to(folder).as_posix(), f"cannot be read ({error.strerror})"))
    if not documents and not known:
        reasons = "".join(f" {item.path}: {item.reason}." for item in skipped[:3])
        raise NoDocuments(
            f"The folder {folder} holds no readable document; put Markdown (.md) or text (.txt) files there.{reasons}"
        )
    documents.sort(key=lambda document: document.id)
    skipped.sort(key=lambda item: item.path)
    return documents, skipped


READING_VERSION = 1
"""Raised whenever the same file would give another document."""


def reading_of(folder: Path) -> str:
    """All that decides what is made of a file in this folder, beside the file."""
    return json.dumps([READING_VERSION, str(folder.resolve())])


def _state(entry: os.DirEntry[str]) -> FileState | None:
    """What tells whether a file changed, taken before it is read; None where that cannot be told."""
    try:
        return file_state(entry.stat())
    except OSError:
        return None


def _read(path: Path, name: str, folder: Path) -> Document | Skipped:
    if path.is_symlink():
        target = path.resolve()
        if not target.is_relative_to(folder.resolve()):
            return Skipped(name, "a link that leaves the folder of documents", by_rule=True)
        if target.is_dir():
            return Skipped(name, "a link to a folder, whose files are read in their own place", by_rule=True)
    if path.suffix.lower() not in MARKDOWN_SUFFIXES | TEXT_SUFFIXES:
        kind = path.suffix or "no suffix"
        return Skipped(name, f"not a supported format ({kind}); supported are .md, .markdown and .txt", by_rule=True)
    if not path.is_file():
        return Skipped(name, "not a regular file", by_rule=True)
    try:
        data = path.read_bytes()
    except OSError as error:
        return Skipped(name, f"cannot be read ({error.strerror})")
    return _decode(data, name)


def _decode(data: bytes, name: str) -> Document | Skipped:
    if b"\0" in data:
        return Skipped(name, f"binary content (a zero byte at offset {data.index(0)})")
    try:
        name.encode()
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Skipped(name, f"not valid UTF-8 at byte offset {error.start}; save the file as UTF-8")
    except UnicodeEncodeError:
        return Skipped(ascii(name), "the file name is not valid UTF-8; rename the file")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        return Skipped(name, "empty")
    return Document.of(name, text)


def _title(path: str, text: str) -> str:
    """The first level-1 heading of a Markdown document, or the stem of the file name."""
    if PurePosixPath(path).suffix.lower() in MARKDOWN_SUFFIXES:
        for heading in headings(text):
            if heading.level == 1:
                return heading.text
    return PurePosixPath(path).stem
