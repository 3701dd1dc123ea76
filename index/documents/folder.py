"""Reads a folder of documents: walks it, and passes each file to the reader of its format.

Knows files and their text, nothing of chunks or vectors. A file that cannot be read never stops the others: it is
listed as skipped, with the reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.files import FileReader, printable, reason_of
from index.documents.formats import EXTRACTION_VERSION, suffixes
from index.documents.formats.process import ReaderProcess
from index.documents.formats.settings import ReadSettings
from index.documents.passed_over import is_passed_over
from index.documents.scans import Scans, refuse_missing_recognition
from index.documents.side_files import SideFiles, described_file, side_files
from index.documents.walk import FileState, state_of, visible_files
from index.errors import IndexFault, NoDocuments

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from index.documents.unchanged import UnchangedFiles

IGNORE_FILE = ".ragftignore"
"""File in the folder of documents that holds patterns as in a `.gitignore`."""


def read_documents(
    folder: Path,
    settings: ReadSettings | None = None,
    memory: ExtractedTexts | None = None,
    unchanged: UnchangedFiles | None = None,
    scans: Scans | None = None,
) -> tuple[list[Document], list[Skipped]]:
    """Read every file of a supported format below `folder`.

    Hidden files and folders, files that the patterns leave out, and what is known to be no document (see
    `index.documents.passed_over`) are ignored without being listed as skipped. Patterns do not apply to the side file
    of a document that is read.

    Args:
        settings: which files are read, how, and their limits; None: the defaults.
        memory: cache of what was extracted from HTML, PDF and DOCX files; None: all of them are extracted.
        unchanged: decides which files need not be read and is told what the others hold; None: every file is read.
        scans: has scanned pages recognised, if `settings` ask for that; None: without remembering any.

    Returns:
        The documents sorted by id, without those of unchanged files, and what was skipped, sorted by path.

    Raises:
        NoDocuments: the folder is missing, or no file in it can be read.
        IndexFault: a pattern is not valid, the ignore file cannot be read, or what recognises characters is missing.
    """
    folder, settings = Path(folder), settings or ReadSettings()
    refuse_missing(folder)
    refuse_missing_recognition(settings.ocr)
    found, skipped = _visible_files(folder, _chosen_by_patterns(folder, settings))
    sides = side_files(found)
    states = _with_sides(folder, found, sides)
    names = unchanged.to_read(states) if unchanged else list(states)
    documents: list[Document] = []
    scans = scans or Scans(None, settings.ocr)
    with ReaderProcess(settings) as process:
        reading = FileReader(folder, settings, process, memory, scans, sides, found.keys())
        for name, read, passed in reading.all(sorted(names)):
            documents += read
            skipped += passed
            if unchanged and read and not passed:
                unchanged.learn(name, states[name], read)
    if not documents and len(names) == len(states) and not scans.are_left:
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
        names: the files and folders that were looked at: those named, and documents whose side files they are, share or
            take.
    """

    documents: list[Document]
    skipped: list[Skipped]
    names: frozenset[str]


def read_files(
    folder: Path,
    names: Iterable[str],
    settings: ReadSettings | None = None,
    memory: ExtractedTexts | None = None,
    scans: Scans | None = None,
) -> FilesRead:
    """Read some files as `read_documents` would, and look at no other folder than theirs.

    The names are compared with those of the files that are there, and never become paths themselves.

    Args:
        names: paths below `folder`, with forward slashes, of files, or of folders whose files are read; empty names
            `folder` itself. A file that would be ignored is listed as skipped; one that does not exist is not.
        settings, memory, scans: as for `read_documents`.

    Raises:
        NoDocuments: the folder is missing.
        IndexFault: a pattern is not valid, the ignore file cannot be read, or what recognises characters is missing.
    """
    folder, settings, told = Path(folder), settings or ReadSettings(), set(names)
    refuse_missing(folder)
    refuse_missing_recognition(settings.ocr)
    above = {parent for name in told for parent in _parents(name)}
    below = tuple(f"{name}/" if name else "" for name in told)

    def is_told(name: str) -> bool:
        return name in told or name.startswith(below)

    # Names alone: the state of a file beside those told would not be used.
    found, skipped = _visible_files(folder, lambda name: False, lambda name: name in above or is_told(name))
    # What has the name of a part of a file (`a.csv#1`) may be that part.
    told |= {name[:place] for name in told for place, letter in enumerate(name) if letter == "#"} & found.keys()
    present = side_files(found)
    # With those that are gone, too.
    with_told = present if told <= found.keys() else side_files({*found, *told})
    taken = {side for name in told for side in with_told.of(name)}
    views = [present, with_told]
    if taken:  # from another document, to which they belonged before or do now
        views.append(side_files(found.keys() - told))
    touched = told | taken
    affected = {name for sides in views for name in sides.described() if not touched.isdisjoint(sides.of(name))}
    is_wanted = _chosen_by_patterns(folder, settings)

    def is_read(name: str) -> bool:
        return not is_hidden(name) and (is_wanted is None or is_wanted(name))

    asked = sorted(name for name in found if name in affected or is_told(name))
    wanted = [name for name in asked if is_read(name)]
    documents: list[Document] = []
    scans = scans or Scans(None, settings.ocr)
    with ReaderProcess(settings) as process:
        reading = FileReader(folder, settings, process, memory, scans, present, found.keys())
        for _, read, passed in reading.all(wanted):
            documents += read
            skipped += passed
        # A part may have the name of another file; which of the two counts is decided where both are known.
        rivals = sorted({document.id for document in documents} & found.keys() - set(wanted))
        for _, read, passed in reading.all(filter(is_read, rivals)):
            documents += read
            skipped += passed
    linked = [name for name in told if not found.keys().isdisjoint(_parents(name))]
    ignored = [name for name in asked if name in told and (is_passed_over(name) or not is_read(name))]
    for unread, why in (
        (ignored, "ignored by its name or by a pattern"),
        ([name for name in told - found.keys() if is_hidden(name)], "hidden, or in a hidden folder"),
        (linked, "in a folder that is a link, which is not followed"),
    ):
        skipped += [Skipped(printable(name), why, by_rule=True) for name in unread]
    documents, repeated = _with_unique_ids(documents)
    return FilesRead(documents, _by_path(skipped + repeated), frozenset(told | affected | set(rivals)))


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
        skipped.append(Skipped(printable(name), reason_of(error)))

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
