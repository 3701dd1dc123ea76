"""What a check found, as rows of (state, what, detail): shown as a table, or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from ragft.console import counted

State = Literal["ok", "note", "warning", "error"]
_STYLE = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: State
    what: str
    detail: str


@dataclass
class Findings:
    """All that a check found."""

    rows: list[Finding] = field(default_factory=list)

    def add(self, state: State, what: str, detail: str) -> None:
        self.rows.append(Finding(state, what, detail))

    @property
    def errors(self) -> list[Finding]:
        """What must be mended before going on."""
        return [row for row in self.rows if row.state == "error"]

    def to_json(self) -> dict[str, Any]:
        return {"findings": [asdict(row) for row in self.rows], "errors": len(self.errors)}

    def table(self) -> Table:
        table = Table(show_header=False, box=None, padding=(0, 1))
        table.add_column()
        table.add_column()
        table.add_column(overflow="fold")  # an end cut off would make a path worthless
        for row in self.rows:
            table.add_row(Text(row.state, style=_STYLE[row.state]), row.what, row.detail)
        return table

    def summary(self) -> str:
        """One line that counts."""
        warnings = counted(sum(row.state == "warning" for row in self.rows), "warning")
        if self.errors:
            return f"{counted(len(self.errors), 'error')} and {warnings}: mend the errors first."
        return f"No errors, {warnings}."
