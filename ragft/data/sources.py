"""Where an answer stands: `document` or `document#section`, as examples, questions and golden questions name it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ragft.data.jsonl import texts_in


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

    def matches(self, document_id: str, heading: str, title: str = "") -> bool:
        """Whether a passage is what this names.

        The document must be the same. Where a section is named, the passage's heading must be that section, as it
        stands or without the document's title at its front; case and white space do not count.

        Args:
            document_id: the passage's document.
            heading: the passage's last heading, as in `Django 4.2`.
            title: the document's title, as in `Django`.
        """
        if self == document_id:
            return True
        if not self.startswith(document_id + "#"):
            return False
        section, heading, title = (collapsed(text) for text in (self[len(document_id) + 1 :], heading, title))
        if not section or section == heading:
            return True
        return bool(title) and heading.startswith(title) and _after(heading, title) == section


def sources_in(values: Mapping[str, Any], where: str) -> tuple[Source, ...]:
    """The field `sources` of a line; empty where it is missing.

    Raises:
        UsageError: it is no list of texts, or one of the texts is empty.
    """
    return tuple(Source(text) for text in texts_in(values, "sources", where))


def collapsed(text: str) -> str:
    """A text as it is compared where case and white space do not count."""
    return " ".join(text.casefold().split())


def _after(heading: str, title: str) -> str:
    """What follows the title in a heading; nothing where the title ends within a word."""
    rest = heading[len(title) :]
    return "" if rest[:1].isalnum() else rest.lstrip(" :-–—")
