"""Reads a folder of documents: walks it, and hands each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. One bad file never stops the others: it is named,
with the reason, in the list of what was skipped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from index.document import MARKDOWN_SUFFIXES, Document, Metadata, Skipped, Value
from index.errors import IndexFault, NoDocuments
from index.formats import ReadSettings, Unreadable, format_of, suffixes
from index.formats.encoding import decode
from index.formats.process import ReaderProcess
from index.formats.properties import SIDE_SUFFIXES, Properties, side_file

__all__ = [
    "IGNORE_FILE",
    "MARKDOWN_SUFFIXES",
    "Document",
    "Metadata",
    "ReadSettings",
    "Skipped",
    "Value",
    "read_documents",
]

IGNORE_FILE = ".ragftignore"
"""In the folder of documents, with patterns as in a `.gitignore`."""


class Remembered(Protocol):
    """What was extracted from a file before, so that it need not be read again."""

    def recall(self, name: str, data: bytes) -> list[Document | Skipped] | None:
        """What a file of this name and content gave; None where it is not known."""

    def remember(self, name: str, data: bytes, items: list[Document | Skipped]) -> None:
        """Keep what a file gave."""


def read_documents(
    folder: Path, settings: ReadSettings | None = None, memory: Remembered | None = None
) -> tuple[list[Document], list[Skipped]]:
    """Read every file of a known format below `folder`; both lists are sorted by path.

    Hidden files and folders, and those that the patterns leave out, are passed over in silence; links that lead out of
    the folder are skipped by name.

    Args:
        folder: Of the documents.
        settings: Which files are read, how, and how far.
        memory: Of what isolated readers extracted before.

    Raises:
        NoDocuments: the folder is missing, or no file in it can be read.
        IndexFault: a pattern makes no sense.
    """
    folder, settings = Path(folder), settings or ReadSettings()
    if not folder.is_dir():
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")
    paths = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    present = frozenset(paths)
    wanted = _Patterns(folder, settings)
    paths = {name: path for name, path in paths.items() if wanted.includes(name)}
    documents: list[Document] = []
    skipped: list[Skipped] = []
    with ReaderProcess(settings) as process:
        reading = _Reading(folder, settings, process, memory, paths, present)
        for name, path in paths.items():
            for item in reading.items(name, path):
                if isinstance(item, Document):
                    documents.append(item)
                else:
                    skipped.append(item)
    if not documents:
        reasons = "".join(f" {item.path}: {item.reason}." for item in skipped[:3])
        raise NoDocuments(
            f"The folder {folder} holds no readable document; put Markdown (.md), text (.txt), HTML, PDF, DOCX, "
            f"JSONL or CSV files there.{reasons}"
        )
    documents, twice = _with_unique_ids(documents)
    return documents, sorted([*skipped, *twice], key=lambda item: (item.path, item.reason))


def _with_unique_ids(documents: Iterable[Document]) -> tuple[list[Document], list[Skipped]]:
    """The documents by id; a file whose name is the id of a row (`a.csv#1`) gives way to it."""
    found: list[Document] = []
    skipped: list[Skipped] = []
    for document in sorted(documents, key=lambda item: (item.id, item.hash)):
        if found and found[-1].id == document.id:
            skipped.append(Skipped(document.id, "another document has the same name"))
        else:
            found.append(document)
    return found, skipped


def _files(folder: Path) -> Iterator[Path]:
    """Every visible file below `folder`; links to folders are yielded, not followed."""
    for parent, folders, names in os.walk(folder):
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in visible if not Path(parent, name).is_symlink()]
        links = [name for name in visible if name not in folders]
        for name in (*names, *links):
            if not name.startswith("."):
                yield Path(parent, name)


class _Patterns:
    """Which files are read: those that `include` names, less those that `exclude` or the ignore file name."""

    def __init__(self, folder: Path, settings: ReadSettings) -> None:
        ignore = folder / IGNORE_FILE
        try:
            ignored = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            raise IndexFault(f"The ignore file {ignore} cannot be read ({error}); save it as UTF-8.") from error
        self._include = _matcher(settings.include, "index.include")
        self._exclude = _matcher(settings.exclude, "index.exclude")
        self._ignore = _matcher(ignored, str(ignore))

    def includes(self, name: str) -> bool:
        if self._include is not None and not name.endswith(SIDE_SUFFIXES) and not self._include.match_file(name):
            return False
        return not any(matcher is not None and matcher.match_file(name) for matcher in (self._exclude, self._ignore))


class _Matcher(Protocol):
    def match_file(self, file: str) -> bool: ...


def _matcher(patterns: Iterable[str], where: str) -> _Matcher | None:
    patterns = list(patterns)
    if not patterns:
        return None
    import pathspec

    try:
        return pathspec.GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise IndexFault(f"A pattern in {where} makes no sense: {error}.") from error


@dataclass(frozen=True)
class _Reading:
    """What the reading of one file needs to know of the whole."""

    folder: Path
    settings: ReadSettings
    process: ReaderProcess
    memory: Remembered | None
    paths: dict[str, Path]
    """Of the files that are wanted, by name."""
    present: frozenset[str]
    """Names of all visible files."""

    def items(self, name: str, path: Path) -> list[Document | Skipped]:
        """What one file gives: documents, or why there are none."""
        side = next((suffix for suffix in SIDE_SUFFIXES if name.endswith(suffix)), None)
        try:
            if side is not None:
                self._check_side(name, side)
                return []
            items = self._extracted(name, self._bytes(path))
            properties = self._properties(name)
        except Unreadable as error:
            return [Skipped(_printable(name), str(error))]
        except UnicodeEncodeError:
            return [Skipped(_printable(name), "its title or metadata holds half a character (a lone surrogate)")]
        if properties is None:
            return items
        return [_described(item, properties, name) if isinstance(item, Document) else item for item in items]

    def _extracted(self, name: str, data: bytes) -> list[Document | Skipped]:
        kind = format_of(name)
        assert kind is not None  # noqa: S101, `_bytes` refuses other files
        if not kind.is_isolated:
            return kind.read(name, data, self.settings)
        items = self.memory.recall(name, data) if self.memory else None
        if items is None:
            items = self.process.read(name, data)
            if self.memory:
                self.memory.remember(name, data, items)
        return items

    def _bytes(self, path: Path) -> bytes:
        """The content of a file that may be read.

        Raises:
            Unreadable: with the reason why it may not, or cannot.
        """
        if path.is_symlink():
            target = path.resolve()
            if not target.is_relative_to(self.folder.resolve()):
                raise Unreadable("a link that leaves the folder of documents")
            if target.is_dir():
                raise Unreadable("a link to a folder, whose files are read in their own place")
        if format_of(path.name) is None and not path.name.endswith(SIDE_SUFFIXES):
            raise Unreadable(f"not a supported format ({path.suffix or 'no suffix'}); supported are {suffixes()}")
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            raise Unreadable("the file name is not valid UTF-8; rename the file") from None
        limit = self.settings.limits.file_bytes
        try:
            # Asked of the path before it is opened: opening a pipe would wait for its writer.
            if not path.is_file():
                raise Unreadable("not a regular file")
            with path.open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable("not a regular file")
                data = file.read(limit + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None
        if len(data) > limit:
            raise Unreadable(f"more than {limit} bytes")
        return data

    def _properties(self, name: str) -> Properties | None:
        """What the side file of a file says; None where there is none."""
        found = [name + suffix for suffix in SIDE_SUFFIXES if name + suffix in self.paths]
        if len(found) > 1:
            raise Unreadable(f"it has two side files, {' and '.join(PurePosixPath(side).name for side in found)}")
        if not found:
            return None
        side = PurePosixPath(found[0]).name
        try:
            return side_file(side, decode(self._bytes(self.paths[found[0]])))
        except Unreadable as error:
            reason = str(error)
            raise Unreadable(reason if side in reason else f"its side file {side}: {reason}") from None

    def _check_side(self, name: str, suffix: str) -> None:
        if name.removesuffix(suffix) not in self.present:
            raise Unreadable(f"a side file of {PurePosixPath(name).name.removesuffix(suffix)}, which is not there")


def _described(document: Document, said: Properties, name: str) -> Document:
    """A document with what its side file says, which goes before what it says itself.

    In a table, where the side file speaks of all rows, the columns of a row go before it.
    """
    if document.id == name:
        title = said.title or document.title
        labels = document.labels if said.labels is None else said.labels
        metadata = {**document.metadata, **said.metadata}
    else:
        title = document.title
        labels = document.labels or said.labels or ()
        metadata = {**said.metadata, **document.metadata}
    return Document.of(
        document.id,
        document.text,
        title=title,
        labels=labels,
        metadata=metadata,
        page_starts=document.page_starts,
        is_markdown=document.is_markdown,
    )


def _printable(name: str) -> str:
    """A name that can be printed and stored, whatever bytes the file system has."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name
