"""Pages for people: one self-contained HTML file each, which loads nothing and runs nothing.

A template shows what its module computed; the engine escapes what comes from data.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css")


def render_page(template: Path, filters: dict[str, Callable[..., str]], **values: Any) -> str:
    """The page that a Jinja template makes of values; `style` is the style that all pages share."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(filters)
    style = Markup(STYLE.read_text(encoding="utf-8"))  # noqa: S704  our own file
    return environment.from_string(template.read_text(encoding="utf-8")).render(style=style, **values)
