"""What answers and training cost, for the page and the Markdown; absent where no rates are configured."""

from __future__ import annotations

from typing import Any

from ragft.evaluate.costs import money, pay_lines, standing_line
from ragft.evaluate.report.numbers import NONE
from ragft.evaluate.score import Comparison


def prices(comparison: Comparison) -> dict[str, Any] | None:
    """A row for each setup, and sentences on when training and retrieval pay; None where nothing is priced.

    Returns:
        `{currency, energy, rows, lines}`: whether energy is known, and rows of `{setup, price, reason, kwh, seconds,
        standing, frontier}`, all but the last as text.
    """
    told = comparison.costs
    if not told:
        return None
    rows = [
        {
            "setup": setup, "price": NONE if one["price"] is None else money(one["price"]), "reason": one["reason"],
            "kwh": NONE if one["kwh"] is None else f"{one['kwh']:.3g}",
            "seconds": NONE if one["seconds"] is None else f"{one['seconds']:.2g}\u00a0s",
            "standing": standing_line(told["standing"][setup]) or NONE,
            "frontier": told["standing"][setup]["dominated_by"] in ([], ()),
        }
        for setup, one in told["setups"].items()
    ]  # fmt: skip
    energy = any(row["kwh"] != NONE for row in rows)
    lines = pay_lines(told, comparison.measure)
    return {"currency": told["currency"], "energy": energy, "rows": rows, "lines": lines}
