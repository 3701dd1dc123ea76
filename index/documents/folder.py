"""Reads a folder of documents: walks it, and hands each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. One bad file never stops the others: it is named,
with the reason, in the list of what was skipped.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from index.documents.document import MARKDOWN_SUFFIXES, Document, Metadata, Skipped, Value
from index.documents.formats import EXTRACTION_VERSION, ReadSettings, Unreadable, format_of, suffixes
from index.documents.formats.encoding import decode
from index.documents.formats.process import ReaderProcess
from index.documents.formats.properties import SIDE_SUFFIXES, Properties, side_file
from index.documents.walk import FileState, visible_files
from index.errors import IndexFault, NoDocuments

__all__ = [
    "IGNORE_FILE",
    "MARKDOWN_SUFFIXES",
    "Document",
    "Metadata",
    "ReadSettings",
    "Skipped",
    "Value",
    "read_documents",
    "reading_of",
    "refuse_missing",
]

IGNORE_FILE = ".ragftignore"
"""In the folder of documents, with patterns as in a `.gitignore`."""


class Remembered(Protocol):
    """What was extracted from a file before, so that it need not be read again."""

    def recall(self, name: str, data: bytes) -> list[Document | Skipped] | None:
        """What a file of this name and content gave; None where it is not known."""

    def remember(self, name: str, data: bytes, items: list[Document | Skipped]) -> None:
        """Keep what a file gave."""


class Unchanged(Protocol):
    """Knows files that need not be read again; see `index.documents.unchanged`."""

    def to_read(self, states: Mapping[str, FileState]) -> list[str]: ...
    def learn(self, name: str, state: FileState, documents: Sequence[Document]) -> None: ...


def read_documents(
    folder: Path,
    settings: ReadSettings | None = None,
    memory: Remembered | None = None,
    unchanged: Unchanged | None = None,
) -> tuple[list[Document], list[Skipped]]:
    """Read every file of a known format below `folder`; both lists are sorted by path.

    Hidden files and folders, and those that the patterns leave out, are passed over in silence; links that lead out of
    the folder are skipped by name.

    Args:
        folder: Of the documents.
        settings: Which files are read, how, and how far.
        memory: Of what isolated readers extracted before.
        unchanged: Files that it knows are not read, and their documents are not in the result.

    Raises:
        NoDocuments: the folder is missing, or no file in it can be read.
        IndexFault: a pattern makes no sense.
    """
    folder, settings = Path(folder), settings or ReadSettings()
    refuse_missing(folder)
    unreadable: list[tuple[str, OSError]] = []
    wanted = _Patterns(folder, settings)
    found = dict(
        visible_files(folder, wanted.includes if wanted else None, lambda name, error: unreadable.append((name, error)))
    )
    skipped = _folders_not_read(folder, unreadable)
    states = {name: state for name, state in found.items() if state is not None}
    with_sides, sides = _with_sides(states)
    names = unchanged.to_read(with_sides) if unchanged else list(states)
    documents: list[Document] = []
    with ReaderProcess(settings) as process:
        reading = _Reading(folder, settings, process, memory, sides, found.keys())
        for name in sorted(names):
            items = reading.items(name)
            read = [item for item in items if isinstance(item, Document)]
            documents += read
            skipped += [item for item in items if isinstance(item, Skipped)]
            if unchanged and read and len(read) == len(items):
                unchanged.learn(name, with_sides[name], read)
    if not documents and len(names) == len(states):
        reasons = "".join(f" {item.path}: {item.reason}." for item in skipped[:3])
        raise NoDocuments(
            f"The folder {folder} holds no readable document; put Markdown (.md), text (.txt), HTML, PDF, DOCX, "
            f"JSONL or CSV files there.{reasons}"
        )
    documents, twice = _with_unique_ids(documents)
    return documents, sorted([*skipped, *twice], key=lambda item: (item.path, item.reason))


def refuse_missing(folder: Path) -> None:
    """Refuses a folder of documents that is not there.

    Raises:
        NoDocuments: naming it.
    """
    if not folder.is_dir():
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")


def reading_of(folder: Path, settings: ReadSettings) -> str:
    """All that decides what is made of a file in this folder, beside the file and its side files."""
    return json.dumps([EXTRACTION_VERSION, str(folder.resolve()), asdict(settings)], sort_keys=True)


def _folders_not_read(folder: Path, errors: Iterable[tuple[str, OSError]]) -> list[Skipped]:
    """The folders that cannot be read, by name.

    Raises:
        NoDocuments: it is the folder of documents itself.
    """
    found = []
    for name, error in errors:
        if not name:
            raise NoDocuments(f"The folder of documents {folder} cannot be read ({error.strerror}); change its mode.")
        found.append(Skipped(name, f"cannot be read ({error.strerror})"))
    return found


def _with_sides(states: Mapping[str, FileState]) -> tuple[dict[str, FileState], dict[str, list[str]]]:
    """The states of the files, each with those of its side files; and the names of side files by that of their file."""
    found, sides = dict(states), dict[str, list[str]]()
    for side in sorted(name for name in states if name.endswith(SIDE_SUFFIXES)):
        name = next(side.removesuffix(suffix) for suffix in SIDE_SUFFIXES if side.endswith(suffix))
        if name in states:
            sides.setdefault(name, []).append(side)
            found[name] = found[name] + states[side] if found[name] and states[side] else b""
    return found, sides


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

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return any(item is not None for item in (self._include, self._exclude, self._ignore))

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
    sides: Mapping[str, Sequence[str]]
    """Names of the side files of a file that has any."""
    present: Set[str]
    """Names of all visible files."""

    def items(self, name: str) -> list[Document | Skipped]:
        """What one file gives: documents, or why there are none."""
        side = next((suffix for suffix in SIDE_SUFFIXES if name.endswith(suffix)), None)
        try:
            if side is not None:
                self._check_side(name, side)
                return []
            items = self._extracted(name, self._bytes(self.folder / name))
            properties = self._properties(name)
        except Unreadable as error:
            return [Skipped(_printable(name), str(error), error.by_rule)]
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
                raise Unreadable("a link that leaves the folder of documents", by_rule=True)
            if target.is_dir():
                raise Unreadable("a link to a folder, whose files are read in their own place", by_rule=True)
        if format_of(path.name) is None and not path.name.endswith(SIDE_SUFFIXES):
            kind = path.suffix or "no suffix"
            raise Unreadable(f"not a supported format ({kind}); supported are {suffixes()}", by_rule=True)
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            raise Unreadable("the file name is not valid UTF-8; rename the file") from None
        limit = self.settings.limits.file_bytes
        try:
            # Asked of the path before it is opened: opening a pipe would wait for its writer.
            if not path.is_file():
                raise Unreadable("not a regular file", by_rule=True)
            with path.open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable("not a regular file", by_rule=True)
                data = file.read(limit + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None
        if len(data) > limit:
            raise Unreadable(f"more than {limit} bytes")
        return data

    def _properties(self, name: str) -> Properties | None:
        """What the side file of a file says; None where there is none."""
        found = self.sides.get(name, ())
        if len(found) > 1:
            raise Unreadable(f"it has two side files, {' and '.join(PurePosixPath(side).name for side in found)}")
        if not found:
            return None
        side = PurePosixPath(found[0]).name
        try:
            return side_file(side, decode(self._bytes(self.folder / found[0])))
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
