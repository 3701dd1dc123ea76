"""Names of the parts that a page's own style rules hide or strike: `.draft { display: none }`.

Only rules of one class or id are understood, and rules that hide only in a page without scripts: a script may show a
part when its reader asks for it, as the answers of a folded list of questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborNode

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}]*)\{([^{}]*)\}")
_BLOCK = re.compile(r"@[^{};]*(?:;|\{(?:[^{}]|\{[^{}]*\})*\})")
"""Rules for print, for narrow screens and the like."""
_ONE_NAME = re.compile(r"[a-z][a-z0-9]*[.#][\w-]+|[.#][\w-]+", re.I)
_NAME = re.compile(r"[.#][\w-]+")
_HIDES = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.I)
_STRIKES = re.compile(r"(?:^|;)\s*text-decoration(?:-line)?\s*:[^;]*\bline-through\b", re.I)
_SHOWS = re.compile(r"(?:^|;)\s*(?:display|visibility|text-decoration(?:-line)?)\s*:", re.I)
_MOST_CHARACTERS = 200_000


def hidden_names(root: LexborNode) -> frozenset[str]:
    """The classes (`.draft`) and ids (`#draft`) of a page whose elements are hidden or struck."""
    styles = [style.text() for style in root.css("style")]
    if not styles or sum(map(len, styles)) > _MOST_CHARACTERS:
        return frozenset()
    runs_scripts = any(map(_is_run, root.css("script")))
    hidden: set[str] = set()
    shown: set[str] = set()
    for selector, declarations in _rules("\n".join(styles)):
        is_hidden = _HIDES.search(declarations) is not None and not runs_scripts
        if _ONE_NAME.fullmatch(selector) and (is_hidden or _STRIKES.search(declarations)):
            hidden.update(_NAME.findall(selector.lower()))
        elif _SHOWS.search(declarations):
            shown.update(_NAME.findall(selector.lower()))
    return frozenset(hidden - shown)


def _is_run(script: LexborNode) -> bool:
    return (script.attributes.get("type") or "text/javascript").lower().endswith(("javascript", "ecmascript", "module"))


def _rules(styles: str) -> Iterator[tuple[str, str]]:
    """Each selector with its declarations."""
    for match in _RULE.finditer(_BLOCK.sub("", _COMMENT.sub("", styles))):
        for selector in match.group(1).split(","):
            yield selector.strip(), match.group(2)
