"""Office files (DOCX, PPTX): a zip archive of XML parts that refer to each other by relationships.

Knows the archive and how parts find each other; nothing of what the parts say. The Strict variant of these
formats, which differs in the names of its namespaces, is turned into the usual one here, so that no reader sees it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Any

from lxml import etree

from index.documents.formats.archive import DAMAGED, OLD_OFFICE, open_archive
from index.documents.formats.settings import Limits, Unreadable, first_line

R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"

OFF = frozenset(["0", "false", "off"])
"""Values of attributes that say no."""

_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_STRICT = re.compile(r"\{http://purl\.oclc\.org/ooxml/(\w+)/")


@dataclass(frozen=True, slots=True)
class Relation:
    """A reference from one part to another, or to an address outside the file.

    Attributes:
        kind: last word of the relationship's type: `footnotes`, `slide`, `hyperlink`.
        target: name of the part, or the address.
    """

    kind: str
    target: str
    is_external: bool


class OfficeFile:
    """The parts of an office file, by name; parsed when they are asked for."""

    def __init__(self, data: bytes, limits: Limits, kind: str) -> None:
        """Open a file; `kind` names its format in messages.

        Raises:
            Unreadable: it is no such file, is encrypted, or beyond a limit.
        """
        self._kind = kind
        if data.startswith(OLD_OFFICE):
            raise Unreadable(f"encrypted, or an old .{kind.lower()[:-1]} file; save it as {kind} without a password")
        self._archive = open_archive(data, limits, kind)
        # Names are compared without case, and some writers separate folders by backslashes.
        self._parts = {part.filename.replace("\\", "/").lower(): part for part in self._archive.infolist()}
        self._relations: dict[str, dict[str, Relation]] = {}
        main = self.related("", "officeDocument")
        if main is None:
            raise self.damaged("it names no main part")
        self.main: str = main

    def damaged(self, reason: object) -> Unreadable:
        """The error to raise for a file that breaks the rules of its format."""
        return Unreadable(f"not a readable {self._kind} file ({first_line(reason)})")

    def part(self, name: str) -> Any | None:
        """The root element of a part; None if the file has no such part.

        Raises:
            Unreadable: the part is damaged or declares a document type, which these formats forbid.
        """
        info = self._parts.get(name.lower())
        if info is None:
            return None
        # Neither entities nor anything outside the file is resolved; libxml2 itself limits depth and length.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        try:
            root = etree.fromstring(self._archive.read(info), parser)
        except (*DAMAGED, etree.XMLSyntaxError) as error:
            raise self.damaged(error) from None
        if root.getroottree().docinfo.doctype:
            raise self.damaged("it declares a document type")
        if _STRICT.match(root.tag):
            _rename_strict(root)
        return root

    def relations(self, name: str) -> dict[str, Relation]:
        """The relations of a part by id, in the order of the file; those of the file itself if `name` is empty."""
        if name not in self._relations:
            folder, base = posixpath.split(name)
            listed = self.part(posixpath.join(folder, "_rels", f"{base}.rels"))
            found = listed.iter(_RELATION) if listed is not None else ()
            self._relations[name] = {element.get("Id", ""): _relation(element, folder) for element in found}
        return self._relations[name]

    def related(self, name: str, kind: str) -> str | None:
        """Name of the first part of this kind that a part refers to; None if there is none."""
        parts = (relation.target for relation in self.relations(name).values() if relation.kind == kind)
        return next(parts, None)


def _relation(element: Any, folder: str) -> Relation:
    target = element.get("Target", "")
    is_external = element.get("TargetMode") == "External"
    if not is_external:
        target = posixpath.normpath(posixpath.join("/", folder, target.replace("\\", "/"))).lstrip("/")
    return Relation(element.get("Type", "").rsplit("/", 1)[-1], target, is_external)


def _rename_strict(root: Any) -> None:
    """Give elements and attributes of the Strict variant the names of the usual one."""
    for element in root.iter(etree.Element):
        element.tag = _usual(element.tag)
        for name in [name for name in element.attrib if _STRICT.match(name)]:
            element.set(_usual(name), element.attrib.pop(name))


def _usual(name: str) -> str:
    return _STRICT.sub(r"{http://schemas.openxmlformats.org/\1/2006/", name)


def number(text: str | None, default: int = 0) -> int:
    """A whole number as attributes hold it; the default if it is none."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text) else default
