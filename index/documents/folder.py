"""Reads a folder of documents: walks it, and passes each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. A file that cannot be read never stops the others: it is
listed as skipped, with the reason.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.formats import EXTRACTION_VERSION, format_of, suffixes
from index.documents.formats.encoding import decode
from index.documents.formats.process import ReaderProcess
from index.documents.formats.properties import Properties, side_file
from index.documents.formats.settings import ReadSettings, Unreadable, damage
from index.documents.passed_over import is_passed_over
from index.documents.side_files import SideFiles, described_file, side_files
from index.documents.walk import FileState, state_of, visible_files
from index.errors import IndexFault, NoDocuments

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from index.documents.unchanged import UnchangedFiles

IGNORE_FILE = ".ragftignore"
"""File in the folder of documents that holds patterns as in a `.gitignore`."""

_VANISHED = "vanished while the folder was read"
_MEANT_AS_LABELS = re.compile(rb"l\W*a\W*b\W*e\W*l|lable|\bacl|access|permission", re.IGNORECASE)
"""What a file holds that may say who may see a document."""
_PEEK = 65_536
"""Bytes of a misnamed side file in which that is looked for."""


def read_documents(
    folder: Path,
    settings: ReadSettings | None = None,
    memory: ExtractedTexts | None = None,
    unchanged: UnchangedFiles | None = None,
) -> tuple[list[Document], list[Skipped]]:
    """Read every file of a supported format below `folder`.

    Hidden files and folders, files that the patterns leave out, and what is known to be no document (see
    `index.documents.passed_over`) are ignored without being listed as skipped. Patterns do not apply to the side file
    of a document that is read.

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
    sides = side_files(found)
    states = _with_sides(folder, found, sides)
    names = unchanged.to_read(states) if unchanged else list(states)
    documents: list[Document] = []
    with ReaderProcess(settings) as process:
        reading = _Reading(folder, settings, process, memory, sides, found.keys())
        for name in sorted(names):
            read, passed = reading.split(name)
            documents += read
            skipped += passed
            if unchanged and read and not passed:
                unchanged.learn(name, states[name], read)
    if not documents and len(names) == len(states):
        reasons = "".join(f" {item.path}: {item.reason}." for item in skipped[:3])
        raise NoDocuments(
            f"The folder {folder} holds no readable document; put files of a supported format there ({suffixes()})."
            f"{reasons}"
        )
    documents, repeated = _with_unique_ids(documents)
    return documents, _by_path(skipped + repeated)


@dataclass(frozen=True, slots=True)
class FilesRead:
    """What was read from some files of a folder.

    Attributes:
        documents: sorted by id.
        skipped: sorted by path.
        names: the files and folders that were looked at: those named, and the documents that a named side file
            describes.
    """

    documents: list[Document]
    skipped: list[Skipped]
    names: frozenset[str]


def read_files(
    folder: Path, names: Iterable[str], settings: ReadSettings | None = None, memory: ExtractedTexts | None = None
) -> FilesRead:
    """Read some files as `read_documents` would, and look at no other folder than theirs.

    The names are compared with those of the files that are there, and never become paths themselves.

    Args:
        names: paths below `folder`, with forward slashes, of files, or of folders whose files are read; empty names
            `folder` itself. A file that would be ignored is listed as skipped; one that does not exist is not.
        settings, memory: as for `read_documents`.

    Raises:
        NoDocuments: the folder is missing.
        IndexFault: a pattern is not valid, or the ignore file cannot be read.
    """
    folder, settings, told = Path(folder), settings or ReadSettings(), set(names)
    # What has the name of a part of a file (`a.csv#1`) may be that part.
    told |= {name[:place] for name in told for place, letter in enumerate(name) if letter == "#"}
    refuse_missing(folder)
    above = {parent for name in told for parent in _parents(name)}
    below = tuple(f"{name}/" if name else "" for name in told)

    def is_told(name: str) -> bool:
        return name in told or name.startswith(below)

    # Names alone: the state of a file beside those told would not be used.
    found, skipped = _visible_files(folder, lambda name: False, lambda name: name in above or is_told(name))
    present = side_files(found)
    # Those that are gone, too: their documents must be read anew.
    sides = present if told <= found.keys() else side_files({*found, *told})
    affected = {name for name in sides.described() if not told.isdisjoint(sides.of(name))}
    is_wanted = _chosen_by_patterns(folder, settings)
    wanted: list[str] = []
    ignored: list[str] = []
    for name in sorted(name for name in found if name in affected or is_told(name)):
        is_read = not is_hidden(name) and (is_wanted is None or is_wanted(name))
        (wanted if is_read else ignored).append(name)
    documents: list[Document] = []
    with ReaderProcess(settings) as process:
        reading = _Reading(folder, settings, process, memory, present, found.keys())
        for name in wanted:
            read, passed = reading.split(name)
            documents += read
            skipped += passed
    linked = [name for name in told if not found.keys().isdisjoint(_parents(name))]
    passed_over = [name for name in wanted if name in told and is_passed_over(name)]
    for unread, why in (
        ([*passed_over, *(name for name in ignored if name in told)], "ignored by its name or by a pattern"),
        ([name for name in told - found.keys() if is_hidden(name)], "hidden, or in a hidden folder"),
        (linked, "in a folder that is a link, which is not followed"),
    ):
        skipped += [Skipped(_printable(name), why, by_rule=True) for name in unread]
    documents, repeated = _with_unique_ids(documents)
    return FilesRead(documents, _by_path(skipped + repeated), frozenset(told | affected))


def _parents(name: str) -> list[str]:
    """The folders that a file or folder is in."""
    return [name[:place] for place, letter in enumerate(name) if letter == "/"]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden by its own name or by that of a folder above it."""
    return name.startswith(".") or "/." in name


def refuse_missing(folder: Path) -> None:
    """Raise `NoDocuments` if a folder of documents does not exist."""
    try:
        exists = folder.is_dir()
    except OSError as error:
        raise _unreadable_folder(folder, error) from None
    if not exists:
        raise NoDocuments(f"The folder of documents {folder} does not exist; create it or name another one.")


def _unreadable_folder(folder: Path, error: OSError) -> NoDocuments:
    return NoDocuments(f"The folder of documents {folder} cannot be read ({error.strerror}); change its mode.")


def reading_of(folder: Path, settings: ReadSettings) -> str:
    """Everything but a file and its side files that decides what is read from it, as a text to compare."""
    return json.dumps([EXTRACTION_VERSION, os.path.realpath(folder), _as_values(settings)], sort_keys=True)


@lru_cache(maxsize=8)
def _as_values(settings: ReadSettings) -> dict[str, Any]:
    return asdict(settings)


def _by_path(skipped: Iterable[Skipped]) -> list[Skipped]:
    return sorted(skipped, key=lambda item: (item.path, item.reason))


def _visible_files(
    folder: Path, is_wanted: Callable[[str], bool] | None, is_entered: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, FileState | None], list[Skipped]]:
    """The state of every visible file by name, None if it is not wanted; and the folders that cannot be read."""
    skipped: list[Skipped] = []

    def skip(name: str, error: OSError) -> None:
        if not name:
            raise _unreadable_folder(folder, error)
        skipped.append(Skipped(_printable(name), _reason(error)))

    return dict(visible_files(folder, is_wanted, skip, is_entered)), skipped


def _with_sides(folder: Path, found: Mapping[str, FileState | None], sides: SideFiles) -> dict[str, FileState]:
    """The states of the wanted files, each combined with those of all files that have a say in who may see it."""
    states = {name: state for name, state in found.items() if state is not None}
    for name in sides.described() & states.keys():
        parts = [states[name]]
        for side in sides.of(name):
            state = found[side]  # None if patterns leave it out, which does not open its document
            parts.append(state_of(folder / side) if state is None else state)
        states[name] = b"".join(parts) if all(parts) else b""
    return states


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
    ignore = folder / IGNORE_FILE
    ignored = _lines_of(ignore)
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


def _lines_of(ignore: Path) -> list[str]:
    """The lines of the ignore file; none if there is no such file."""
    try:
        return ignore.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise IndexFault(f"The ignore file {ignore} is not valid UTF-8; save it as UTF-8.") from None
    except OSError as error:
        # A link that leads nowhere is no missing file: it would let in what it was meant to keep out.
        if isinstance(error, FileNotFoundError) and not os.path.lexists(ignore):
            return []
        raise IndexFault(
            f"The ignore file {ignore} cannot be read ({error.strerror}); make it a file that this user may read, or "
            "remove it."
        ) from None


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
    sides: SideFiles
    present: Set[str]
    """Names of all visible files."""

    def split(self, name: str) -> tuple[list[Document], list[Skipped]]:
        """The documents in a file, and what of it was skipped."""
        items = self.items(name)
        skipped = [item for item in items if isinstance(item, Skipped)]
        return [item for item in items if isinstance(item, Document)], skipped

    def items(self, name: str) -> list[Document | Skipped]:
        """The documents in a file, or the reason why it was skipped; nothing for a side file."""
        if is_passed_over(name):
            return []
        try:
            described = described_file(name)
            if described is not None:
                if described not in self.present:
                    raise Unreadable(f"a side file of {PurePosixPath(described).name}, which does not exist")
                return []
            return self._restricted(name, self._described(name, self._extracted(name, self._content(name))))
        except Unreadable as error:
            return [Skipped(_printable(name), str(error), error.by_rule)]
        except UnicodeEncodeError:
            return [Skipped(_printable(name), "its title or metadata holds half a character (a lone surrogate)")]
        except IndexFault:  # concerns more than this file
            raise
        except Exception as error:  # one bad file stops nothing, whatever is wrong with it
            return [Skipped(_printable(name), damage(error))]

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

    def _described(self, name: str, items: list[Document | Skipped]) -> list[Document | Skipped]:
        """The documents of a file with what its side file says."""
        properties = self._properties(name)
        if properties is not None:
            items = [_described(item, properties, name) if isinstance(item, Document) else item for item in items]
        for side in self.sides.misnamed.get(name, ()):
            is_settled = properties is not None and all(item.labels for item in items if isinstance(item, Document))
            if not is_settled and self._may_hold_labels(side):
                raise Unreadable(
                    f"{PurePosixPath(side).name} may be meant to say who may see it, but is not named as its side "
                    f"file; rename it to {PurePosixPath(name).name}.meta.yaml (or .meta.json), or remove it"
                )
        return items

    def _restricted(self, name: str, items: list[Document | Skipped]) -> list[Document | Skipped]:
        """The documents of a file, those without labels with the default ones; without any if labels are required."""
        default, is_required = self.settings.default_labels, self.settings.require_labels
        if not default and not is_required:
            return items
        documents = [item for item in items if isinstance(item, Document)]
        others: list[Document | Skipped] = [item for item in items if isinstance(item, Skipped)]
        if default:
            return [*(item if item.labels else _changed(item, labels=default) for item in documents), *others]
        labelled = [item for item in documents if item.labels]
        missing = len(documents) - len(labelled)
        if missing:
            which = "it has no access labels" if documents[0].id == name else f"{missing} rows have no access labels"
            others.append(Skipped(name, f"{which}, which index.documents.require_labels asks for", by_rule=True))
        return [*labelled, *others]

    def _properties(self, name: str) -> Properties | None:
        """What the side file of a file says; None if it has none."""
        sides = self.sides.own.get(name, ())
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

    def _may_hold_labels(self, name: str) -> bool:
        """Whether a file that looks like a side file may say who may see its document."""
        try:
            if not stat.S_ISREG((self.folder / name).stat().st_mode):
                return True
            with (self.folder / name).open("rb") as file:
                return _MEANT_AS_LABELS.search(file.read(_PEEK).replace(b"\0", b"")) is not None
        except OSError:
            return True

    def _content(self, name: str) -> bytes:
        """The bytes of a file of a supported format inside the folder; anything else raises `Unreadable`."""
        path = self.folder / name
        try:
            if path.is_symlink():
                _refuse_link(path, self.folder)
        except OSError as error:
            raise Unreadable(_reason(error)) from None
        if format_of(name) is None and described_file(name) is None:
            suffix = path.suffix or "no suffix"
            raise Unreadable(f"not a supported format ({suffix}); supported are {suffixes()}", by_rule=True)
        if _printable(str(path)) != str(path):
            raise Unreadable("the file name is not valid UTF-8; rename the file")
        return _bytes_of_regular_file(path, self.settings.limits.file_bytes)


def _refuse_link(path: Path, folder: Path) -> None:
    """Refuse a link that does not lead to a file inside the folder."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise Unreadable("a link that leaves the folder of documents", by_rule=True)
    try:
        target = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unreadable("a link that leads back to itself", by_rule=True) from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise Unreadable("a link to a file that does not exist", by_rule=True) from None
        raise
    if stat.S_ISDIR(target.st_mode):
        raise Unreadable("a link to a folder, whose files are read in their own place", by_rule=True)


def _bytes_of_regular_file(path: Path, limit: int) -> bytes:
    try:
        # Checked before the file is opened, because opening a pipe waits for its writer; and after, because the path
        # may by then lead elsewhere.
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable("not a regular file", by_rule=True)
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("not a regular file", by_rule=True)
            data = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(_reason(error)) from None
    if len(data) > limit:
        raise Unreadable(f"more than {limit} bytes")
    return data


def _reason(error: OSError) -> str:
    """Why a file or folder that was there a moment ago cannot be read."""
    is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return _VANISHED if is_gone else f"cannot be read ({error.strerror})"


def _described(document: Document, properties: Properties, name: str) -> Document:
    """A document with the properties of its side file, which override its own; the columns of a row override them."""
    if document.id == name:
        return _changed(
            document,
            title=properties.title or document.title,
            labels=properties.labels or document.labels,
            metadata={**document.metadata, **properties.metadata},
        )
    labels, metadata = document.labels or properties.labels, {**properties.metadata, **document.metadata}
    return _changed(document, labels=labels, metadata=metadata)


def _changed(document: Document, **changes: Any) -> Document:
    """A document with other properties, and the hash of these."""
    values = {item.name: getattr(document, item.name) for item in fields(document) if item.name not in ("id", "hash")}
    text = values.pop("text")
    return Document.of(document.id, text, **values | changes)


def _printable(name: str) -> str:
    """The name itself if it is valid UTF-8, which output and storage need; else with the other bytes escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name
