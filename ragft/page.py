"""Pages for people: one self-contained HTML file each, which requests nothing.

A template shows what its module computed; the engine escapes what comes from data. A page may have one script of our
own, which the browser runs by its hash, and nothing else: no other script, no image, no connection.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css")


def render_page(
    template: Path, filters: dict[str, Callable[..., str]], *, script: Path | None = None, **values: Any
) -> str:
    """The page that a Jinja template makes of values.

    The template may include others in its folder, and sees beside the values: `style`, which all pages share;
    `script`, the text of the script; and `policy`, what the browser may do, for a meta tag.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(filters)
    style = STYLE.read_text(encoding="utf-8")
    own = script.read_text(encoding="utf-8") if script else ""
    own_style, own_script = Markup(style), Markup(own)  # noqa: S704  our own files
    return environment.get_template(template.name).render(
        style=own_style, script=own_script, policy=policy_of(own), **values
    )


def policy_of(script: str) -> str:
    """A content security policy under which a page loads nothing, and runs this script only."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
