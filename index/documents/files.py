"""Reads one file of a folder of documents: its bytes, with the reader of its format, and what its side file says.

A file that cannot be read never stops the others: it is skipped, with the reason.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.formats import format_of, suffixes
from index.documents.formats.encoding import decode
from index.documents.formats.process import ReaderProcess
from index.documents.formats.properties import Properties, side_file
from index.documents.formats.settings import ReadSettings, Unreadable, damage
from index.documents.passed_over import is_passed_over
from index.documents.scans import Scans
from index.documents.side_files import SideFiles, described_file
from index.errors import IndexFault

_VANISHED = "vanished while the folder was read"
_MEANT_AS_LABELS = re.compile(rb"l\W*a\W*b\W*e\W*l|lable|\bacl|access|permission", re.IGNORECASE)
"""What a file holds that may say who may see a document."""
_PEEK = 65_536
"""Bytes of a misnamed side file in which that is looked for."""


@dataclass(frozen=True)
class FileReader:
    """Reads the files of a folder one by one."""

    folder: Path
    settings: ReadSettings
    process: ReaderProcess
    memory: ExtractedTexts | None
    scans: Scans
    sides: SideFiles
    present: Set[str]
    """Names of all visible files."""

    def all(self, names: Iterable[str]) -> Iterator[tuple[str, list[Document], list[Skipped]]]:
        """Names of files, the documents in them, and what of them was skipped; those whose scanned pages have to be
        recognised come last."""
        for name in names:
            found = self.split(name)
            if not self.scans.are_awaited(name):
                yield name, *found
        for name in self.scans.begin():
            yield name, *self.split(name)

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
            return [Skipped(printable(name), str(error), error.by_rule)]
        except UnicodeEncodeError:
            return [Skipped(printable(name), "its title or metadata holds half a character (a lone surrogate)")]
        except IndexFault:  # concerns more than this file
            raise
        except Exception as error:  # one bad file stops nothing, whatever is wrong with it
            return [Skipped(printable(name), damage(error))]

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
        return self.scans.read(self.process, self.memory, name, data, items)

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
            raise Unreadable(reason_of(error)) from None
        if format_of(name) is None and described_file(name) is None:
            suffix = path.suffix or "no suffix"
            raise Unreadable(f"not a supported format ({suffix}); supported are {suffixes()}", by_rule=True)
        if printable(str(path)) != str(path):
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
        raise Unreadable(reason_of(error)) from None
    if len(data) > limit:
        raise Unreadable(f"more than {limit} bytes")
    return data


def reason_of(error: OSError) -> str:
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


def printable(name: str) -> str:
    """The name itself if it is valid UTF-8, which output and storage need; else with the other bytes escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name
