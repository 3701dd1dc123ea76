"""Scanned pages, and a stand-in for the program that recognises them."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
import pytest

needs_wrapper = pytest.mark.skipif(
    importlib.util.find_spec("pytesseract") is None, reason="the extra `ocr` is not installed (pytesseract)"
)
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="the program tesseract is not installed (Debian: tesseract-ocr)"
)


def scan(*pages: Sequence[str], turned: int = 0) -> bytes:
    """A PDF of pictures of pages of A4 with these lines, at 100 dots per inch; no line: blank paper.

    Args:
        turned: degrees, counterclockwise, by which the pages lie on their side.
    """
    draw, font = pytest.importorskip("PIL.ImageDraw"), pytest.importorskip("PIL.ImageFont")
    from PIL import Image

    pictures = []
    for lines in pages:
        picture = Image.new("L", (827, 1169), 255)
        pen = draw.Draw(picture)
        for number, line in enumerate(lines):
            pen.text((80, 80 + 36 * number), line, font=font.load_default(28), fill=0)
        pictures.append(picture.rotate(turned, expand=True))
    out = io.BytesIO()
    pictures[0].save(out, "PDF", save_all=True, append_images=pictures[1:], resolution=100)
    return out.getvalue()


def joined(*files: bytes) -> bytes:
    """The pages of several PDFs in one."""
    whole = pdfium.PdfDocument.new()
    for data in files:
        whole.import_pages(pdfium.PdfDocument(data))
    out = io.BytesIO()
    whole.save(out)
    return out.getvalue()


def hocr(*lines: str, confidence: int = 90) -> str:
    """What tesseract says of a page with these lines, each word 100 dots wide and 40 high."""
    spans = []
    for row, line in enumerate(lines):
        top = 300 + 60 * row
        words = [
            f"<span class='ocrx_word' title='bbox {300 + 120 * place} {top} {400 + 120 * place} {top + 40}; "
            f"x_wconf {confidence}'>{word}</span>"
            for place, word in enumerate(line.split(" "))
        ]
        title = f"bbox 300 {top} 1500 {top + 40}; baseline 0 -8; x_size 40; x_descenders 8; x_ascenders 8"
        spans.append(f"<span class='ocr_line' title='{title}'>{' '.join(words)}</span>")
    paragraph = f"<p class='ocr_par' lang='eng'>{''.join(spans)}</p>" if spans else ""
    return f"<html><body><div class='ocr_page'>{paragraph}</div></body></html>"


@dataclass(frozen=True)
class FakeTesseract:
    """A program that says the same of every page, and counts how often it is run."""

    folder: Path

    def says(self, *lines: str, confidence: int = 90) -> None:
        (self.folder / "page.hocr").write_text(hocr(*lines, confidence=confidence))

    def does(self, shell: str) -> None:
        """Have it do this before it answers; `$run` counts the runs."""
        (self.folder / "before").write_text(shell)

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text().split())

    @classmethod
    def install(cls, folder: Path, patch: pytest.MonkeyPatch) -> FakeTesseract:
        """Put it before all other programs."""
        folder.mkdir()
        program = folder / "tesseract"
        program.write_text(
            f"""#!/bin/sh
if [ "$1" = --list-langs ]; then printf 'List of available languages:\\neng\\nfra\\n'; exit; fi
echo x >> {folder}/runs
run=$(wc -l < {folder}/runs)
. {folder}/before
cp {folder}/page.hocr "$2.hocr"
"""
        )
        program.chmod(0o755)
        fake = cls(folder)
        (folder / "runs").write_text("")
        fake.does("")
        fake.says("Refunds take two weeks.")
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return fake
