"""EPUB: the chapters of a book in reading order, each read like an HTML page, below each other as one document."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from lxml import etree

from index.documents.document import Document, Skipped, Value
from index.documents.formats.archive import DAMAGED, open_archive
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.html import page as html
from index.documents.formats.labels import refuse_attempts
from index.documents.formats.settings import ReadSettings, Unreadable, first_line, refuse_long
from index.documents.markdown import headings

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_PACKAGE = "{http://www.idpf.org/2007/opf}"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_PAGES = frozenset(["application/xhtml+xml", "text/html", "application/x-dtbook+xml"])
_KEPT = {
    "creator": "authors", "contributor": "contributors", "language": "language", "publisher": "publisher",
    "date": "date", "subject": "subjects", "identifier": "identifier", "rights": "rights",
}  # fmt: skip
"""Elements of Dublin Core, and the name of each in the metadata."""
_LISTS = frozenset(["authors", "contributors", "subjects"])
_SIDE_FILE = "labels, in a side file"
_DAMAGED = (*DAMAGED, KeyError)


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document with the title, authors, date and language of the book.

    Raises:
        Unreadable: the file is damaged, protected, without text, or beyond a limit; or a chapter cannot be read.
    """
    archive = open_archive(data, settings.limits, "EPUB")
    try:
        book = _Book(archive)
    except (*_DAMAGED, etree.XMLSyntaxError) as error:
        raise Unreadable(f"not a readable EPUB file ({first_line(error)})") from None
    texts: list[str] = []
    labels: set[tuple[str, ...]] = set()
    for chapter in book.chapters():
        page = _page(chapter, book, settings)
        if page is not None:
            texts.append(_with_heading(page.text, book.entries.get(chapter), settings))
            labels.add(page.labels)
    text = "\n\n".join(texts)
    if not text:
        raise Unreadable("no text")
    refuse_long(len(text), settings.limits.characters)
    if len(labels) > 1:
        raise Unreadable("its chapters have different labels; give the book labels in a side file")
    return [Document.of(name, text, title=book.title, metadata=book.metadata, labels=labels.pop(), is_markdown=True)]


class _Book:
    """What the package of a book says: its title and metadata, the order of its files, and their names in the contents.

    Attributes:
        entries: the entry of the table of contents that leads to the beginning of each file.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._parts = set(archive.namelist())
        container = self._xml(_CONTAINER)
        root = next((item.get("full-path") for item in container.iter("{*}rootfile")), None)
        if root is None:
            raise ValueError("its container names no package")
        self._folder = posixpath.dirname(root)
        package = self._xml(root)
        self._files = {item.get("id"): item for item in package.iter(f"{_PACKAGE}item")}
        self._spine = [item.get("idref") for item in package.iter(f"{_PACKAGE}itemref")]
        self.title, self.metadata = _described(package)
        self.entries = self._entries(package)

    def chapters(self) -> Iterator[str]:
        """Names of the pages in reading order, without the table of contents."""
        protected = self._protected()
        for identity in self._spine:
            item = self._files.get(identity)
            if item is None or item.get("media-type") not in _PAGES or "nav" in (item.get("properties") or "").split():
                continue
            part = self._path(item.get("href", ""))
            if part in protected:
                raise Unreadable("protected against copying (DRM)")
            yield part

    def content(self, part: str) -> bytes:
        return self._archive.read(part)

    def _xml(self, part: str) -> Any:
        # Entities are not resolved: a few of them can expand to gigabytes, or name files of this machine.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
        found = etree.fromstring(self._archive.read(part), parser)
        if found is None:
            raise ValueError(f"{part} is empty")
        return found

    def _path(self, reference: str, folder: str | None = None) -> str:
        """Name of the part that a reference leads to, without the place inside it."""
        folder = self._folder if folder is None else folder
        return posixpath.normpath(posixpath.join(folder, unquote(reference.partition("#")[0])))

    def _protected(self) -> set[str]:
        if _ENCRYPTION not in self._parts:
            return set()
        references = self._xml(_ENCRYPTION).iter("{*}CipherReference")
        return {posixpath.normpath(unquote(item.get("URI", ""))) for item in references}

    def _entries(self, package: Any) -> dict[str, str]:
        """From the navigation document of EPUB 3, or else the NCX of EPUB 2."""
        spine = package.find(f"{_PACKAGE}spine")
        navigation = (item for item in self._files.values() if "nav" in (item.get("properties") or "").split())
        contents = next(navigation, None)
        if contents is None:
            contents = self._files.get(spine.get("toc")) if spine is not None else None
        part = self._path(contents.get("href", "")) if contents is not None else ""
        if part not in self._parts:
            return {}
        tree, folder = self._xml(part), posixpath.dirname(part)
        entries: dict[str, str] = {}
        for link in tree.iter("{*}a", "{*}navPoint"):
            is_point = link.tag.endswith("navPoint")
            target = link.find("{*}content").get("src") if is_point else link.get("href")
            words = link.find("{*}navLabel") if is_point else link
            if target and "#" not in target and words is not None:
                entries.setdefault(self._path(target, folder), " ".join("".join(words.itertext()).split()))
        return entries


def _described(package: Any) -> tuple[str | None, Mapping[str, Value]]:
    """Title and metadata of a book.

    Raises:
        Unreadable: the metadata has something that looks like labels, which are read from a side file alone.
    """
    names = (item.get("name") or item.get("property") or "" for item in package.iter(f"{_PACKAGE}meta"))
    refuse_attempts(names, "its metadata", read=_SIDE_FILE)
    title = next(iter(_values(package, "title")), None)
    metadata: dict[str, Value] = {}
    for element, name in _KEPT.items():
        values = _values(package, element)
        if values:
            metadata[name] = [*values] if name in _LISTS else values[0]
    return title, metadata


def _values(package: Any, element: str) -> list[str]:
    texts = (" ".join("".join(item.itertext()).split()) for item in package.iter(_DUBLIN_CORE + element))
    return [text for text in texts if text]


def _page(part: str, book: _Book, settings: ReadSettings) -> Document | None:
    """A page of the book; None if it has no text, such as a cover."""
    try:
        content = book.content(part)
    except _DAMAGED as error:
        raise Unreadable(f"its part {part} cannot be read ({first_line(error)})") from None
    try:
        (page,) = html.read(part, content, settings)
    except Unreadable as error:
        if str(error) in ("empty", "no text"):
            return None
        raise Unreadable(f"its part {part}: {error}") from None
    assert isinstance(page, Document)  # noqa: S101, a page is one document
    return page


def _with_heading(text: str, entry: str | None, settings: ReadSettings) -> str:
    """A chapter under its entry in the table of contents, unless it begins with a heading of its own."""
    found = headings(text)
    if not entry or (found and not text[: found[0].start].strip()):
        return text
    heading = MarkdownText(settings.limits.characters)
    heading.heading(1, entry)
    return f"{heading.text}\n\n{text}"
