"""The text of every format is extracted with the structure that a reader of the file sees."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import docx as python_docx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.books import epub, saved, workbook
from support.files import docx, paragraph, pdf, pptx, shape

from index.documents.chunking import chunk_document
from index.documents.document import Document, Skipped
from index.documents.folder import read_documents
from index.documents.formats import FORMATS, format_of
from index.documents.formats.settings import Fields, ReadSettings
from index.documents.markdown import headings


def read(name: str, data: bytes | str, reading: ReadSettings | None = None) -> list[Document | Skipped]:
    """What the reader of a format returns, run in this process."""
    kind = format_of(name)
    assert kind is not None
    return kind.read(name, data.encode() if isinstance(data, str) else data, reading or ReadSettings())


def document(name: str, data: bytes | str, reading: ReadSettings | None = None) -> Document:
    (found,) = read(name, data, reading)
    assert isinstance(found, Document)
    return found


# --- HTML

PAGE = """<html><head><title>Ports - Manual</title><style>p { color: red }</style></head><body>
<nav><ul><li><a href="/">Home</a></li></ul></nav>
<main><h1>Ports<a class="headerlink" href="#ports">¶</a></h1><p>The <b>default</b> port
is <code>8080</code>.</p>
<h2>TLS</h2><ul><li>on<li>off<ul><li>for tests</li></ul></li></ul><ol><li>open<li>close</ol>
<table><thead><tr><th>port<th>use</thead><tr><td>80<td>a|b<tr><td>443<td><b>tls</b> only</table>
<pre># not a heading
  indented</pre><p># nor this</p><script>alert(1)</script></main>
<aside>advert</aside><form><input value="x"><button>Send</button></form><footer>imprint</footer></body></html>"""


def test_html_page_becomes_markdown_without_what_surrounds_it() -> None:
    page = document("ports.html", PAGE)
    assert page.title == "Ports" and page.is_markdown
    assert page.text == (
        "# Ports\n\nThe default port is 8080.\n\n## TLS\n\n- on\n- off\n  - for tests\n\n1. open\n2. close\n\n"
        "| port | use |\n| --- | --- |\n| 80 | a\\|b |\n| 443 | tls only |\n\n"
        "```\n# not a heading\n  indented\n```\n\n\\# nor this"
    )


def test_html_headings_are_the_heading_path_of_chunks(tokenizer: Any) -> None:
    chunks = chunk_document(document("ports.html", PAGE), tokenizer, 128)
    assert [chunk.heading_path for chunk in chunks] == [("Ports",), ("Ports", "TLS")]


def test_html_title_element_names_a_page_without_a_first_heading() -> None:
    assert document("a.html", "<title>From the head</title><p>text").title == "From the head"


def test_html_header_of_an_article_is_content_and_that_of_the_page_is_not() -> None:
    text = document(
        "a.html", "<header><ul><li>menu</ul></header><article><header><h1>Post</h1></header><p>body</p></article>"
    ).text
    assert text == "# Post\n\nbody"


def test_html_form_around_the_whole_page_does_not_hide_it() -> None:
    assert document("a.html", "<form><h1>All</h1><p>in a form</p><select><option>x</select></form>").text == (
        "# All\n\nin a form"
    )


def test_html_page_of_links_alone_keeps_its_links() -> None:
    assert document("a.html", "<nav><a>First</a> <a>Second</a></nav>").text == "First Second"


@pytest.mark.parametrize(
    "around",
    [
        '<div class="navheader"><table><tr><td>Prev<td>Up<td>Next</table></div>',  # DocBook
        '<ul class="docnav top"><li>Prev<li>Next</ul>',  # Publican
        '<p id="title"><a href="/"><img alt="Product Site"></a></p>',
        '<div class="footer">Created by Sphinx</div>',
        '<div id="footer"><div id="footer-text">Last updated today</div></div>',  # AsciiDoc
        '<div class="toc"><dl><dt><a href="#a">1. First</a><dt><a href="#b">2. Second</a></dl></div>',
    ],
)
def test_html_surroundings_without_an_element_of_their_own_are_recognised_by_class_or_id(around: str) -> None:
    assert document("a.html", f"{around}<h1>T</h1><p>body</p>{around}").text == "# T\n\nbody"


def test_html_element_that_holds_the_page_is_kept_whatever_its_class() -> None:
    assert document("a.html", '<div class="toc footer"><h1>T</h1><p>body</p></div>').text == "# T\n\nbody"


def test_html_table_of_contents_that_explains_is_content() -> None:
    toc = '<dl class="toc"><dt><a>ABORT</a> — abort the current transaction<dt><a>CALL</a> — invoke a procedure</dl>'
    assert document("a.html", f"<h1>Commands</h1>{toc}").text == (
        "# Commands\n\nABORT — abort the current transaction\nCALL — invoke a procedure"
    )


def test_html_footer_in_a_section_is_dropped_if_the_page_names_its_main_part() -> None:
    page = '<section><div role="main"><h1>T</h1><p>body</p></div><footer>Built with a theme</footer></section>'
    assert document("a.html", page).text == "# T\n\nbody"
    assert document("a.html", "<section><p>body</p><footer>signed</footer></section>").text == "body\n\nsigned"


def test_html_footnotes_and_boxes_in_asides_are_content() -> None:
    page = '<p>fact</p><aside class="footnote-list"><aside role="note">[1] source</aside></aside><aside>advert</aside>'
    assert document("a.html", page).text == "fact\n\n[1] source"


def test_html_heading_of_a_box_does_not_apply_to_what_follows_the_box(tokenizer: Any) -> None:
    page = "<h1>T</h1><h2>Use</h2><p>one</p><div class='note'><h3>Note</h3><p>care</p></div><p>two</p>"
    (chunk,) = chunk_document(document("a.html", page), tokenizer, 128)
    assert chunk.passage == "T > Use\none\n\nNote\n\ncare\n\ntwo"


def test_html_term_stays_with_its_definition(tokenizer: Any) -> None:
    terms = "".join(f"<dt>-{letter}<dt>--{letter}<dd><p>Says what {letter} does.</p>" for letter in "abcdefgh")
    found = document("a.html", f"<h1>T</h1><dl>{terms}</dl>")
    assert found.text.startswith("# T\n\n-a\n--a\nSays what a does.\n\n-b\n")
    for chunk in chunk_document(found, tokenizer, 48):
        assert chunk.text.removeprefix("# T\n\n").startswith("-") and chunk.text.endswith("does.")


def test_html_layout_table_is_read_as_blocks() -> None:
    assert document("a.html", "<table><tr><td><h1>T</h1><p>one</p></td><td>two</td></tr></table>").text == (
        "# T\n\none\n\ntwo"
    )


def test_html_declared_encoding_is_used_if_the_bytes_are_not_utf8() -> None:
    page = '<meta charset="iso-8859-2"><p>ąćęłńóśźż'.encode("iso-8859-2")
    assert document("a.html", page).text == "ąćęłńóśźż"


# --- PDF


def test_pdf_pages_are_known_to_chunks(tokenizer: Any) -> None:
    pages = [[(50, 700, f"page {number} says word{number}")] for number in range(1, 4)]
    found = document("a.pdf", pdf(pages))
    assert [found.text[start:][:6] for start in found.page_starts] == ["page 1", "page 2", "page 3"]
    long = document("b.pdf", pdf([[(50, 700 - 12 * row, f"p{page} " * 20) for row in range(20)] for page in (1, 2, 3)]))
    chunks = chunk_document(long, tokenizer, 64)
    assert len(chunks) > 3 and all(f"p{chunk.page}" in chunk.text for chunk in chunks)


def test_pdf_text_drawn_out_of_order_is_read_from_the_top() -> None:
    lines = [(50, 400, "third block"), (50, 700, "first block"), (50, 550, "second block")]
    assert document("a.pdf", pdf([lines])).text == "first block\n\nsecond block\n\nthird block"


def test_pdf_columns_are_read_one_after_the_other_even_if_drawn_out_of_order() -> None:
    left = [(50, 700 - 12 * row, f"left {row} with some words") for row in range(4)]
    right = [(320, 700 - 12 * row, f"right {row} with some words") for row in range(4)]
    heading = [(50, 760, "A heading over both columns that is as wide as the page is, nearly")]
    text = document("a.pdf", pdf([[*right, *left, *heading]])).text
    order = [text.index(word) for word in ("heading", "left 0", "left 3", "right 0", "right 3")]
    assert order == sorted(order)


def test_pdf_lines_named_by_the_outline_are_headings(tokenizer: Any) -> None:
    pages = [
        [(50, 700, "1 Ports"), (50, 670, "The port is 80.")],
        [(50, 700, "2 Keys"), (50, 670, "# no heading")],
    ]
    found = document("manual.pdf", pdf(pages, outline=[("Ports", 0), ("Keys", 1)]))
    assert [heading.text for heading in headings(found.text)] == ["1 Ports", "2 Keys"]
    paths = [chunk.heading_path for chunk in chunk_document(found, tokenizer, 64)]
    assert paths == [("1 Ports",), ("2 Keys",)]


def test_pdf_without_an_outline_is_plain_text() -> None:
    found = document("manual.pdf", pdf([[(50, 700, "# 80 is the port")]]))
    assert not found.is_markdown and found.text == "# 80 is the port" and found.title == "manual"


# --- DOCX


def test_docx_headings_lists_and_tables_keep_their_order() -> None:
    file = python_docx.Document()
    file.add_heading("Handbook", 0)
    file.add_heading("Leave", 1)
    file.add_paragraph("Thirty days.")
    table = file.add_table(2, 2)
    for row, cells in enumerate((("kind", "days"), ("sick", "ten|more"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    file.add_paragraph("first", style="List Bullet")
    file.add_paragraph("second", style="List Bullet")
    file.add_paragraph("# after all")
    stream = io.BytesIO()
    file.save(stream)
    found = document("h.docx", stream.getvalue())
    assert found.title == "Handbook" and found.is_markdown
    assert found.text == (
        "# Handbook\n\n## Leave\n\nThirty days.\n\n| kind | days |\n| sick | ten\\|more |\n\n- first\n- second\n\n"
        "\\# after all"
    )


def test_docx_insertions_links_controls_and_boxes_are_read_and_deletions_are_not() -> None:
    run = "<w:r><w:t>{}</w:t></w:r>".format
    found = document(
        "a.docx",
        docx(
            f"<w:sdt><w:sdtContent>{paragraph('in a control')}</w:sdtContent></w:sdt>"
            f"<w:p><w:ins>{run('inserted ')}</w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
            f"<w:hyperlink>{run('linked')}</w:hyperlink></w:p>"
            "<w:p><mc:AlternateContent><mc:Choice><w:r><w:t>once</w:t></w:r></mc:Choice>"
            "<mc:Fallback><w:r><w:t>twice</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>"
        ),
    )
    assert found.text == "in a control\n\ninserted linked\n\nonce"


# --- tables

MAPPED = ReadSettings(fields=Fields(text="body", title="name", id="key", labels="teams", metadata=("year", "tags")))


def test_jsonl_rows_are_documents_with_the_mapped_fields() -> None:
    rows = [
        {"key": 7, "body": "seven", "name": "Seven", "teams": ["b", "a"], "year": 2024, "tags": ["x"], "other": 1},
        {"body": "without a key"},
    ]
    first, second = read("d/rows.jsonl", "\n".join(json.dumps(row) for row in rows), MAPPED)
    assert isinstance(first, Document) and isinstance(second, Document)
    assert (first.id, first.title, first.text, first.labels) == ("d/rows.jsonl#7", "Seven", "seven", ("a", "b"))
    assert first.metadata == {"year": 2024, "tags": ["x"]}
    assert (second.id, second.title, second.labels) == ("d/rows.jsonl#2", "d/rows.jsonl#2", ())


@pytest.mark.parametrize(("name", "mark"), [("r.csv", ","), ("r.csv", ";"), ("r.tsv", "\t")])
def test_csv_rows_are_documents_with_the_mapped_columns(name: str, mark: str) -> None:
    lines = [mark.join(cells) for cells in (["key", "body", "teams", "year"], ["a", '"two\nlines"', "x|y", "2024"])]
    (found,) = read(name, "\r\n".join(lines), MAPPED)
    assert isinstance(found, Document)
    assert (found.id, found.text, found.labels, found.metadata) == (
        f"{name}#a",
        "two\nlines",
        ("x|y",),
        {"year": "2024"},
    )


def test_bad_rows_are_counted_and_listed_and_the_others_are_read() -> None:
    lines = [
        '{"id": "a", "text": "good"}',
        "{",
        '{"id": "a", "text": "again"}',
        '{"id": 1}',
        '{"text": "x", "labels": 3}',
    ]
    good, bad = read("rows.jsonl", "\n".join(lines))
    assert isinstance(good, Document) and good.id == "rows.jsonl#a" and isinstance(bad, Skipped)
    assert bad.reason.startswith("4 of 5 rows (line 2: not valid JSON")
    assert "line 3: duplicate id 'a'" in bad.reason and "line 4: no text in the field 'text'" in bad.reason


# --- nothing is lost

WORDS = st.lists(
    st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=12), min_size=1, max_size=30
)


def _as_html(words: list[str]) -> bytes:
    half = len(words) // 2
    rows = "".join(f"<tr><td>{word}<td>x" for word in words[half:])
    return f"<h1>{words[0]}</h1><p>{' '.join(words[:half])}<table>{rows}</table>".encode()


def _as_docx(words: list[str]) -> bytes:
    half = len(words) // 2
    cells = "".join(
        f"<w:tr><w:tc>{paragraph(word)}</w:tc><w:tc>{paragraph('x')}</w:tc></w:tr>" for word in words[half:]
    )
    return docx(f"{paragraph(words[0], 'Heading1')}{paragraph(' '.join(words[:half]))}<w:tbl>{cells}</w:tbl>")


def _as_pdf(words: list[str]) -> bytes:
    return pdf([[(50, 700 - 14 * place, word) for place, word in enumerate(words)]])


def _as_rows(words: list[str]) -> bytes:
    return json.dumps({"text": " ".join(words)}).encode()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS, name=st.sampled_from(["a.html", "a.docx", "a.pdf", "a.jsonl", "a.md", "a.txt"]))
def test_every_word_of_a_file_is_in_a_chunk_that_is_a_slice_within_the_window(
    tokenizer: Any, words: list[str], name: str
) -> None:
    if name == "a.pdf":
        words = [kept for word in words if (kept := word.encode("ascii", "ignore").decode())] or ["x"]
    make = {".html": _as_html, ".docx": _as_docx, ".pdf": _as_pdf, ".jsonl": _as_rows}.get(Path(name).suffix)
    found = document(name, make(words) if make else " ".join(words))
    chunks = chunk_document(found, tokenizer, 48)
    assert all(chunk.text == found.text[chunk.start : chunk.end] for chunk in chunks)
    assert all(len(tokenizer(chunk.passage)["input_ids"]) <= 48 for chunk in chunks)
    # Compared without white space, because a word longer than a window may be cut in two.
    together = "".join("".join(chunk.text.split()) for chunk in chunks)
    assert [word for word in words if word not in together] == []


@pytest.mark.parametrize("name", ["a.html", "a.docx"])
def test_rows_of_a_long_table_are_never_split(tokenizer: Any, name: str) -> None:
    words = [f"release {number} of the long table" for number in range(60)]
    found = document(name, (_as_html if name == "a.html" else _as_docx)(words))
    for chunk in chunk_document(found, tokenizer, 64):
        assert all(line.endswith("|") for line in chunk.text.split("\n") if line.startswith("|"))


def test_small_edit_of_a_page_changes_few_passages(tokenizer: Any) -> None:
    def passages(edited: str) -> set[str]:
        sections = "".join(
            f"<h2>Part {part}</h2>"
            + "".join(f"<p>{f'Sentence {part}.{row} says a thing. ' * 6}</p>" for row in range(8))
            for part in range(12)
        )
        page = document("a.html", f"<h1>Manual</h1><p>{edited}</p>{sections.replace('5.0 says', f'5.0 {edited} says')}")
        return {chunk.hash for chunk in chunk_document(page, tokenizer, 128)}

    before, after = passages("old"), passages("a new and longer wording of it")
    assert len(before) > 40
    # The introduction, and at most the passages of the one section that was edited.
    assert 2 <= len(after - before) <= 2 + len(before) // 12


@pytest.mark.medium
def test_every_suffix_reaches_a_reader(tmp_path: Path) -> None:
    samples: dict[str, bytes] = {
        ".pdf": pdf([[(50, 700, "words")]]),
        ".docx": docx(paragraph("words")),
        ".pptx": pptx([shape("words")]),
        ".jsonl": b'{"text": "words"}',
        ".ndjson": b'{"text": "words"}',
        ".csv": b"id,text\n1,words\n",
        ".tsv": b"id\ttext\n1\twords\n",
        ".xlsx": saved(workbook({"S": [["id", "text"], [1, "words"]]})),
        ".xlsm": saved(workbook({"S": [["id", "text"], [1, "words"]]})),
        ".epub": epub({"a.xhtml": "<p>words</p>"}),
        ".eml": b"From: a@example.org\n\nwords\n",
        ".ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": "words"}]}).encode(),
    }
    for suffix in FORMATS:
        (tmp_path / f"a{suffix}").write_bytes(samples.get(suffix, b"words"))
    documents, skipped = read_documents(tmp_path)
    assert not skipped and len(documents) == len(FORMATS)
    assert {found.text.split()[-1] for found in documents} == {"words"}
