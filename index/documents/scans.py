"""Has the scanned pages of PDFs read by character recognition, if that is turned on.

It takes seconds a page. So all files are read first, to know how many pages there are, and how long they will take is
said before they are recognised.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.formats.process import ReaderProcess
from index.documents.formats.settings import OcrSettings
from index.documents.recognised import RecognisedPages
from index.errors import IndexFault

if TYPE_CHECKING:
    from index.documents.formats.pdf.recognition import RecognisedPage

RecognitionProgress = Callable[[int, int, float | None], None]
"""Called with the pages done, all pages, and the seconds that the others will take (None: not known yet); first before
any page is recognised."""

_TELLING_PAGES = 4
"""Pages that are recognised before the time of the others is told from theirs, where none were recognised before."""


def refuse_missing_recognition(settings: OcrSettings) -> None:
    """Raise `IndexFault` if character recognition is turned on, and something that it needs is not installed."""
    if not settings.enabled:
        return
    wanted = "index.documents.ocr.enabled asks for character recognition"
    if any(importlib.util.find_spec(package) is None for package in ("pytesseract", "PIL")):
        raise IndexFault(f"{wanted}, which needs the package pytesseract; install ragft with the extra `ocr`.")
    program = shutil.which("tesseract")
    if program is None:
        raise IndexFault(
            f"{wanted}, which needs the program tesseract; install it (Debian and Ubuntu: tesseract-ocr) where the "
            "search path of programs finds it."
        )
    known = _languages(program)
    missing = [language for language in settings.languages if language not in known]
    if missing:
        packages = " ".join(f"tesseract-ocr-{language.lower().replace('_', '-')}" for language in missing)
        raise IndexFault(
            f"index.documents.ocr.languages names {', '.join(missing)}, but tesseract knows only "
            f"{', '.join(known) or 'none'}; install the data (Debian and Ubuntu: {packages}) or name others."
        )


def _languages(program: str) -> list[str]:
    """The languages whose data are installed; below a line that says where."""
    try:
        told = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IndexFault(f"The program {program} does not run ({error}); install tesseract anew.") from None
    return sorted(told.stdout.splitlines()[1:])


class Scans:
    """The scanned pages during one reading of a folder.

    Attributes:
        waiting: pages to be recognised of each file, by name; its items are not what they will be.
    """

    def __init__(
        self,
        root: Path | None,
        settings: OcrSettings,
        progress: RecognitionProgress | None = None,
        only_count: bool = False,
    ) -> None:
        """Begin to read a folder.

        Args:
            root: folder of the index that remembers recognised pages; None: nothing does.
            only_count: recognise nothing, and skip the pages that would have to be.
        """
        self.waiting: dict[str, int] = {}
        self._settings = settings
        self._known = RecognisedPages(root, settings)
        self._progress = progress
        self._only_count = only_count
        self._is_counting = True
        self._done = 0
        self._began = 0.0

    @property
    def pages(self) -> int:
        """How many pages have to be recognised."""
        return sum(self.waiting.values())

    @property
    def seconds(self) -> float | None:
        """How long they will take, by those that were recognised before; None if there were none."""
        rate = self._known.seconds_per_page()
        return None if rate is None else rate * self.pages

    @property
    def are_left(self) -> bool:
        """Whether pages are only counted, and there are some."""
        return self._only_count and bool(self.waiting)

    def are_awaited(self, name: str) -> bool:
        """Whether a file is to be read again after `begin`."""
        return name in self.waiting and not self._only_count

    def begin(self) -> list[str]:
        """Recognise pages from now on; returns the names of the files to read again."""
        if self._only_count or not self.waiting:
            return []
        self._is_counting = False
        self._began = time.monotonic()
        self._tell()
        return list(self.waiting)

    def forget_others(self) -> None:
        """Forget the recognised pages of all files that were not read this time."""
        if self._settings.enabled:
            self._known.forget_others()

    def read(
        self, process: ReaderProcess, memory: ExtractedTexts | None, name: str, data: bytes,
        items: list[Document | Skipped],
    ) -> list[Document | Skipped]:  # fmt: skip
        """What is in a file whose scanned pages are recognised.

        Args:
            items: what was read from it without.

        Raises:
            Unreadable: the reader failed.
        """
        numbers = [number for item in items if isinstance(item, Skipped) for number in item.scanned]
        if not numbers or not self._settings.enabled:
            return items
        pages = self._known.of(data)
        how = json.dumps(asdict(self._settings), sort_keys=True)
        found = memory.recall(name, data, how) if memory else None
        if found is not None:
            return found
        missing = [number for number in numbers if number not in pages]
        if missing and self._is_counting:
            self.waiting[name] = len(missing)
            return [_awaiting(item) if isinstance(item, Skipped) else item for item in items]
        for page in self._recognised(process, data, missing):
            pages[page.number] = page
        found = process.read(name, data, [pages[number] for number in numbers])
        if memory and all(page.is_final for page in pages.values()):
            memory.remember(name, data, found, how)
        return found

    def _recognised(self, process: ReaderProcess, data: bytes, numbers: Sequence[int]) -> Iterator[RecognisedPage]:
        last = time.monotonic()
        for page in process.recognise(data, numbers):
            now = time.monotonic()
            if not page.failure:
                self._known.remember(data, page, now - last)
            last = now
            self._done += 1
            self._tell()
            yield page

    def _tell(self) -> None:
        if self._progress is None:
            return
        left = self.seconds if self._done == 0 else None
        if self._done >= min(_TELLING_PAGES, self.pages):
            left = (time.monotonic() - self._began) / self._done * (self.pages - self._done)
        self._progress(self._done, self.pages, left)


def _awaiting(item: Skipped) -> Skipped:
    from index.documents.formats.pdf.scanned import listed

    return replace(item, reason=f"{listed(item.scanned)} will be read by character recognition")
