"""The sheet as one page that works offline: it loads nothing, and its script sends nothing anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ragft.evaluate.people.sheets import COLUMNS, Item, Key
from ragft.page import render_page


def sheet_page(key: Key, items: Sequence[Item]) -> str:
    """The page of a sheet; what it downloads is the sheet as CSV, with the choices."""
    from markupsafe import Markup

    told = {"sheet": key.sheet, "columns": COLUMNS, "items": [asdict(item) for item in items]}
    # Within a script element nothing but its end tag counts, and `<` is the only way to write one.
    data = Markup(json.dumps(told, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704
    return render_page(
        Path(__file__).with_name("sheet.html.j2"), {}, asked=key.asked, seal=key.seal, sheet=key.sheet,
        count=len(items), data=data,
    )  # fmt: skip
