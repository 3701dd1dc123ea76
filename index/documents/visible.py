"""What a reader of a Markdown page sees: without comments, data: URIs, scripts and styles, HTML headings as headings.

Applied where Markdown that people wrote is read; the other formats write Markdown of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape

from index.documents.footnotes import beside_their_marks

_BEGINNING = re.compile(
    r"[`~<](?:(?<=`)`*|(?<=~)~~+|(?<=<)(?:(?P<comment>!--)|(?P<tag>(?i:pre|script|style|h[1-6]))\b[^<>]*>))"
)
"""Where code, a comment or raw HTML may begin. One set of characters at its head makes the search ten times as fast."""
_AFTER_TICKS = re.compile(r"[^`\n]*$", re.MULTILINE)
_TICKS = re.compile(r"`+")
_TAG = re.compile(r"<[^<>]*>")
_ONLY_TAGS = re.compile(r"[ \t]*(?:<[^<>\n]*>[ \t]*)*")
_INLINE_TAG = re.compile(r"</?(?i:a|b|br|code|em|i|img|kbd|samp|small|span|strong|sub|sup|u|var)\b[^<>]*>")
_ALT = re.compile(r"""(?i:\balt)\s*=\s*["']([^"']+)["']""")

_DATA_URI = re.compile(r"(?:data|DATA):[\w.+-]+/[\w.+-]+(?:;[\w.+=-]+)*,")
_PAYLOAD = re.compile(r"[^\s\"'<>)`]*")
_SHORT = 64
"""A data: URI of fewer characters may be what a text is about, and does no harm."""

_Replacement = tuple[int, int, str]
"""Start and end of a part of a text, and what is to stand there instead."""


def visible(text: str) -> str:
    """A Markdown text, reduced to what a reader of the page sees.

    Comments, scripts, styles and data: URIs go. Headings and preformatted text in HTML are written as Markdown, and
    footnotes stand in the sections that refer to them. Code is left as it is, but for the URIs. What is not closed
    stays.
    """
    text = without_data_uris(text)
    return beside_their_marks(_replaced(text, _hidden(text)) if "<" in text else text)


def without_data_uris(text: str) -> str:
    """A text without its data: URIs, which hold pictures and fonts in letters that nobody reads."""
    return _replaced(text, _data_uris(text)) if "data:" in text or "DATA:" in text else text


def _replaced(text: str, replacements: Iterable[_Replacement]) -> str:
    """A text with some of its parts, given in order, replaced."""
    parts: list[str] = []
    done = 0
    for start, end, new in replacements:
        parts += (text[done:start], new)
        done = end
    return "".join([*parts, text[done:]])


def _data_uris(text: str) -> Iterator[_Replacement]:
    done = 0
    for match in _DATA_URI.finditer(text):
        start = match.start()
        if start < done:
            continue
        # Within quotes a URI may hold blanks and brackets: pictures that are written as SVG.
        quote = text[start - 1] if start else ""
        done = text.find(quote, match.end()) if quote in ('"', "'") else -1
        if done < 0:
            payload = _PAYLOAD.match(text, match.end())
            done = payload.end() if payload else match.end()
        if done - start >= _SHORT:
            yield start, done, ""


def _hidden(text: str) -> Iterator[_Replacement]:
    """What stands instead of each comment, and of HTML that is not part of code."""
    place = paragraph = 0
    unclosed: set[str] = set()
    while begin := _BEGINNING.search(text, place):
        place, mark = begin.end(), begin.group()
        if mark[0] != "<":
            if _is_fence(text, begin.start(), place):
                place = _end_of_fence(text, mark, place)
            elif mark[0] == "`" and text[begin.start() - 1 : begin.start()] != "\\":
                if paragraph <= place:
                    paragraph = _end_of_paragraph(text, place)
                ticks = _TICKS.finditer(text, place, paragraph)
                place = next((run.end() for run in ticks if run.group() == mark), place)
        elif (name := (begin["tag"] or "").lower()) not in unclosed:
            end = re.compile(rf"</{name}\s*>" if name else "-->", re.IGNORECASE).search(text, place)
            if end is None:
                # Searched once: a text full of what is never closed must not be read again and again.
                unclosed.add(name)
            elif (instead := _instead(name, text, begin.start(), text[place : end.start()])) is not None:
                place = end.end()
                yield _on_lines_of_its_own(text, begin.start(), place, instead)


def _is_fence(text: str, start: int, end: int) -> bool:
    """Whether these ticks or tildes begin fenced code: three or more at the begin of a line, or of a quoted one."""
    margin = start
    while margin and text[margin - 1] in " \t>":
        margin -= 1
    begins_line = not margin or text[margin - 1] == "\n"
    return begins_line and end - start >= 3 and (text[start] == "~" or _AFTER_TICKS.match(text, end) is not None)


def _end_of_fence(text: str, mark: str, place: int) -> int:
    """Where the code ends that a fence of this mark begins; at the end of the text if nothing closes it."""
    end = re.compile(rf"^[ \t>]*{mark[0]}{{{len(mark)},}}[ \t]*$", re.MULTILINE).search(text, place)
    return end.end() if end else len(text)


def _end_of_paragraph(text: str, place: int) -> int:
    end = text.find("\n\n", place)
    return len(text) if end < 0 else end


def _instead(name: str, text: str, start: int, inside: str) -> str | None:
    """The Markdown for a comment (no name) or an HTML element that begins at `start`; None if it stays as it is."""
    if name in ("", "script", "style"):
        return ""
    # In a cell of a table, or quoted in a sentence, it is not a block.
    if not _ONLY_TAGS.fullmatch(text, text.rfind("\n", 0, start) + 1, start):
        return None
    return (_fenced(inside) if name == "pre" else _heading(int(name[1]), inside)) or None


def _fenced(html: str) -> str:
    """Preformatted text as fenced code, in a fence that nothing inside can close; empty if it is blank."""
    code = unescape(_INLINE_TAG.sub("", html)).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(code)), default=0))
    return f"{fence}\n{code}\n{fence}" if code.strip() else ""


def _heading(level: int, html: str) -> str:
    """A heading of HTML as one of Markdown; empty if it has no words."""
    words = " ".join(unescape(_TAG.sub(" ", html)).split()) or " ".join(_ALT.findall(html))
    return f"{'#' * level} {words}" if words.strip("#") else ""


def _on_lines_of_its_own(text: str, start: int, end: int, new: str) -> _Replacement:
    """A replacement that begins and ends a line if it is a block, or else takes away the line that it leaves blank."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    last = len(text) if last < 0 else last
    begins, ends = not text[first:start].strip(), not text[end:last].strip()
    if not new:
        return (first, min(last + 1, len(text)), "") if begins and ends else (start, end, "")
    above, below = "" if begins else "\n\n", "" if ends else "\n\n"
    return first if begins else start, end, above + new + below
