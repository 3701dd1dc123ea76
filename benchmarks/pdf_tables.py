"""What ragft and two libraries make of tables in PDFs, and how fast they read.

    pip install pdfplumber docling-parse          # in an environment of their own
    python benchmarks/pdf_tables.py --reader pdfplumber            # docling-parse | ragft
    python benchmarks/pdf_tables.py --reader ragft --folder some/documents --limit 20

Each page is drawn in another way; a reader is right if the words of every expected row stand in a row in its text. What
pdfplumber's table finder finds counts as its text, too; docling-parse gives lines with their places, and the tables of
docling itself are found by a model. With `--folder`, the rows of tables that `pdftotext -layout` shows in real files
are looked for as well (by entry, as in `reading.py`), and processor time is given.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reading import run, table_rows, words

Reader = Callable[[bytes], str]
Piece = tuple[float, float, str]

_ROWS = (("Zone", "Fee", "Valid"), ("North", "3", "May"), ("South", "4", "June"), ("West", "12", "July"))
_LEFTS = (50.0, 200.0, 300.0)
_WRAPPED = ((50, 700, "North of the"), (50, 688, "river"), (200, 700, "3"), (300, 700, "May"))
_GRID = "".join(f"{x} 640 m {x} 715 l S\n" for x in (45, 195, 295, 395)) + "".join(
    f"45 {y} m 395 {y} l S\n" for y in (715, 696, 678, 658, 640)
)


def _cells(by_column: bool = False, leading: float = 18) -> list[Piece]:
    cells = [
        (_LEFTS[column], 700 - leading * row, text)
        for row, texts in enumerate(_ROWS)
        for column, text in enumerate(texts)
    ]
    return sorted(cells, key=lambda cell: (cell[0], -cell[1])) if by_column else cells


def _prose(side: str, left: float) -> list[Piece]:
    return [(left, 700 - 12 * line, f"{side} column of text, its line {line},") for line in range(5)]


CASES: dict[str, tuple[list[Piece], str, list[str]]] = {
    "cell by cell": (_cells(), "", [" ".join(row) for row in _ROWS]),
    "column by column": (_cells(by_column=True), "", [" ".join(row) for row in _ROWS]),
    "close rows, by column": (_cells(by_column=True, leading=12), "", [" ".join(row) for row in _ROWS]),
    "ruled": (_cells(by_column=True), _GRID, [" ".join(row) for row in _ROWS]),
    "a cell of two lines": ([*_WRAPPED, (50, 660, "South"), (200, 660, "4"), (300, 660, "June")], "", ["South 4 June"]),
    "a blank cell": ([cell for cell in _cells() if cell[2] != "4"], "", ["North 3 May", "South June"]),
    "below a paragraph": (
        [(50, 740, "The fees of all zones are in the table below."), *_cells()],
        "",
        ["table below Zone Fee Valid", "North 3 May"],
    ),
    "columns of text": (
        [piece for pair in zip(_prose("left", 50), _prose("right", 320), strict=True) for piece in pair],
        "",
        ["line 0 left column of text its line 1", "line 3 right column of text its line 4"],
    ),
}


def drawn(pieces: Sequence[Piece], lines: str) -> bytes:
    """A PDF of one page with texts at places, in Helvetica of 10 points."""
    content = lines + "".join(f"BT /F1 10 Tf {x} {y} Td ({text}) Tj ET\n" for x, y, text in pieces)
    font = "/Font << /F1 3 0 R >>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << {font} >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    written, starts = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        starts.append(len(written))
        written += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    trailer = f"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n{len(written)}\n%%EOF"
    return f"{written}xref\n0 6\n0000000000 65535 f \n{table}{trailer}".encode()


def _ragft() -> Reader:
    from index.documents.document import Document
    from index.documents.formats.pdf.file import read
    from index.documents.formats.settings import ReadSettings, Unreadable

    def text(data: bytes) -> str:
        try:
            return "".join(item.text for item in read("a.pdf", data, ReadSettings()) if isinstance(item, Document))
        except Unreadable:
            return ""

    return text


def _pdfplumber() -> Reader:
    import pdfplumber

    def text(data: bytes) -> str:
        parts: list[str] = []
        with pdfplumber.open(io.BytesIO(data)) as pdf:
            for page in pdf.pages:
                parts.append(page.extract_text())
                parts += [" ".join(cell or "" for cell in row) for table in page.extract_tables() for row in table]
                page.close()
        return "\n".join(parts)

    return text


def _docling_parse() -> Reader:
    from docling_core.types.doc.page import TextCellUnit
    from docling_parse.pdf_parser import DoclingPdfParser

    def text(data: bytes) -> str:
        document = DoclingPdfParser(loglevel="fatal").load(io.BytesIO(data))
        pages = [page for _, page in document.iterate_pages()]
        return "\n".join(cell.text for page in pages for cell in page.iterate_cells(unit_type=TextCellUnit.LINE))

    return text


READERS: dict[str, tuple[str, Callable[[], Reader]]] = {
    "ragft": ("pypdfium2", _ragft),
    "pdfplumber": ("pdfplumber", _pdfplumber),
    "docling-parse": ("docling_parse", _docling_parse),
}


def has_rows(text: str, rows: Sequence[str]) -> bool:
    stream = f" {' '.join(words(text))} "
    return all(f" {' '.join(words(row))} " in stream for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=READERS, default="ragft")
    parser.add_argument("--folder", type=Path, help="look for rows of tables in the PDFs below this folder, too")
    parser.add_argument("--limit", type=int, default=20, help="most files, drawn at random with a fixed seed")
    parser.add_argument("--largest", type=int, default=1 << 20, help="most bytes of a file")
    options = parser.parse_args()
    module, load = READERS[options.reader]
    if importlib.util.find_spec(module) is None:
        parser.exit(message=f"{options.reader}: left out, because it is not installed\n")
    read = load()
    right = {name: has_rows(read(drawn(pieces, lines)), rows) for name, (pieces, lines, rows) in CASES.items()}
    for name, is_so in right.items():
        print(f"{'right' if is_so else 'WRONG'}  {name}")
    print(f"{options.reader}: {sum(right.values())} of {len(right)} pages right")
    if options.folder:
        files = sorted(path for path in options.folder.rglob("*.pdf") if path.stat().st_size <= options.largest)
        files = random.Random(0).sample(files, min(options.limit, len(files)))
        kept = count = 0
        seconds = 0.0
        for path in files:
            rows = list(table_rows(run("pdftotext", "-layout", "-enc", "UTF-8", str(path), "-")))
            start = time.process_time()
            stream = f" {' '.join(words(read(path.read_bytes())))} "
            seconds += time.process_time() - start
            kept += sum(all(f" {' '.join(entry)} " in stream for entry in row) for row in rows)
            count += len(rows)
        print(f"{len(files)} files: {kept} of {count} rows of tables, {seconds:.2f} s")


if __name__ == "__main__":
    main()
