"""Books are read chapter by chapter, in the order in which a person reads them."""

from __future__ import annotations

import pytest
from support.books import epub

from index.documents.document import Document
from index.documents.formats import format_of
from index.documents.formats.settings import Limits, ReadSettings, Unreadable


def read(data: bytes, settings: ReadSettings | None = None) -> Document:
    kind = format_of("b.epub")
    assert kind is not None and kind.is_isolated
    (found,) = kind.read("b.epub", data, settings or ReadSettings())
    assert isinstance(found, Document)
    return found


def refusal(data: bytes, settings: ReadSettings | None = None) -> str:
    with pytest.raises(Unreadable) as refused:
        read(data, settings)
    return str(refused.value)


CHAPTERS = {"two.xhtml": "<h1>Ants</h1><p>Ants walk.</p>", "one.xhtml": "<h1>Bees</h1><p>Bees fly.</p>"}


def test_chapters_stand_in_reading_order_below_the_title_of_the_book() -> None:
    metadata = (
        "<dc:title>Small animals</dc:title><dc:creator>Ann</dc:creator><dc:creator>Bob</dc:creator>"
        "<dc:language>en</dc:language><dc:date>2024-05-01</dc:date><dc:subject>insects</dc:subject>"
    )
    book = read(epub(CHAPTERS, metadata, order=["one.xhtml", "two.xhtml"]))
    assert (book.title, book.is_markdown) == ("Small animals", True)
    assert book.text == "# Bees\n\nBees fly.\n\n# Ants\n\nAnts walk."
    assert book.metadata == {
        "authors": ["Ann", "Bob"], "language": "en", "date": "2024-05-01", "subjects": ["insects"]
    }  # fmt: skip


@pytest.mark.parametrize("ncx", [False, True])
def test_a_chapter_without_a_heading_has_the_name_that_the_contents_give_it(ncx: bool) -> None:
    chapters = {"a.xhtml": "<p>Bees fly.</p>", "b.xhtml": "<h2>Ants</h2><p>Ants walk.</p>"}
    book = read(epub(chapters, contents=[("a.xhtml", "On bees"), ("b.xhtml", "On ants")], ncx=ncx))
    assert book.text == "# On bees\n\nBees fly.\n\n## Ants\n\nAnts walk."


def test_pages_without_text_are_left_out() -> None:
    assert read(epub({"cover.xhtml": '<img src="c.png"/>', **CHAPTERS})).text.startswith("# Ants")
    assert refusal(epub({"cover.xhtml": '<img src="c.png"/>'})) == "no text"


def test_a_book_without_a_title_has_that_of_its_first_chapter() -> None:
    assert read(epub(CHAPTERS, metadata="")).title == "Ants"


def test_protected_damaged_and_missing_parts_are_refused() -> None:
    encryption = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData><CipherData>'
        '<CipherReference URI="OEBPS/{}"/></CipherData></EncryptedData></encryption>'
    )
    locked = {"META-INF/encryption.xml": encryption.format("one.xhtml").encode()}
    assert "protected" in refusal(epub(CHAPTERS, extra=locked))
    fonts = {"META-INF/encryption.xml": encryption.format("font.otf").encode()}
    assert read(epub(CHAPTERS, extra=fonts)).text
    assert "not a readable EPUB file" in refusal(b"words")
    data = epub(CHAPTERS).replace(b"META-INF/container.xml", b"META-INF/kontainer.xml")
    assert "not a readable EPUB file" in refusal(data)


def test_limits_hold_for_books() -> None:
    data = epub({"a.xhtml": "<p>" + "word " * 400_000 + "</p>"})
    assert "times its size" in refusal(data)
    assert "characters" in refusal(data, ReadSettings(limits=Limits(expansion_ratio=1e9, characters=1_000)))


def test_what_looks_like_labels_closes_the_book() -> None:
    assert "'labels'" in refusal(epub(CHAPTERS, '<dc:title>B</dc:title><meta name="labels" content="board"/>'))


def test_entities_are_not_expanded() -> None:
    opf = (
        '<!DOCTYPE package [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>T&a;</dc:title></metadata><manifest>"
        '<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="one"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/other.opf"/></rootfiles></container>'
    )
    extra = {"OEBPS/other.opf": opf.encode(), "META-INF/container.xml": container.encode()}
    assert read(epub(CHAPTERS, extra=extra)).title.startswith("T")
