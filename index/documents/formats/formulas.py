"""Formulas of office files (OMML) as one readable line: `d = a/(b + c)`, `x^2`, `√(x + 1)`, `∑_(i=1)^n i`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unicodedata import normalize

from index.documents.formats.blocks import fraction, subscript, superscript

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STYLED = re.compile("[\U0001d400-\U0001d7ff]+")
"""Italic, bold and other letters that Unicode has for formulas; to a search, they are to be the plain ones."""
_NOT_SHOWN = frozenset(_W + tag for tag in ("del", "moveFrom", "rPr")) | {M + "rPr", M + "ctrlPr", M + "argPr"}
_ATOM_BRACKETS = {"(": ")", "[": "]", "{": "}", "|": "|"}


def formula(element: Any) -> str:
    """The text of an `m:oMath`, an `m:oMathPara` or any element inside one."""
    if element.tag in _NOT_SHOWN:
        return ""
    kind = element.tag.removeprefix(M)
    if kind in ("t", f"{_W}t"):
        return _STYLED.sub(lambda letters: normalize("NFKC", letters.group()), element.text or "")
    write = _WRITERS.get(kind)
    return write(element) if write is not None else _joined(element)


def _joined(element: Any) -> str:
    """The parts of an element one after the other; a fraction stands apart from a number or name beside it."""
    text = ""
    was_fraction = False
    for child in element:
        part = formula(child)
        is_fraction = child.tag == M + "f"
        if part and text and (is_fraction or was_fraction) and text[-1:].isalnum() and part[:1].isalnum():
            text += " "
        text += part
        was_fraction = is_fraction if part else was_fraction
    return text


def _part(element: Any, name: str) -> str:
    found = element.find(M + name)
    return _joined(found).strip() if found is not None else ""


def _property(element: Any, name: str, default: str) -> str:
    """A property of a construct; one that is present without a value is empty."""
    found = element.find(f"{M}{element.tag.removeprefix(M)}Pr/{M}{name}")
    return default if found is None else found.get(M + "val", "")


def _grouped(text: str) -> str:
    """A part in brackets, unless it is one sign or word, or has brackets already."""
    if text.isalnum() or len(text) < 2 or (_ATOM_BRACKETS.get(text[0]) == text[-1] and text.count(text[0]) == 1):
        return text
    return f"({text})"


def _fraction(element: Any) -> str:
    above, below = _part(element, "num"), _part(element, "den")
    if _property(element, "type", "bar") == "noBar":  # a binomial coefficient: its brackets are around it
        return f"{above} over {below}"
    return fraction(above, below)


def _script(element: Any) -> str:
    base, below, above = (_part(element, name) for name in ("e", "sub", "sup"))
    base = base if base.isalnum() or len(base) < 2 else _grouped(base)
    return base + (subscript(below) if below else "") + (superscript(above, base or "x") if above else "")


def _left_script(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    return (subscript(below) if below else "") + (superscript(above, "x") if above else "") + _part(element, "e")


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(degree)
    body = _part(element, "e")
    return f"{sign}({body})" if sign else f"root({degree}, {body})"


def _large_operator(element: Any) -> str:
    sign = _property(element, "chr", "∫")
    below, above, body = (_part(element, name) for name in ("sub", "sup", "e"))
    limits = (f"_{_grouped(below)}" if below else "") + (f"^{_grouped(above)}" if above else "")
    return f"{sign}{limits} {body}".rstrip()


def _brackets(element: Any) -> str:
    first, last = _property(element, "begChr", "("), _property(element, "endChr", ")")
    between = _property(element, "sepChr", "|")
    return first + between.join(_joined(part).strip() for part in element.iterfind(M + "e")) + last


def _function(element: Any) -> str:
    name, body = _part(element, "fName"), _part(element, "e")
    return name + (body if body.startswith("(") else f" {body}") if body else name


def _limit(sign: str) -> Callable[[Any], str]:
    return lambda element: f"{_part(element, 'e')}{sign}{_grouped(_part(element, 'lim'))}"


def _matrix(element: Any) -> str:
    rows = (", ".join(_joined(cell).strip() for cell in row.iterfind(M + "e")) for row in element.iterfind(M + "mr"))
    return "; ".join(rows)


def _equations(element: Any) -> str:
    return "; ".join(_joined(part).strip().replace("&", "") for part in element.iterfind(M + "e"))


def _accent(element: Any) -> str:
    accent, body = _property(element, "chr", "\u0302"), _part(element, "e")
    return body + accent if len(body) == 1 else f"{_grouped(body)}{accent}"


def _bar(element: Any) -> str:
    body = _part(element, "e")
    return f"{body}\u0305" if len(body) == 1 else f"overline({body})"


def _phantom(element: Any) -> str:
    return "" if _property(element, "show", "1") in ("0", "off", "false") else _part(element, "e")


def _paragraph(element: Any) -> str:
    """Formulas of their own, one per line."""
    return "\n".join(filter(None, (formula(part).strip() for part in element if part.tag != M + "oMathParaPr")))


_WRITERS: dict[str, Callable[[Any], str]] = {
    "f": _fraction,
    "sSup": _script,
    "sSub": _script,
    "sSubSup": _script,
    "sPre": _left_script,
    "rad": _root,
    "nary": _large_operator,
    "d": _brackets,
    "func": _function,
    "limLow": _limit("_"),
    "limUpp": _limit("^"),
    "m": _matrix,
    "eqArr": _equations,
    "acc": _accent,
    "bar": _bar,
    "phant": _phantom,
    "oMathPara": _paragraph,
    f"{_W}br": lambda element: "\n",
}
