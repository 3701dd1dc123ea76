"""Reads a folder of documents: walks it, and passes each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. A file that cannot be read never stops the others: it is
listed as skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.formats import EXTRACTION_VERSION, format_of, suffixes
from index.documents.formats.encoding import decode
from index.documents.formats.process import ReaderProcess
from index.documents.formats.properties import Properties, described_file, side_file
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.walk import FileState, visible_files
from index.errors import IndexFault, NoDocuments

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from index.documents.unchanged import UnchangedFiles

_IGNORE_FILE = ".ragftignore"
"""File in the folder of documents that holds patterns as in a `.gitignore`."""


def read_documents(
    folder: Path,
    settings: ReadSettings | None = None,
    memory: ExtractedTexts | None = None,
    unchanged: UnchangedFiles | None = None,
) -> tuple[list[Document], list[Skipped]]:
    """Read every file of a supported format below `folder`.

    Hidden files and folders, and files that the patterns leave out, are ignored without being listed as skipped.

    Args:
        folder: folder of documents.
        settings: which files are read, how, and their limits; None: the defaults.
        memory: cache of what was extracted from HTML, PDF and DOCX files; None: all of them are extracted.
        unchanged: decides which files need not be read and is told what the others hold; None: every file is read.

    Returns:
        The documents sorted by id, without those of unchanged files, and what was skipped, sorted by path.

    Raises:
        NoDocuments: the folder is missing, or no file in it can be read.
        IndexFault: a pattern is not valid, or the ignore file cannot be read.
    """
    folder, settings = Path(folder), settings or ReadSettings()
    refuse_missing(folder)
    found, skipped = _visible_files(folder, _Patterns(folder, settings))
    states, sides = _with_sides({name: state for name, state in found.items() if state is not None})
    names = unchanged.to_read(states) if unchanged else list(states)
    documents: list[Document] = []
    with ReaderProcess(settings) as process:
        reading = _Reading(folder, settings, process, memory, sides, found.keys())
        for name in sorted(names):
            items = reading.items(name)
            read = [item for item in items if isinstance(item, Document)]
            documents += read
            skipped += [item for item in items if isinstance(item, Skipped)]
            if unchanged and read and len(read) == len(items):
                unchanged.learn(name, states[name], read)
    if not documents and len(names) == len(states):
        reasons = "".join(f" {item.path}: {item.reason}." for item in skipped[:3])
        raise NoDocuments(
            f"The folder {folder} holds no readable document; put files of a supported format there ({suffixes()})."
            f"{reasons}"
        )
    documents, repeated = _with_unique_ids(documents)
    return documents, sorted([*skipped, *repeated], key=lambda item: (item.path, item.reason))


def refuse_missing(folder: Path) -> None:
    """Refuse a folder of documents that does not exist.

    Raises:
        NoDocuments: it does not.
    """
    if not folder.is_dir():
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")


def reading_of(folder: Path, settings: ReadSettings) -> str:
    """Everything but a file and its side files that decides what is read from it, as a text to compare."""
    return json.dumps([EXTRACTION_VERSION, str(folder.resolve()), asdict(settings)], sort_keys=True)


def _visible_files(folder: Path, patterns: _Patterns) -> tuple[dict[str, FileState | None], list[Skipped]]:
    """The state of every visible file by name, None if patterns leave it out; and the folders that cannot be read.

    Raises:
        NoDocuments: the folder of documents itself cannot be read.
    """
    skipped: list[Skipped] = []

    def skip(name: str, error: OSError) -> None:
        if not name:
            raise NoDocuments(f"The folder of documents {folder} cannot be read ({error.strerror}); change its mode.")
        skipped.append(Skipped(name, f"cannot be read ({error.strerror})"))

    return dict(visible_files(folder, patterns.include if patterns else None, skip)), skipped


def _with_sides(states: Mapping[str, FileState]) -> tuple[dict[str, FileState], dict[str, list[str]]]:
    """The state of each file combined with those of its side files; and the names of its side files, if it has any."""
    combined, sides = dict(states), dict[str, list[str]]()
    for side in sorted(states):
        if (name := described_file(side)) is not None and name in states:
            sides.setdefault(name, []).append(side)
            combined[name] = combined[name] + states[side] if combined[name] and states[side] else b""
    return combined, sides


def _with_unique_ids(documents: Iterable[Document]) -> tuple[list[Document], list[Skipped]]:
    """The documents sorted by id. If a file has the id of a row (`a.csv#1`), one of the two is skipped."""
    unique: list[Document] = []
    skipped: list[Skipped] = []
    for document in sorted(documents, key=lambda item: (item.id, item.hash)):
        if unique and unique[-1].id == document.id:
            skipped.append(Skipped(document.id, "another document has the same name"))
        else:
            unique.append(document)
    return unique, skipped


class _Patterns:
    """Which files are read: those that match `include`, without those that match `exclude` or the ignore file."""

    def __init__(self, folder: Path, settings: ReadSettings) -> None:
        ignore = folder / _IGNORE_FILE
        try:
            ignored = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            raise IndexFault(f"The ignore file {ignore} cannot be read ({error}); save it as UTF-8.") from error
        self._included = _matcher(settings.include, "index.documents.include")
        self._excluded = _matcher(settings.exclude, "index.documents.exclude")
        self._ignored = _matcher(ignored, str(ignore))

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return any(matcher is not None for matcher in (self._included, self._excluded, self._ignored))

    def include(self, name: str) -> bool:
        """Whether a file of this name is read."""
        if self._included is not None and described_file(name) is None and not self._included.match_file(name):
            return False
        return not any(matcher is not None and matcher.match_file(name) for matcher in (self._excluded, self._ignored))


def _matcher(patterns: Sequence[str], where: str) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise IndexFault(f"A pattern in {where} is not valid: {error}.") from error


@dataclass(frozen=True)
class _Reading:
    """Reads the files of a folder one by one.

    Attributes:
        folder: folder of documents.
        settings: see `read_documents`.
        process: runs the readers of HTML, PDF and DOCX files.
        memory: see `read_documents`.
        sides: names of the side files of each file that has any.
        present: names of all visible files.
    """

    folder: Path
    settings: ReadSettings
    process: ReaderProcess
    memory: ExtractedTexts | None
    sides: Mapping[str, Sequence[str]]
    present: Set[str]

    def items(self, name: str) -> list[Document | Skipped]:
        """The documents in a file, or the reason why it was skipped; nothing for a side file."""
        try:
            described = described_file(name)
            if described is not None:
                if described not in self.present:
                    raise Unreadable(f"a side file of {PurePosixPath(described).name}, which does not exist")
                return []
            items = self._extracted(name, self._content(name))
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
        assert kind is not None  # noqa: S101, `_content` refuses other files
        if not kind.is_isolated:
            return kind.read(name, data, self.settings)
        items = self.memory.recall(name, data) if self.memory else None
        if items is None:
            items = self.process.read(name, data)
            if self.memory:
                self.memory.remember(name, data, items)
        return items

    def _properties(self, name: str) -> Properties | None:
        """What the side file of a file says; None if it has none.

        Raises:
            Unreadable: it has two, or the one it has cannot be read or understood.
        """
        sides = self.sides.get(name, ())
        if len(sides) > 1:
            raise Unreadable(f"it has two side files, {' and '.join(PurePosixPath(side).name for side in sides)}")
        if not sides:
            return None
        side = PurePosixPath(sides[0]).name
        try:
            return side_file(side, decode(self._content(sides[0])))
        except Unreadable as error:
            reason = str(error)
            raise Unreadable(reason if side in reason else f"its side file {side}: {reason}") from None

    def _content(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            Unreadable: it is not of a supported format, leads out of the folder, is too large, or cannot be read.
        """
        path = self.folder / name
        if path.is_symlink():
            self._check_link(path)
        if format_of(name) is None and described_file(name) is None:
            suffix = path.suffix or "no suffix"
            raise Unreadable(f"not a supported format ({suffix}); supported are {suffixes()}", by_rule=True)
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            raise Unreadable("the file name is not valid UTF-8; rename the file") from None
        return _bytes_of_regular_file(path, self.settings.limits.file_bytes)

    def _check_link(self, path: Path) -> None:
        target = path.resolve()
        if not target.is_relative_to(self.folder.resolve()):
            raise Unreadable("a link that leaves the folder of documents", by_rule=True)
        if target.is_dir():
            raise Unreadable("a link to a folder, whose files are read in their own place", by_rule=True)


def _bytes_of_regular_file(path: Path, limit: int) -> bytes:
    try:
        # Checked before the file is opened, because opening a pipe waits for its writer; and after, because the path
        # may by then lead elsewhere.
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


def _described(document: Document, properties: Properties, name: str) -> Document:
    """A document with the properties of its side file.

    They override those that the document itself states. The side file of a table applies to all rows, and the columns
    of a row override it.
    """
    if document.id == name:
        title = properties.title or document.title
        labels = document.labels if properties.labels is None else properties.labels
        metadata = {**document.metadata, **properties.metadata}
    else:
        title = document.title
        labels = document.labels or properties.labels or ()
        metadata = {**properties.metadata, **document.metadata}
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
    """The name itself if it is valid UTF-8, which output and storage need; else with the other bytes escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name
