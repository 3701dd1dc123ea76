"""What ragft and two libraries make of small pages whose meaning hangs on markup, and how fast they read.

    pip install trafilatura lxml_html_clean resiliparse          # in an environment of their own
    python benchmarks/html_readers.py --reader trafilatura       # resiliparse | ragft
    python benchmarks/html_readers.py --reader ragft --folder /usr/share/doc

Each page states a fact in one way; a reader is right if its text has all of the expected pieces and none of the wrong
ones. With `--folder`, all HTML files below it are read as well, and processor time and characters are given.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

Reader = Callable[[bytes], str]

_CARD = "<div><header><h2>Basic</h2></header><p>Two users, five EUR a month.</p></div>"
CASES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "question in a button": ("<h2><button>May I return it?</button></h2><p>Within 14 days.</p>", ("# May I",), ()),
    "superscript": ("<p>It carries 10<sup>6</sup> messages.</p>", ("10",), ("106",)),
    "footnote mark": ("<p>It was late.<sup><a href='#n'>1</a></sup></p>", ("late",), ("late.1",)),
    "row span": (
        "<table><tr><th>Zone<th>Age<th>Fee<tr><td rowspan=2>North<td>child<td>3<tr><td>adult<td>7</table>",
        ("| North | adult | 7 |",),
        (),
    ),
    "deleted text": ("<p>A ticket is <del>49 EUR</del> 39 EUR.</p>", ("39 EUR",), ("49",)),
    "hidden text": ("<p>Open 9 to 5.</p><p style='display:none'>Open all day</p>", ("9 to 5",), ("all day",)),
    "header of a card": (f"<h1>Plans</h1>{_CARD}{_CARD.replace('Basic', 'Team')}", ("# Basic", "# Team"), ()),
    "shadow tree": (
        "<x-a><template shadowrootmode=open><p>Press it twice.</p></template></x-a>",
        ("Press it twice",),
        (),
    ),
    "target of a link": ("<p>Get it <a href='https://e.org/claim.pdf'>here</a>.</p>", ("claim.pdf",), ()),
    "fraction": ("<p>It is <math><mfrac><mn>1</mn><mn>4</mn></mfrac></math> of it.</p>", ("1/4",), ("14",)),
    "soft hyphen": ("<p>Die Daten&shy;schutz&shy;regel gilt.</p>", ("Datenschutzregel",), ()),
    "custom elements": ("<app-item>Alpha</app-item><app-item>Beta</app-item>", ("Alpha", "Beta"), ("AlphaBeta",)),
    "number of a list": ("<ol start=5><li>Press the button.<li>Wait a while.</ol>", ("5. Press", "6. Wait"), ()),
    "lines of code": (
        "<pre><span class=lineno>1</span>a = 2\n<span class=lineno>2</span>b = 3</pre>",
        ("a = 2",),
        ("1a",),
    ),
    "windows-1252": ("<meta charset=iso-8859-1><p>It costs 5 €, he said.</p>", ("5 €",), ()),
}


def _ragft() -> Reader:
    from index.documents.document import Document
    from index.documents.formats.html.page import read
    from index.documents.formats.settings import ReadSettings, Unreadable

    def text(data: bytes) -> str:
        try:
            return "".join(item.text for item in read("a.html", data, ReadSettings()) if isinstance(item, Document))
        except Unreadable:
            return ""

    return text


def _trafilatura() -> Reader:
    import trafilatura

    return lambda data: (
        trafilatura.extract(data, output_format="markdown", include_tables=True, favor_recall=True) or ""
    )


def _resiliparse() -> Reader:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    return lambda data: extract_plain_text(
        HTMLTree.parse_from_bytes(data, detect_encoding(data)), main_content=True, preserve_formatting=True
    )


READERS: dict[str, Callable[[], Reader]] = {"ragft": _ragft, "trafilatura": _trafilatura, "resiliparse": _resiliparse}


def is_right(read: Reader, source: str, expected: tuple[str, ...], wrong: tuple[str, ...]) -> bool:
    """Whether a reader understands one page; text around it keeps readers from taking it for an empty one."""
    filling = "<p>This page explains in a few sentences what our visitors have asked most often so far.</p>" * 3
    meta = "<meta charset=iso-8859-1>"
    head = f"<!doctype html><html><head>{meta if meta in source else ''}<title>T</title></head>"
    page = f"{head}<body><main>{filling}{source.replace(meta, '')}{filling}</main></body></html>"
    text = read(page.encode("cp1252" if meta in source else "utf-8"))
    return all(piece in text for piece in expected) and not any(piece in text for piece in wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=READERS, default="ragft")
    parser.add_argument("--folder", type=Path, help="read all HTML files below this folder, too")
    options = parser.parse_args()
    read = READERS[options.reader]()
    right = {name: is_right(read, *case) for name, case in CASES.items()}
    for name, is_so in right.items():
        print(f"{'right' if is_so else 'WRONG'}  {name}")
    print(f"{options.reader}: {sum(right.values())} of {len(right)} pages right")
    if options.folder:
        pages = [path.read_bytes() for path in sorted(options.folder.rglob("*.html")) if path.is_file()]
        start = time.process_time()
        characters = sum(len(read(page)) for page in pages)
        seconds = time.process_time() - start
        print(f"{len(pages)} files, {sum(map(len, pages))} bytes: {characters} characters in {seconds:.2f} s")


if __name__ == "__main__":
    main()
