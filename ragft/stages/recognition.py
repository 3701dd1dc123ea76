"""Character recognition of scanned pages, told to whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ragft.console import Advance, Reporter, counted, duration

if TYPE_CHECKING:
    from index.documents.formats.settings import ReadSettings
    from index.documents.scans import RecognitionProgress, Scans

_WORTH_TELLING = 30.0
"""Seconds from which on it is said beforehand how long recognition will take."""


@contextmanager
def recognising(root: Path, settings: ReadSettings, reporter: Reporter) -> Iterator[Scans]:
    """What reading documents needs to recognise their scanned pages, with progress; the index remembers them."""
    from index.documents.scans import Scans

    with reporter.phases() as phase:
        yield Scans(root, settings.ocr, recognition_progress(reporter, phase))


def recognition_progress(reporter: Reporter, phase: Callable[[str], Advance]) -> RecognitionProgress:
    """Says how long recognition will take as soon as that is known, if it is long, and then how far it is."""
    is_told = False

    def advance(done: int, total: int, seconds: float | None) -> None:
        nonlocal is_told
        if not is_told and seconds is not None:
            is_told = True
            if seconds > _WORTH_TELLING:
                reporter.say(f"{recognition_line(total - done, seconds)}; no page is recognised twice.")
        phase("Recognising pages")(done, total, "pages")

    return advance


def recognition_line(pages: int, seconds: float | None) -> str:
    """How long character recognition will take; None: no page was recognised here before."""
    told = "a few seconds a page" if seconds is None else f"{duration(seconds)}, as measured here"
    return f"Recognising {counted(pages, 'scanned page')} will take {told}"
