"""Runs of text in office files: pieces of a line, some of which are raised or lowered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from index.documents.formats.blocks import subscript, superscript, without_invisible

SUPERSCRIPT, SUBSCRIPT = "superscript", "subscript"

Run = tuple[str, str]
"""A text, and its vertical place: `SUPERSCRIPT`, `SUBSCRIPT`, or another word for text on the line."""


_WRITERS: dict[str, Callable[[str, str], str]] = {
    SUPERSCRIPT: superscript,
    SUBSCRIPT: lambda text, before: subscript(text),
}


def joined(runs: Sequence[Run]) -> str:
    """One text out of runs. Programs split a line into runs wherever they like, so equal neighbours are one."""
    merged: list[Run] = []
    for text, vertical in runs:
        if merged and merged[-1][1] == vertical:
            merged[-1] = (merged[-1][0] + text, vertical)
        else:
            merged.append((text, vertical))
    line = ""
    for text, vertical in merged:
        write = _WRITERS.get(vertical)
        if write is None or not text.strip():
            line += text
        else:  # white space at its ends belongs to the line
            body = write(text.strip(), line)
            line += text[: len(text) - len(text.lstrip())] + body + text[len(text.rstrip()) :]
    return without_invisible(line)
