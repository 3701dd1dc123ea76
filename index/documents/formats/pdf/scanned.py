"""Which pages of a PDF have no text that can be read, what character recognition made of them, and how both is said."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from index.documents.document import Metadata, Value
from index.documents.formats.pdf.legibility import is_illegible
from index.documents.formats.pdf.lines import PageLines
from index.documents.formats.pdf.recognition import RecognisedPage, shows_nothing
from index.documents.formats.settings import OcrSettings

PAGES, EMPTY_PAGES = "ocr_pages", "ocr_empty_pages"
CONFIDENCE, LOWEST_CONFIDENCE = "ocr_confidence", "ocr_lowest_confidence"
"""Metadata of a document with scanned pages: those that were recognised, and those that show something but no word;
the mean confidence of the recognised ones, and that of the worst."""

_TURN_ON = (
    "turn on character recognition (index.documents.ocr.enabled, with the extra `ocr` of ragft), or run it over the "
    "file with another program"
)


@dataclass(frozen=True, slots=True)
class ScannedPages:
    """The pages of a PDF, from 1, that show something but have no text, or a text that is not legible."""

    blank: tuple[int, ...]
    illegible: tuple[int, ...]
    count: int
    """Number of all pages of the file."""

    @classmethod
    def among(cls, pdf: Any, pages: Sequence[PageLines]) -> ScannedPages:
        """Look for them among the pages of an open file."""
        texts = [" ".join(line.text for line in page.lines) for page in pages]
        blank = [place + 1 for place, text in enumerate(texts) if not text and not shows_nothing(pdf[place])]
        illegible = [number for number, text in enumerate(texts, start=1) if is_illegible(text)]
        return cls(tuple(blank), tuple(illegible), len(pages))

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(sorted((*self.blank, *self.illegible)))

    def with_recognised(
        self, pages: Sequence[PageLines], recognised: Sequence[RecognisedPage] | None, settings: OcrSettings
    ) -> tuple[list[PageLines], Metadata, str]:
        """The pages with what was recognised on them, and without what is not legible; metadata that say so; and why
        some pages are not read, empty if all are."""
        read = list(pages)
        for number in self.numbers:
            read[number - 1] = read[number - 1]._replace(lines=[])
        if recognised is None:
            return read, {}, self._faults()
        good = [page for page in recognised if page.confidence is not None and not _is_unreliable(page, settings)]
        for page in good:
            read[page.number - 1] = page.content
        faults = [*_unreliable(recognised, settings), *_failed(recognised)]
        if not faults and self.numbers and not any(page.lines for page in read):
            faults = [f"no text on {self.count} pages, and character recognition finds none"]
        empty = [page.number for page in recognised if page.is_empty]
        return read, _metadata(good, empty), "; ".join(faults)

    def _faults(self) -> str:
        """Why pages are not read that have not been recognised."""
        reasons = []
        if len(self.blank) == self.count:
            reasons.append(f"no text on {self.count} pages (scanned?)")
        elif self.blank:
            reasons.append(f"no text on {listed(self.blank)} of {self.count} (scanned?)")
        if len(self.illegible) == self.count:
            reasons.append("its text is not legible, because its fonts do not say which characters they show")
        elif self.illegible:
            reasons.append(f"text that is not legible on {listed(self.illegible)} of {self.count}")
        return "; ".join([*reasons, _TURN_ON]) if reasons else ""


def _is_unreliable(page: RecognisedPage, settings: OcrSettings) -> bool:
    return page.confidence is not None and page.confidence < settings.min_confidence


def _unreliable(recognised: Iterable[RecognisedPage], settings: OcrSettings) -> list[str]:
    unsure = [f"page {page.number} ({page.confidence:.2f})" for page in recognised if _is_unreliable(page, settings)]
    if not unsure:
        return []
    least = settings.min_confidence
    return [f"recognised with less confidence than index.documents.ocr.min_confidence {least:g}: {', '.join(unsure)}"]


def _failed(recognised: Iterable[RecognisedPage]) -> list[str]:
    by_reason: dict[str, list[int]] = {}
    for page in recognised:
        if page.failure:
            by_reason.setdefault(page.failure, []).append(page.number)
    return [f"{listed(numbers)} not recognised: {reason}" for reason, numbers in by_reason.items()]


def _metadata(good: Sequence[RecognisedPage], empty: Sequence[int]) -> Metadata:
    confidences = [page.confidence for page in good if page.confidence is not None]
    metadata: dict[str, Value] = {}
    if confidences:
        metadata[PAGES] = _runs(page.number for page in good)
        metadata[CONFIDENCE] = round(statistics.fmean(confidences), 2)
        metadata[LOWEST_CONFIDENCE] = round(min(confidences), 2)
    if empty:
        metadata[EMPTY_PAGES] = _runs(empty)
    return metadata


def listed(numbers: Sequence[int]) -> str:
    """Page numbers as a reader lists them: `pages 2-5, 7`."""
    return f"{'page' if len(numbers) == 1 else 'pages'} {_runs(numbers)}"


def _runs(numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
