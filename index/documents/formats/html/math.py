"""MathML as one line that can be read and searched: `E = mc^2`, `1/4`, `√(a + b)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from selectolax.lexbor import LexborNode

from index.documents.formats.blocks import fraction, subscript, superscript

_DEEPEST = 60
"""Formulas nested deeper are written as plain text."""
_SKIPPED = frozenset(["annotation", "annotation-xml", "mphantom", "mspace", "maligngroup", "malignmark", "none"])
_TOKENS = frozenset(["mi", "mn", "mo", "mtext", "ms"])
_SILENT = str.maketrans(dict.fromkeys("\u2061\u2062\u2063\u2064", ""))
"""Operators that are meant and not shown, such as the times of `mc`."""
_OPENING, _CLOSING = frozenset("([{⟨⌈⌊|‖"), frozenset(")]}⟩⌉⌋|‖!′″‴%°")
_PREFIXES = frozenset("∑∏∫∬∮∂∇√¬∀∃")
_ACCENTS = {
    "¯": "\u0304", "‾": "\u0304", "_": "\u0304", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303",
    "→": "\u20d7", "˙": "\u0307", ".": "\u0307", "¨": "\u0308",
}  # fmt: skip


def formula(math: LexborNode) -> str:
    """A formula in one line of plain text; fractions, exponents and roots are told apart from their neighbours."""
    try:
        text = _row(_children(math), _DEEPEST)
    except RecursionError:
        text = math.text(separator=" ")
    return " ".join(text.split()) or " ".join((math.attributes.get("alttext") or "").split())


def _children(node: LexborNode) -> list[LexborNode]:
    return [child for child in node.iter() if child.tag not in _SKIPPED]


def _row(nodes: list[LexborNode], depth: int) -> str:
    """Terms side by side, with blanks around operators and between what would run together."""
    written: list[str] = []
    last = "operator"
    for node in nodes:
        text, kind = _piece(node, depth)
        if not text:
            continue
        if kind == "operator":
            text, kind = _spaced_operator(text, is_prefix=last in ("operator", "opening"))
        elif last in ("term", "long", "closing") and (kind == "long" or last == "long"):
            text = " " + text
        written.append(text)
        last = kind
    return "".join(written).strip()


def _piece(node: LexborNode, depth: int) -> tuple[str, str]:
    """A term of a row, and what it is: an operator, a `term` that may touch the next one, or a `long` one."""
    text = _written(node, depth)
    if node.tag == "mo":
        return text, "operator"
    is_term = len(text) == 1 or (node.tag in ("msup", "msub", "msubsup") and " " not in text) or text[:1] in _OPENING
    is_factor = node.tag == "mn" and text.isdecimal()
    return text, "term" if is_term or is_factor else "long"


def _spaced_operator(text: str, is_prefix: bool) -> tuple[str, str]:
    if text in _CLOSING and not (is_prefix and text in _OPENING):
        return text, "closing"
    if text in _OPENING:
        return text, "opening"
    if text in (",", ";"):
        return text + " ", "operator"
    if text in _PREFIXES:
        return text, "opening"
    return (text, "opening") if is_prefix else (f" {text} ", "operator")


def _written(node: LexborNode, depth: int) -> str:
    if depth <= 0:
        raise RecursionError
    tag = node.tag or ""
    if tag in _TOKENS:
        text = " ".join(node.text().translate(_SILENT).split())
        return f'"{text}"' if tag == "ms" else text
    children = _children(node)
    if tag == "mtable":
        return "[" + "; ".join(_written(row, depth - 1) for row in children) + "]"
    if tag in ("mtr", "mlabeledtr"):
        return ", ".join(_written(cell, depth - 1) for cell in children)
    if tag == "semantics" or tag == "maction":
        return _written(children[0], depth - 1) if children else ""
    if tag == "mfenced":
        inner = ", ".join(_written(child, depth - 1) for child in children)
        return f"{node.attributes.get('open') or '('}{inner}{node.attributes.get('close') or ')'}"
    write = _SCHEMES.get(tag)
    if write is None or (tag != "msqrt" and len(children) < 2):
        return _row(children, depth - 1)
    if tag == "msqrt":
        return write(iter([_row(children, depth - 1)]))
    return write(_written(child, depth - 1) for child in children)


def _fraction(parts: Iterator[str]) -> str:
    return fraction(next(parts), next(parts))


def _power(parts: Iterator[str]) -> str:
    base = _base(next(parts))
    return base + superscript(next(parts), base)


def _index(parts: Iterator[str]) -> str:
    return _base(next(parts)) + subscript(next(parts))


def _index_and_power(parts: Iterator[str]) -> str:
    base = _base(next(parts)) + subscript(next(parts))
    return base + superscript(next(parts, ""), base)


def _over(parts: Iterator[str]) -> str:
    base, above = next(parts), next(parts)
    return base + _ACCENTS[above] if len(base) == 1 and above in _ACCENTS else _power(iter([base, above]))


def _root(parts: Iterator[str]) -> str:
    base, degree = next(parts), next(parts)
    return f"{_base(base)}^(1/{degree})"


def _square_root(parts: Iterator[str]) -> str:
    inner = next(parts)
    return f"√{inner}" if re.fullmatch(r"\w+", inner) else f"√({inner})"


def _scripts(parts: Iterator[str]) -> str:
    return " ".join(filter(None, parts))


def _base(text: str) -> str:
    """What an exponent or index belongs to, in brackets if it would otherwise belong to its last term alone."""
    return f"({text})" if " " in text and text[:1] not in _OPENING else text


_SCHEMES: dict[str, Callable[[Iterator[str]], str]] = {
    "mfrac": _fraction,
    "msup": _power,
    "msub": _index,
    "msubsup": _index_and_power,
    "munder": _index,
    "munderover": _index_and_power,
    "mover": _over,
    "mroot": _root,
    "msqrt": _square_root,
    "mmultiscripts": _scripts,
}
