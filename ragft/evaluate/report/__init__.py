"""The comparison for people: `report.html`, `report.md`, and a table for the terminal.

The modules compute what to show; the templates say how it looks. The page is one file that requests nothing.
"""

from ragft.evaluate.report.markdown import render_markdown
from ragft.evaluate.report.page import render_report
from ragft.evaluate.report.terminal import comparison_table

__all__ = ["comparison_table", "render_markdown", "render_report"]
