"""How much of a printed page character recognition reads, and how long it takes.

    python benchmarks/ocr.py FILE.pdf [FILE.pdf ...] [--dpi 200] [--pages 10] [--noise 0]

Pages of PDFs with a text layer are drawn as pictures, put into a PDF without text, and read as the index would. The
words of the text layer are the truth. Pages are taken evenly from all files; pages with fewer than a hundred words are
passed over.
"""

from __future__ import annotations

import argparse
import io
import re
import resource
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pypdfium2 as pdfium

from index.documents.document import Document
from index.documents.formats.pdf.file import read
from index.documents.formats.pdf.recognition import recognised_pages
from index.documents.formats.settings import OcrSettings, ReadSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_WORD = re.compile(r"\w+")
_FEWEST_WORDS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--dpi", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise, in shades of 256")
    parser.add_argument("--turned", type=int, default=0, help="degrees by which every page lies on its side")
    chosen = parser.parse_args()

    share = -(-chosen.pages // len(chosen.files))
    pages = [page for file in chosen.files for page in pages_of(file, share, chosen.dpi)][: chosen.pages]
    generator = np.random.default_rng(0)
    scan = as_scan([worse(picture, chosen.noise, chosen.turned, generator) for _, picture in pages], chosen.dpi)
    settings = ReadSettings(ocr=OcrSettings(enabled=True))

    begin, before = time.perf_counter(), processor_seconds()
    found = list(recognised_pages(scan, range(1, len(pages) + 1), settings.ocr))
    wall, spent = time.perf_counter() - begin, processor_seconds() - before
    documents = [item for item in read("scan.pdf", scan, settings, found) if isinstance(item, Document)]
    recognised = texts_of(documents[0]) if documents else [""] * len(pages)

    held = expected = 0
    for (text, _), page, read_text in zip(pages, found, recognised, strict=True):
        truth, words = words_of(text), words_of(read_text)
        hits = (truth & words).total()
        held, expected = held + hits, expected + truth.total()
        precision = hits / max(words.total(), 1)
        print(
            f"page {page.number}: {truth.total()} words, recall {hits / truth.total():.3f}, precision {precision:.3f}, "
            f"confidence {page.confidence or 0:.3f}"
        )
    confidence = statistics.fmean(page.confidence or 0.0 for page in found)
    print(
        f"{len(pages)} pages at {chosen.dpi} dpi: word recall {held / expected:.4f}, confidence {confidence:.3f}, "
        f"{wall / len(pages):.2f} s a page, {spent / len(pages):.2f} s of a processor"
    )


def pages_of(file: Path, count: int, dpi: int) -> Iterator[tuple[str, Image]]:
    """The text of some pages, spread over a file, and their pictures."""
    pdf = pdfium.PdfDocument(file)
    texts = [page.get_textpage().get_text_range() for page in pdf]
    full = [number for number, text in enumerate(texts) if len(_WORD.findall(text)) >= _FEWEST_WORDS]
    for place in np.linspace(0, len(full) - 1, min(count, len(full)) + 2).astype(int)[1:-1]:
        number = full[place]
        yield texts[number], pdf[number].render(scale=dpi / 72, grayscale=True).to_pil()


def worse(picture: Image, noise: float, turned: int, generator: Any) -> Image:
    """A picture with noise, lying on its side."""
    from PIL import Image

    shades = np.asarray(picture, dtype=np.float32)
    shades = shades + generator.normal(0, noise, shades.shape) if noise else shades
    return Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8)).rotate(turned, expand=True)


def as_scan(pictures: list[Image], dpi: int) -> bytes:
    """A PDF of nothing but these pictures."""
    out = io.BytesIO()
    pictures[0].save(out, "PDF", save_all=True, append_images=pictures[1:], resolution=dpi)
    return out.getvalue()


def texts_of(document: Document) -> list[str]:
    """The text of each page."""
    ends = [*document.page_starts[1:], len(document.text)]
    return [document.text[start:end] for start, end in zip(document.page_starts, ends, strict=True)]


def words_of(text: str) -> Counter[str]:
    """Words without case; words that a line end divides are put together, as the reader of PDFs does."""
    joined = re.sub(r"(?<=\w)(?:[\x02\ufffe]|-)\s*\r?\n(?=\w)|[\x02\ufffe]", "", text)
    return Counter(word.casefold() for word in _WORD.findall(joined))


def processor_seconds() -> float:
    """Of this process and the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
