"""An audit for people: `audit.html`, with findings, rows, lengths, and the map of the documents.

This module computes what to show; `audit.html.j2` says how it looks. Personal values are not shown: their kinds are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragft.console import counted
from ragft.data.audit.coverage import Coverage
from ragft.data.audit.kinds import ABOUT, KINDS, Flag, Kind
from ragft.data.personal import labelled, replaced
from ragft.page import render_page

if TYPE_CHECKING:
    from ragft.data.audit import Audit

WIDTH, HEIGHT = 1000, 260
"""Of the area of a histogram, in the SVG's own units."""
MAP_WIDTH, MAP_HEIGHT = 1000, 560
_LETTER, _LINE = 7.2, 16.0
"""Width of a letter and height of a line of the map's labels, about."""
_BARS = 40
_MENDABLE: tuple[Kind, ...] = ("personal", "untidy", "duplicate", "near_duplicate")
_ROWS = 5
"""Rows that are shown of each kind."""
_LONGEST = 600
"""Characters that are shown of a text."""


def render_audit(found: Audit, name: str, seed: int) -> str:
    """The page of one audit."""
    figures: Any = found.figures()
    table = found.scan.table
    return render_page(
        Path(__file__).with_name("audit.html.j2"),
        {"percent": lambda share: f"{share:.1%}"},
        name=name,
        rows=len(table),
        flagged=figures["flagged"],
        errors=len(found.findings.errors),
        warnings=sum(row.state == "warning" for row in found.findings.rows),
        mendable=sum(found.scan.flags.counts[kind] for kind in _MENDABLE),
        findings=found.findings.rows,
        kinds=[_kind(found, kind) for kind in KINDS if found.scan.flags.counts[kind]],
        histograms=_histograms(found),
        tables=_tables(figures),
        coverage=_map(found.coverage) if found.coverage and found.coverage.clusters else None,
        counted=counted,
        width=WIDTH, height=HEIGHT, map_width=MAP_WIDTH, map_height=MAP_HEIGHT,
        seed=seed,
    )  # fmt: skip


def _kind(found: Audit, kind: Kind) -> dict[str, Any]:
    """A kind of fault with its first rows."""
    about, flags = ABOUT[kind], found.scan.flags
    count = flags.counts[kind]
    return {
        "kind": kind, "title": about.title, "state": about.state, "advice": about.advice, "count": count,
        "told": about.told.format(rows=counted(count, "row")),
        "rows": [_row(found, flag) for flag in flags.shown[kind][:_ROWS]],
    }  # fmt: skip


def _row(found: Audit, flag: Flag) -> dict[str, Any]:
    scan = found.scan
    shown: dict[str, Any] = {
        "line": scan.table.line[flag.row],
        "detail": flag.detail,
        **_texts(found, flag.row),
        "of": None,
    }
    if flag.of >= 0:
        shown["of"] = {"line": scan.table.line[flag.of], **_texts(found, flag.of)}
    return shown


def _texts(found: Audit, row: int) -> dict[str, str]:
    """Question and answer of a row, or the line as it is where it cannot be read."""
    example = found.scan.example(row)
    if example is None:
        raw = found.scan.values(row).decode("utf-8", "replace")
        return {"question": "", "answer": _shown(found, raw), "id": ""}
    return {"question": _shown(found, example.spoken), "answer": _shown(found, example.answer), "id": example.id}


def _shown(found: Audit, text: str) -> str:
    hidden = replaced(text, found.scan.rules.find(text), labelled)
    return hidden if len(hidden) <= _LONGEST else hidden[:_LONGEST] + " …"


def _histograms(found: Audit) -> list[dict[str, Any]]:
    titles = {
        "question": ("Questions", "characters"), "answer": ("Answers", "characters"),
        "tokens": ("Question and answer", "tokens of the base model"),
    }  # fmt: skip
    lengths = found.scan.seen.lengths
    return [
        {"title": title, "unit": unit, **_histogram(lengths[name])}
        for name, (title, unit) in titles.items()
        if lengths.get(name)
    ]


def _histogram(counts: Counter[int]) -> dict[str, Any]:
    """Bars of counted lengths; the longest hundredth is one bar, so that one long row does not flatten all others."""
    lengths = np.array(sorted(counts), dtype=np.int64)
    numbers = np.array([counts[length] for length in lengths.tolist()], dtype=np.int64)
    reached = np.cumsum(numbers) / numbers.sum()
    top = int(lengths[np.searchsorted(reached, 0.99)]) + 1
    size = max(1, math.ceil(top / _BARS))
    places = np.minimum(lengths // size, math.ceil(top / size))
    bars = np.bincount(places, weights=numbers).astype(np.int64)
    width = WIDTH / len(bars)
    return {
        "bars": [
            {
                "x": round(place * width, 1), "width": round(width - 1.5, 1),
                "height": round(HEIGHT * count / bars.max(), 1),
                "text": f"{place * size:,}–{(place + 1) * size - 1:,}: {counted(int(count), 'row')}"
                if place * size < top else f"{place * size:,} and more: {counted(int(count), 'row')}",
            }
            for place, count in enumerate(bars.tolist())
        ],
        "ticks": [
            {"x": round(WIDTH * part / 4, 1), "text": f"{round(len(bars) * size * part / 4):,}"} for part in range(5)
        ],
        "median": int(lengths[np.searchsorted(reached, 0.5)]), "most": int(lengths[-1]),
    }  # fmt: skip


def _tables(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Counts with a bar each."""
    titles = {"tags": "Tags", "languages": "Languages", "groups": "Groups of people named", "personal": "Personal data"}
    notes = {
        "languages": "Questions and answers, each counted; short ones and tables cannot be told.",
        "groups": "Rows with a term of evaluate.bias.groups.",
        "personal": "Values that were found; this page shows their kinds only.",
    }
    shown = []
    for name, title in titles.items():
        counts = sorted(figures[name].items(), key=lambda item: (-item[1], item[0]))[:20]
        if counts:
            most = counts[0][1]
            rows = [{"name": key, "count": count, "share": count / most} for key, count in counts]
            shown.append({"title": title, "note": notes.get(name, ""), "rows": rows})
    return shown


def _map(found: Coverage) -> dict[str, Any]:
    largest = max(one.passages for one in found.clusters)
    kinds = {
        (True, True): ("both", "examples and questions"), (True, False): ("examples", "examples, no question"),
        (False, True): ("questions", "questions, no example"), (False, False): ("neither", "neither"),
    }  # fmt: skip
    edge = 46.0
    bubbles: list[dict[str, Any]] = []
    for one in found.clusters:
        kind, told = kinds[bool(one.examples), bool(one.questions)]
        bubbles.append({
            "x": round(edge + (MAP_WIDTH - 2 * edge) * one.x, 1), "y": round(edge + (MAP_HEIGHT - 2 * edge) * one.y, 1),
            "r": round(6 + 34 * math.sqrt(one.passages / largest), 1), "kind": kind,
            "text": f"{one.title}: {counted(one.passages, 'passage')}, {counted(one.examples, 'example')}, "
            f"{counted(one.questions, 'question')} ({told})",
        })  # fmt: skip
    named = zip(bubbles, found.clusters, strict=True)
    return {
        "bubbles": bubbles, "labels": _labels([(at["x"], at["y"], _short(one.title)) for at, one in named]),
        "legend": list(kinds.values()), "clusters": _listed(found), "shown": found.shown,
        "suggestions": found.suggestions(), "unplaced": found.unplaced,
    }  # fmt: skip


def _labels(named: Sequence[tuple[float, float, str]]) -> list[dict[str, Any]]:
    """Names where they are read: within the map, and not over each other; the earlier of two that would be stays."""
    placed: list[tuple[float, float, float]] = []
    labels = []
    for x, y, text in named:
        half = _LETTER * len(text) / 2
        centre = min(max(x, half), MAP_WIDTH - half)
        if all(abs(y - other) > _LINE or abs(centre - middle) > half + wide for middle, other, wide in placed):
            placed.append((centre, y, half))
            labels.append({"x": round(centre, 1), "y": round(y + 4, 1), "text": text})
    return labels


def _listed(found: Coverage) -> Sequence[dict[str, Any]]:
    usual = sum(one.examples for one in found.clusters) / sum(one.passages for one in found.clusters)
    return [
        {
            "title": one.title, "passages": one.passages, "examples": one.examples, "questions": one.questions,
            "share": min(1.0, one.examples / (usual * one.passages) / 2) if usual else 0.0,
            "scarce": place in found.scarce, "uncovered": ", ".join(one.uncovered[:3]),
        }
        for place, one in enumerate(found.clusters)
    ]  # fmt: skip


def _short(title: str) -> str:
    return title if len(title) <= 26 else title[:25] + "…"
