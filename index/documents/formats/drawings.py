"""Drawings of office files: the figures of charts, the words of diagrams, and what is said about pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from index.documents.formats.blocks import MarkdownText
from index.documents.formats.office import OfficeFile, R

_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DGM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
FIGURES = (_C + "chart", _DGM + "relIds")
"""Elements that stand for a chart or a diagram."""

_LONG_NUMBER = re.compile(r"-?\d+\.\d{9,}(?:[eE][+-]?\d{1,3})?")
_PHRASE = re.compile(r"(?!\w+:[/\\])\S+ \S")
_MOST_POINTS = 1000
"""Points of a chart that are written; beyond, it shows a curve and not figures."""


def description(properties: Any | None) -> str:
    """What the author of a picture says about it, to those who cannot see it, in the attribute `descr` of this element.

    Programs put the name of the picture's file, or its address, in the same place; these are left out.
    """
    words = " ".join((properties.get("descr") or "").split()) if properties is not None else ""
    return words if _PHRASE.match(words) else ""


def write_figure(out: MarkdownText, file: OfficeFile, part: str, figure: Any) -> None:
    """Write a chart as a table under its title, or a diagram as a list.

    Args:
        part: name of the part in which the figure stands.
        figure: the element that refers to its data, one of those in `FIGURES`.
    """
    is_chart = figure.tag == _C + "chart"
    relation = file.relations(part).get(figure.get(R + ("id" if is_chart else "dm"), ""))
    data = file.part(relation.target) if relation is not None and not relation.is_external else None
    if data is None:
        return
    if not is_chart:
        for line in _diagram_lines(data):
            out.item("-", line)
        return
    title = data.find(f"{_C}chart/{_C}title")
    out.paragraph(" ".join(_words(title)) if title is not None else "")
    for rows in _chart_tables(data):
        out.table(rows, has_header=True)


@dataclass(frozen=True, slots=True)
class _Series:
    """A row of values in a chart, by the places of its points, and the categories or numbers they stand over."""

    name: str
    over: dict[int, str]
    values: dict[int, str]


def _chart_tables(chart: Any) -> Iterator[list[list[str]]]:
    """Tables with the names of series as a header; series that stand over the same categories share one."""
    shared: list[_Series] = []
    for element in chart.iter(_C + "ser"):
        over = _points(element.find(_C + "cat"), element.find(_C + "xVal"))
        values = _points(element.find(_C + "val"), element.find(_C + "yVal"))
        series = _Series(" ".join(_points(element.find(_C + "tx")).values()), over, values)
        if not 0 < len(values) <= _MOST_POINTS:
            continue
        if shared and over and over != shared[0].over:
            yield _table(shared)
            shared = []
        shared.append(series)
    if shared:
        yield _table(shared)


def _table(shared: Sequence[_Series]) -> list[list[str]]:
    places = sorted({place for series in shared for place in series.values})
    rows = [[shared[0].over.get(place, ""), *(series.values.get(place, "") for series in shared)] for place in places]
    return [["", *(series.name for series in shared)], *rows]


def _points(*holders: Any | None) -> dict[int, str]:
    """The cached values of the first of these that is there, by their place."""
    found = next((holder for holder in holders if holder is not None), None)
    points: dict[int, list[str]] = {}
    if found is not None:
        # The levels of a category come from the innermost: "January", then "2024" for all its months.
        for point in found.iter(_C + "pt"):
            place = point.get("idx", "")
            if place.isdecimal() and (text := point.findtext(_C + "v")):
                points.setdefault(int(place), []).append(_value(text))
        if not points and (text := found.findtext(_C + "v")):
            return {0: text.strip()}
    return {place: ", ".join(texts) for place, texts in points.items()}


def _value(text: str) -> str:
    """A cached value as it was typed: 4.4, where the file holds 4.4000000000000004."""
    text = text.strip()
    return f"{float(text):.15g}" if _LONG_NUMBER.fullmatch(text) else text


def _diagram_lines(data: Any) -> list[str]:
    """The texts of a diagram's shapes, in the order in which its author wrote them."""
    points = (point for point in data.iter(_DGM + "pt") if point.get("type", "node") in ("node", "asst"))
    return [text for point in points if (text := " ".join(_words(point)))]


def _words(element: Any) -> Iterator[str]:
    """The text of each paragraph, without white space at its ends."""
    for paragraph in element.iter(_A + "p"):
        if text := "".join(run.text or "" for run in paragraph.iter(_A + "t")).strip():
            yield text
