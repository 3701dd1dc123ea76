"""Where an answer stands: `document` or `document#section`, as examples, questions and golden questions name it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ragft.data.jsonl import texts_in

_SEPARATORS = (">", "/")


class Source(str):
    """A document, or a section of one, as in `django.md` and `django.md#4.2`.

    It stays the text that its author wrote, because a document's id may hold a `#` itself (`c#.md`): only the documents
    that there are tell where the id ends.
    """

    __slots__ = ()

    @property
    def documents(self) -> tuple[str, ...]:
        """Every document id that this may name, the shortest first."""
        parts = self.split("#")
        return tuple("#".join(parts[:end]) for end in range(1, len(parts) + 1))

    def is_in(self, documents: Collection[str]) -> bool:
        """Whether it stands in one of these documents."""
        return any(document in documents for document in self.documents)

    def matches(self, document_id: str, path: Sequence[str], title: str = "") -> bool:
        """Whether a passage is what this names.

        The document must be the same. Where a section is named, it must be the passage's last heading, or the last ones
        of its path, divided by `>` or `/`. Each may stand with or without the document's title at its front; case and
        white space do not count.

        Args:
            document_id: the passage's document.
            path: the headings above the passage, down to its own, as in `("Django", "Django 4.2", "Support")`.
            title: the document's title, as in `Django`.
        """
        section = self.section_in(document_id)
        return section is not None and (not section or _named(path, section, collapsed(title)) > 0)

    def section_in(self, document_id: str) -> str | None:
        """The section that it names in this document, as sections are compared; empty: the whole document.

        None where it names another document.
        """
        if self == document_id:
            return ""
        return collapsed(self[len(document_id) + 1 :]) if self.startswith(document_id + "#") else None


def sections_meant(
    source: Source, document_id: str, paths: Iterable[tuple[str, ...]], title: str = ""
) -> list[tuple[str, ...]]:
    """The paths of headings that a source may mean in a document, each once: more than one is ambiguous.

    A path that it names in full is preferred to longer ones that end in the same way. A source that names no section
    means all of them together: one empty path.
    """
    section, title = source.section_in(document_id), collapsed(title)
    if section == "":
        return [()]
    named = {path: _named(path, section, title) for path in paths} if section else {}
    return [path for path, count in named.items() if count == len(path)] or [path for path in named if named[path]]


def sources_in(values: Mapping[str, Any], where: str) -> tuple[Source, ...]:
    """The field `sources` of a line; empty where it is missing.

    Raises:
        UsageError: it is no list of texts, or one of the texts is empty.
    """
    return tuple(Source(text) for text in texts_in(values, "sources", where))


def collapsed(text: str) -> str:
    """A text as it is compared where case and white space do not count."""
    return " ".join(text.casefold().split())


def _named(path: Sequence[str], section: str, title: str) -> int:
    """How many of the last headings of a path a section is named by; 0 if it is another one."""
    if not path:
        return 0
    heading = collapsed(path[-1])
    for name in (heading, _after(heading, title) if title and heading.startswith(title) else ""):
        if name and section == name:
            return 1
        above = section.removesuffix(name).rstrip()
        is_last = name and section.endswith(name) and above.endswith(_SEPARATORS)
        if is_last and (more := _named(path[:-1], above[:-1].rstrip(), title)):
            return 1 + more
    return 0


def _after(heading: str, title: str) -> str:
    """What follows the title in a heading; nothing where the title ends within a word."""
    rest = heading[len(title) :]
    return "" if rest[:1].isalnum() else rest.lstrip(" :-–—")
