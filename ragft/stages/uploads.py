"""Documents that come through the endpoint: files of one folder below the documents, named by ids and never by paths.

An id is checked against a pattern that has no separator and no dot; the name of its file is made of it and of a suffix
from the table of formats. Nothing else in the folder of documents is written or deleted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from index.documents.formats import FORMATS, suffixes
from index.durable import fsync_folder, locked, write_file
from ragft.errors import UsageError
from ragft.stages.application import Application

if TYPE_CHECKING:
    from index.store.snapshot import Snapshot

FOLDER = "uploads"
"""Folder of these documents, below `index.documents.folder`."""

_ID = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_LONGEST_ID = 100
_LOCK = ".lock"  # hidden, so that no refresh sees it


class UnknownDocument(UsageError):
    """There is no document of this id."""


class UnknownFormat(UsageError):
    """There is no reader for documents of this format."""


@dataclass(frozen=True)
class Upload:
    """A document that came through the endpoint.

    Attributes:
        document: its file, as the index names documents: the path below their folder.
        size: in bytes.
    """

    id: str
    document: str
    size: int


@dataclass(frozen=True)
class UploadState:
    """What the live snapshot has of an upload.

    Attributes:
        state: `indexed`: all of it, as it is; `waiting`: the next refresh will take it; `skipped`: it cannot be read,
            and will not be found.
        reason: why it is skipped, else empty.
    """

    state: Literal["indexed", "waiting", "skipped"]
    reason: str = ""


def put(app: Application, id: str, form: str, data: bytes) -> tuple[Upload, list[str]]:  # noqa: A002
    """Writes a document, in place of the one of this id; a refresh finds it.

    Args:
        form: its format, as a suffix without the dot.

    Returns:
        The document, and the names of all files that were written or deleted, as a refresh is told them.

    Raises:
        UnknownFormat: documents of the format cannot be read.
        UsageError: the id is none.
        OSError: the disk is full or the folder not writable; the document is then as it was before.
    """
    name = _checked(id)
    suffix = f".{form.lower()}"
    if suffix not in FORMATS:
        raise UnknownFormat(f"Documents of the format {form[:20]!r} cannot be read; there are {suffixes()}.")
    with _writing(app) as folder:
        path = folder / f"{name}{suffix}"
        write_file(path, data)
        # After the new one is there: killed in between, both are, and the next request of this id ends that.
        others = [other for other, _ in _files(folder, name) if other != path]
        _unlink(folder, others)
    return Upload(name, f"{FOLDER}/{path.name}", len(data)), _names([path, *others])


def delete(app: Application, id: str) -> list[str]:  # noqa: A002
    """Deletes a document; the next refresh takes it from the index.

    Returns:
        The names of its files, as a refresh is told them.

    Raises:
        UsageError: the id is none.
        UnknownDocument: no document has it.
    """
    name = _checked(id)
    with _writing(app) as folder:
        files = [path for path, _ in _files(folder, name)]
        if not files:
            raise UnknownDocument(f"There is no document {name!r}.")
        _unlink(folder, files)
    return _names(files)


def uploads(app: Application, id: str | None = None) -> list[Upload]:  # noqa: A002
    """All documents that came through the endpoint, by id; or the one of an id.

    Raises:
        UsageError: the id is none.
        UnknownDocument: no document has it.
    """
    folder = _folder(app)
    if id is not None:
        found = _files(folder, _checked(id))[:1]
        if not found:
            raise UnknownDocument(f"There is no document {id!r}.")
    else:
        there = folder.iterdir() if folder.is_dir() else ()
        found = _stats(sorted(path for path in there if _ID.fullmatch(path.stem) and path.suffix in FORMATS))
    return [Upload(path.stem, f"{FOLDER}/{path.name}", told.st_size) for path, told in found]


def states(app: Application, snapshot: Snapshot, some: Sequence[Upload]) -> list[UploadState]:
    """What a snapshot has of uploads: they are read as a refresh would read them, and compared."""
    from index.documents.extracted import ExtractedTexts
    from index.documents.folder import read_files
    from index.documents.scans import Scans

    settings = app.config.index.documents.settings()
    # Pages are counted and not recognised, which would take minutes.
    scans = Scans(app.index_root, settings.ocr, only_count=True)
    read = read_files(
        app.config.index.documents.folder, [upload.document for upload in some], settings,
        ExtractedTexts(app.index_root, settings), scans,
    )  # fmt: skip
    table = snapshot.document_table
    live = dict(zip(table["id"].to_pylist(), table["hash"].to_pylist(), strict=True))
    reasons = {item.path.partition("#")[0]: item.reason for item in read.skipped}
    current: dict[str, bool] = {}
    for document in read.documents:
        file = document.id.partition("#")[0]
        current[file] = current.get(file, True) and live.get(document.id) == document.hash
    return [_state(current.get(upload.document), reasons.get(upload.document, "")) for upload in some]


def _state(is_current: bool | None, reason: str) -> UploadState:
    if is_current is None:
        return UploadState("skipped", reason or "It holds no text.")
    return UploadState("indexed" if is_current else "waiting")


def _checked(id: str) -> str:  # noqa: A002
    """An id that is one; what is returned is made of the pattern's letters alone."""
    match = _ID.fullmatch(id) if len(id) <= _LONGEST_ID else None
    if match is None:
        raise UsageError(
            f"An id has up to {_LONGEST_ID} small letters and digits, in groups joined by a hyphen or an underscore."
        )
    return match.group()


def _folder(app: Application) -> Path:
    return app.config.index.documents.folder / FOLDER


@contextmanager
def _writing(app: Application) -> Iterator[Path]:
    """The folder, in which nobody else writes meanwhile."""
    from index.documents.folder import refuse_missing

    folder = _folder(app)
    refuse_missing(folder.parent)
    folder.mkdir(exist_ok=True)
    with locked(folder / _LOCK, wait=True):
        yield folder


def _files(folder: Path, name: str) -> list[tuple[Path, os.stat_result]]:
    """The files of an id, the newest first: more than one only after a kill, or while one takes another's place."""
    return sorted(_stats(folder / f"{name}{suffix}" for suffix in FORMATS), key=lambda found: -found[1].st_mtime_ns)


def _stats(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    """Those that are files, each with what it is. It is asked once: who reads holds no lock, and between two looks a
    file may have been deleted.
    """
    found = []
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            told = path.stat()
            if stat.S_ISREG(told.st_mode):
                found.append((path, told))
    return found


def _unlink(folder: Path, files: Sequence[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    if files:
        fsync_folder(folder)


def _names(files: Sequence[Path]) -> list[str]:
    return [f"{FOLDER}/{path.name}" for path in files]
