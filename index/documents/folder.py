"""Reads a folder of documents: walks it, and passes each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. A file that cannot be read never stops the others: it is
listed as skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
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
    found, skipped = _visible_files(folder, _chosen_by_patterns(folder, settings))
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
    """Raise `NoDocuments` if a folder of documents does not exist."""
    if not folder.is_dir():
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")


def reading_of(folder: Path, settings: ReadSettings) -> str:
    """Everything but a file and its side files that decides what is read from it, as a text to compare."""
    return json.dumps([EXTRACTION_VERSION, str(folder.resolve()), asdict(settings)], sort_keys=True)


def _visible_files(
    folder: Path, is_wanted: Callable[[str], bool] | None
) -> tuple[dict[str, FileState | None], list[Skipped]]:
    """The state of every visible file by name, None if it is not wanted; and the folders that cannot be read."""
    skipped: list[Skipped] = []

    def skip(name: str, error: OSError) -> None:
        if not name:
            raise NoDocuments(f"The folder of documents {folder} cannot be read ({error.strerror}); change its mode.")
        skipped.append(Skipped(_printable(name), f"cannot be read ({error.strerror})"))

    return dict(visible_files(folder, is_wanted, skip)), skipped


def _with_sides(states: Mapping[str, FileState]) -> tuple[dict[str, FileState], dict[str, list[str]]]:
    """The state of each file combined with those of its side files; and the names of its side files, if it has any."""
    combined, sides = dict(states), dict[str, list[str]]()
    described = {side: name for side in states if (name := described_file(side)) is not None and name in states}
    for side, name in sorted(described.items()):
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


def _chosen_by_patterns(folder: Path, settings: ReadSettings) -> Callable[[str], bool] | None:
    """Whether a file matches `include`, and neither `exclude` nor the ignore file; None if there are no patterns."""
    ignore = folder / _IGNORE_FILE
    try:
        ignored = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise IndexFault(f"The ignore file {ignore} cannot be read ({error}); save it as UTF-8.") from error
    if not (settings.include or settings.exclude or ignored):
        return None
    included = _matcher(settings.include, "index.documents.include") if settings.include else None
    exclusions = ((settings.exclude, "index.documents.exclude"), (ignored, str(ignore)))
    excluded = [_matcher(patterns, where) for patterns, where in exclusions if patterns]

    def is_wanted(name: str) -> bool:
        if included is not None and described_file(name) is None and not included.match_file(name):
            return False
        return not any(matcher.match_file(name) for matcher in excluded)

    return is_wanted


def _matcher(patterns: Sequence[str], where: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise IndexFault(f"A pattern in {where} is not valid: {error}.") from error


@dataclass(frozen=True)
class _Reading:
    """Reads the files of a folder one by one."""

    folder: Path
    settings: ReadSettings
    process: ReaderProcess
    memory: ExtractedTexts | None
    sides: Mapping[str, Sequence[str]]
    """Names of the side files of each file that has any."""
    present: Set[str]
    """Names of all visible files."""

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
        """What the side file of a file says; None if it has none."""
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
        """The bytes of a file of a supported format inside the folder; anything else raises `Unreadable`."""
        path = self.folder / name
        if path.is_symlink():
            target = path.resolve()
            if not target.is_relative_to(self.folder.resolve()):
                raise Unreadable("a link that leaves the folder of documents", by_rule=True)
            if target.is_dir():
                raise Unreadable("a link to a folder, whose files are read in their own place", by_rule=True)
        if format_of(name) is None and described_file(name) is None:
            suffix = path.suffix or "no suffix"
            raise Unreadable(f"not a supported format ({suffix}); supported are {suffixes()}", by_rule=True)
        if _printable(str(path)) != str(path):
            raise Unreadable("the file name is not valid UTF-8; rename the file")
        return _bytes_of_regular_file(path, self.settings.limits.file_bytes)


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
    """A document with the properties of its side file, which override its own; the columns of a row override them."""
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
