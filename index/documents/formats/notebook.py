"""Jupyter notebooks: Markdown cells as they are, code and what it printed as preformatted text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from index.documents.document import Document, Skipped
from index.documents.formats.blocks import MarkdownText
from index.documents.formats.encoding import decode
from index.documents.formats.labels import nested_keys, refuse_attempts
from index.documents.formats.properties import front_matter
from index.documents.formats.settings import ReadSettings, Unreadable, refuse_long
from index.documents.visible import visible

_SIDE_FILE = "labels, in a side file"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_STATE = "widgets"
"""Key of the metadata that holds the state of interactive elements: theirs are not the author's words."""
_OF_FRONT_MATTER = re.compile(r"\s*(?:---|\+\+\+)")


def read(name: str, data: bytes, settings: ReadSettings) -> list[Document | Skipped]:
    """One document; its title is that of the front matter in the first cell, or of the notebook's metadata.

    Raises:
        Unreadable: it is no notebook, has no text, or what it says of labels cannot be understood.
    """
    try:
        notebook = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not a readable notebook ({error})") from None
    cells = _cells(notebook)
    if cells is None:
        raise Unreadable("not a readable notebook (it has no cells)")
    about = notebook.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    refuse_attempts(nested_keys({key: about[key] for key in about if key != _STATE}), "its metadata", read=_SIDE_FILE)
    blocks = (block for cell in cells for block in _blocks(cell, cell is cells[0], settings))
    text = "\n\n".join(filter(None, blocks))
    stated, text = front_matter(text)
    text = visible(text)
    if not text.strip():
        raise Unreadable("no text")
    refuse_long(len(text), settings.limits.characters)
    title = stated.title or about.get("title")
    return [
        Document.of(
            name,
            text,
            title=" ".join(title.split()) if isinstance(title, str) else None,
            labels=stated.labels or (),
            metadata=stated.metadata,
            is_markdown=True,
        )
    ]


def _cells(notebook: Any) -> list[Mapping[str, Any]] | None:
    """The cells of a notebook, which older versions put on worksheets; None if it is none."""
    if not isinstance(notebook, Mapping):
        return None
    sheets = notebook.get("worksheets")
    holders = sheets if isinstance(sheets, list) else [notebook]
    lists: list[Any] = [holder.get("cells") for holder in holders if isinstance(holder, Mapping)]
    if not all(isinstance(cells, list) and all(isinstance(cell, Mapping) for cell in cells) for cells in lists):
        return None
    return [cell for cells in lists for cell in cells]


def _blocks(cell: Mapping[str, Any], is_first: bool, settings: ReadSettings) -> Iterator[str]:
    """What is served of a cell, as Markdown."""
    kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input")))
    if kind == "markdown" or (kind == "raw" and is_first and _OF_FRONT_MATTER.match(source)):
        yield source.strip("\n")
    elif kind == "heading":
        heading = MarkdownText(settings.limits.characters)
        level = cell.get("level")
        heading.heading(level if isinstance(level, int) else 1, source)
        yield heading.text
    elif kind == "code":
        outputs = cell.get("outputs")
        shown = (
            (_shown(output) for output in outputs if isinstance(output, Mapping)) if isinstance(outputs, list) else ()
        )
        for text in (source, *shown):
            block = MarkdownText(settings.limits.characters)
            block.code(_COLOURS.sub("", text))
            yield block.text


def _shown(output: Mapping[str, Any]) -> str:
    """The text of an output: what was printed, a result, or an error without its traceback."""
    kind = output.get("output_type")
    if kind in ("error", "pyerr"):
        return f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
    if kind == "stream":
        return _joined(output.get("text"))
    data = output.get("data")
    return _joined(data.get("text/plain") if isinstance(data, Mapping) else output.get("text"))


def _joined(lines: Any) -> str:
    """A text that may be stored line by line; empty if it is neither."""
    parts = lines if isinstance(lines, list) else [lines]
    text = "".join(part for part in parts if isinstance(part, str))
    return text.replace("\r\n", "\n").replace("\r", "\n")
