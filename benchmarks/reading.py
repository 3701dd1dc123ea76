"""How much of a file's text is read, against `pdftotext` for PDF and `pandoc` for HTML and DOCX.

    python benchmarks/reading.py                                   # files below /usr/share, /usr/lib and this Python
    python benchmarks/reading.py --folder some/documents --formats pdf
    python benchmarks/reading.py --packages debian-refcard octave-doc r-doc-pdf      # downloads with apt, too

Each file of the machine is read by `ragft` and by the other program; files with the same content count once. Figures
of a file: *recall*, the share of the other program's words (with repetitions) that were read; *pairs*, the share of its
pairs of adjacent words; for PDF *rows*, the share of table rows (of the layout that `pdftotext -layout` shows: lines
of three or more cells, one of them a number) whose words stand in a row in the text that was read.

`pdftotext` puts the columns of a page in an order of its own, and reads what stands beside a line, such as its number,
as a column; so *pairs in either order* compares with the order in which the file draws its text, too (`-raw`), and
takes the better of the two. Rows of an index or a table of contents in several columns look like those of a table;
*rows by entry* asks of each of their entries whether it stands in a row.

What is left out of texts on purpose is left out of what the other program gives, too: running heads and feet, which
are the first and last lines of pages that stand on three pages or more, numbers aside; and what surrounds the text of
an HTML page, found by a short list of elements and names of its own, and lists of nothing but links.
`recall_of_everything` is without this. Files of fewer than 20 words are passed over; programs and formats that are
absent are named.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import lxml.html
from rich.console import Console
from rich.table import Table

from index import ReadSettings
from index.documents.document import Document
from index.documents.formats import format_of
from index.documents.formats.settings import Unreadable

TARGETS = {"pdf": {"recall": 0.99, "pairs": 0.93}, "docx": {"recall": 0.995}, "html": {"recall": 0.995}}
TABLE_ROWS = 0.75
SUFFIXES = {"pdf": (".pdf",), "docx": (".docx",), "html": (".html", ".htm", ".xhtml")}
NAMED = (
    "nav", "toc", "sidebar", "breadcrumb", "breadcrumbs", "navbar", "navheader", "navfooter", "pagination", "docnav",
    "nav-panel", "banner", "footer", "footer-text", "header-navigation", "menu", "toctree-wrapper", "related",
)  # fmt: skip
SURROUNDINGS = (
    "//nav | //aside | //form | //menu | //dialog | //script | //style | //noscript | //select | //del | //s | //strike"
    " | //*[@role='navigation' or @role='banner' or @role='contentinfo' or @role='search' or @role='complementary']"
    " | //*[@role='menu' or @role='menubar' or @role='toolbar' or @role='doc-toc' or @hidden or @aria-hidden='true']"
    " | //header[.//nav or .//ul] | //body/footer | //img | //button"
    + "".join(f" | //*[@id='{name}' or contains(concat(' ', @class, ' '), ' {name} ')]" for name in NAMED)
)
HOLDS_LINKS = ("ul", "ol", "dl", "table", "div", "p", "header", "footer", "center")
MOSTLY_LINKS = 0.8
PROGRAMS = {"pdf": "pdftotext", "docx": "pandoc", "html": "pandoc"}
FEWEST_WORDS = 20
PATIENCE_S = 120

_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile("[_^][({]?|\u00ad")
_CELLS = re.compile(r"\s{2,}")


@dataclass(frozen=True)
class Figures:
    """How one file was read; `rows` is (kept, all, kept by entry)."""

    file: str
    words: int
    recall: float
    recall_of_everything: float
    pairs: float
    pairs_in_either_order: float = 0.0
    rows: tuple[int, int, int] = (0, 0, 0)
    seconds: float = 0.0


def words(text: str) -> list[str]:
    """Words without case and form; marks of raised and lowered text are left out, as the other programs do."""
    return _WORD.findall(_MARKS.sub("", unicodedata.normalize("NFKC", text)).casefold())


def share(wanted: Counter[Any], found: Counter[Any]) -> float:
    return (wanted & found).total() / max(wanted.total(), 1)


def run(*command: str, given: bytes | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=True)
    return done.stdout.decode("utf-8", "replace")


def without_running_lines(text: str) -> str:
    """The pages of `pdftotext` without lines at their edges that several pages share, numbers aside."""
    pages = [[line for line in page.split("\n") if line.strip()] for page in text.split("\f")]
    edges: Counter[str] = Counter()
    for page in pages:
        edges.update({_masked(line) for line in [*page[:3], *page[-3:]]})
    kept = []
    for page in pages:
        edge = {*range(3), *range(len(page) - 3, len(page))}
        kept += [line for place, line in enumerate(page) if place not in edge or edges[_masked(line)] < 3]
    return "\n".join(kept)


def _masked(line: str) -> str:
    return " ".join(re.sub(r"\d+|\b[ivxlc]+\b", "#", line).split())


def table_rows(layout: str) -> Iterator[list[list[str]]]:
    """The words of the entries of each row of a table, as the layout shows it; a single such line is no table."""
    previous: list[list[str]] | None = None
    was_given = False
    for line in layout.replace("\f", "\n").split("\n"):
        if not line.strip():
            continue
        cells = _CELLS.split(line.strip())
        is_row = 3 <= len(cells) <= 12 and any(re.fullmatch(r"[\W\d]*\d[\W\d]*", cell) for cell in cells)
        row = entries(cells) if is_row and all(len(words(cell)) <= 6 for cell in cells) else None
        if row and previous:
            if not was_given:
                yield previous
            yield row
        was_given = bool(row and previous)
        previous = row


def entries(cells: Sequence[str]) -> list[list[str]]:
    """The words of a row: of several entries if each of them is words with a number behind them, else of one."""
    found: list[list[str]] = [[]]
    is_behind = False
    for cell in cells:
        is_number = not re.search(r"[^\W\d_]", cell)
        if is_behind and not is_number:
            found.append([])
        is_behind = is_number
        found[-1] += words(cell)
    return found if is_behind else [words(" ".join(cells))]


def compare_pdf(path: Path, text: str) -> dict[str, Any]:
    full = run("pdftotext", "-enc", "UTF-8", str(path), "-")
    ours = words(text)
    stream = f" {' '.join(ours)} "
    rows = list(table_rows(run("pdftotext", "-layout", "-enc", "UTF-8", str(path), "-")))
    kept = sum(f" {' '.join(chain.from_iterable(row))} " in stream for row in rows)
    kept_by_entry = sum(all(f" {' '.join(entry)} " in stream for entry in row) for row in rows)
    found = compare(words(without_running_lines(full)), words(full), ours)
    drawn = words(without_running_lines(run("pdftotext", "-raw", "-enc", "UTF-8", str(path), "-")))
    either = max(found["pairs"], share(Counter(pairwise(drawn)), Counter(pairwise(ours))))
    return found | {"pairs_in_either_order": either, "rows": (kept, len(rows), kept_by_entry)}


def compare_pandoc(path: Path, text: str) -> dict[str, Any]:
    data = path.read_bytes()
    command = ("pandoc", "-f", "docx" if path.suffix == ".docx" else "html", "-t", "plain", "--wrap=none")
    full = words(run(*command, given=data))
    wanted = full if path.suffix == ".docx" else words(run(*command, given=without_surroundings(data)))
    return compare(wanted, full, words(text))


def without_surroundings(page: bytes) -> bytes:
    """An HTML page without navigation, tables of contents, pictures and the like, and without lists of links."""
    root = lxml.html.fromstring(page)
    for element in [*root.xpath(SURROUNDINGS), *filter(is_all_links, root.iter(*HOLDS_LINKS))]:
        if element.getparent() is not None:
            element.drop_tree()
    return lxml.html.tostring(root, encoding="utf-8")


def is_all_links(element: Any) -> bool:
    """Whether an element is some links and next to nothing else: what navigation is made of."""
    links = element.findall(".//a[@href]")
    linked = sum(len("".join(link.text_content().split())) for link in links)
    return len(links) > 2 and linked >= MOSTLY_LINKS * len("".join(element.text_content().split()))


def compare(wanted: Sequence[str], everything: Sequence[str], ours: Sequence[str]) -> dict[str, Any]:
    found, pairs = Counter(ours), Counter(pairwise(ours))
    return {
        "words": len(wanted),
        "recall": share(Counter(wanted), found),
        "recall_of_everything": share(Counter(everything), found),
        "pairs": share(Counter(pairwise(wanted)), pairs),
    }


def measure(kind: str, files: Sequence[Path]) -> dict[str, Any]:
    """Figures of each file of one format, what was refused, and what the other program could not read."""
    against: Callable[[Path, str], dict[str, Any]] = compare_pdf if kind == "pdf" else compare_pandoc
    measured: list[Figures] = []
    refused: dict[str, str] = {}
    passed_over = 0
    for path in files:
        start = time.process_time()
        try:
            items = format_of(path.name).read(path.name, path.read_bytes(), ReadSettings())  # type: ignore[union-attr]
        except Unreadable as error:
            refused[str(path)] = str(error)
            continue
        seconds = time.process_time() - start
        text = "\n\n".join(item.text for item in items if isinstance(item, Document))
        try:
            figures = against(path, text)
        except (subprocess.SubprocessError, OSError):
            passed_over += 1
            continue
        if figures["words"] < FEWEST_WORDS:
            passed_over += 1
        else:
            measured.append(Figures(str(path), seconds=seconds, **figures))
    return {"files": [asdict(item) for item in measured], "refused": refused, "passed_over": passed_over}


def summary(kind: str, result: dict[str, Any]) -> dict[str, Any]:
    files = result["files"]
    names = ["recall", "recall_of_everything"]
    names += ["pairs", "pairs_in_either_order"] if kind == "pdf" else []
    kept, rows, by_entry = (sum(item["rows"][place] for item in files) for place in range(3))
    found: dict[str, Any] = {"name": kind, "files": len(files), "refused": len(result["refused"])}
    for name in names:
        values = [item[name] for item in files] or [0.0]
        weighted = sum(item[name] * item["words"] for item in files) / max(sum(item["words"] for item in files), 1)
        found |= {f"{name}_median": statistics.median(values), f"{name}_mean": statistics.fmean(values)}
        found[f"{name}_of_all_words"] = weighted
        if target := TARGETS[kind].get(name):
            found[f"{name}_below_{target:g}"] = sum(value < target for value in values)
    if rows:
        found |= {"table_rows": rows, "table_rows_kept": kept / rows, "table_rows_kept_by_entry": by_entry / rows}
    found["seconds"] = sum(item["seconds"] for item in files)
    return found


def files_below(folders: Sequence[Path], kind: str) -> list[Path]:
    """The files of a format, each content once, in an order of names."""
    seen: set[bytes] = set()
    found = []
    for path in sorted({path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES[kind]}):
        if path.is_file() and not path.is_symlink():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                found.append(path)
    return found


def unpacked(packages: Sequence[str], work: Path) -> Path:
    """The files of Debian packages, downloaded once; packed PDFs are unpacked."""
    work.mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = work / package
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=work) as temporary:
                subprocess.run(["apt-get", "download", package], cwd=temporary, check=True, capture_output=True)
                for archive in Path(temporary).glob("*.deb"):
                    subprocess.run(["dpkg-deb", "-x", str(archive), f"{temporary}/files"], check=True)
                (Path(temporary) / "files").rename(target)
            for packed in target.rglob("*.pdf.gz"):
                packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    return work


def show(kind: str, result: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{kind} against {PROGRAMS[kind]}", show_header=False)
    for name, value in summary(kind, result).items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    for name, target in TARGETS[kind].items():
        below = sorted((item for item in result["files"] if item[name] < target), key=lambda item: item[name])
        if below:
            console.print(f"{name} below {target:g}:")
            for item in below:
                console.print(f"  {item[name]:.4f}  {item['words']:>8} words  {item['file']}", highlight=False)
    for path, reason in result["refused"].items():
        console.print(f"  refused: {path}: {reason}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, nargs="+", help="where to look; default: this machine's packages")
    parser.add_argument("--packages", nargs="+", default=[], help="Debian packages to download and read as well")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "ragft-reading", help="for downloads"
    )
    parser.add_argument("--formats", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--limit", type=int, help="most files of a format, drawn at random with a fixed seed")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    folders = asked.folder or [Path("/usr/share"), Path("/usr/lib"), Path(sys.prefix)]
    if asked.packages:
        folders = [*folders, unpacked(asked.packages, asked.work)]
    console = Console(stderr=asked.json)
    report: dict[str, Any] = {}
    for kind in asked.formats:
        files = files_below(folders, kind)
        if shutil.which(PROGRAMS[kind]) is None:
            console.print(f"{kind}: left out, because {PROGRAMS[kind]} is not installed")
        elif not files:
            console.print(f"{kind}: left out, because there is no such file")
        else:
            if asked.limit and len(files) > asked.limit:
                files = sorted(random.Random(0).sample(files, asked.limit))
            result = measure(kind, files)
            report[kind] = {"summary": summary(kind, result), **result}
            show(kind, result, console)
    if asked.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
