"""What fields of a DOCX file show whose result is not in the file: `EQ` formulas, `SYMBOL` signs, values of forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from index.documents.formats.blocks import fraction, subscript, superscript
from index.documents.formats.docx.styles import W, is_on, value
from index.documents.formats.office import number
from index.documents.formats.symbols import CHECKED, UNCHECKED, symbol

_SYMBOL = re.compile(
    r'\s*SYMBOL\s+(?:0x([0-9a-f]{1,6})|(\d{1,7}))(?:.*\\f\s*"?([^"\\]+?)"?\s*(?:\\|$))?', re.IGNORECASE
)
_EQUATION = re.compile(r"\s*EQ\s+", re.IGNORECASE)
_SWITCHES = re.compile(
    r"(?:\\[a-z]++ ?+-?+\d*+(?:\\[()\[\]{}<>|])?+\s*+)++(?=\()|\\\*\s*+(?:\"[^\"]*+\"|[^\s\\]++)\s*+", re.IGNORECASE
)
"""The switches before the arguments of a construct, `\\f` or `\\s\\up8`, or a part of the field's format, `\\* jc2`.
Nothing is matched twice, so that no code takes long."""
_SWITCH = re.compile(r"\\([a-z]+)", re.IGNORECASE)


def shown_without_result(instruction: str, begin: Any) -> str:
    """The text of a field that keeps no result; empty for all but the kinds named above.

    Args:
        instruction: the code of the field.
        begin: the mark that begins it, which holds the data of a form.
    """
    if (equation := _EQUATION.match(instruction)) is not None:
        return _Equation(instruction, equation.end()).text().strip()
    if (sign := _SYMBOL.match(instruction)) is not None:
        code, decimal, font = sign.groups()
        return symbol(int(code, 16) if code else int(decimal), font or "Symbol")
    return _form_value(begin)


def _form_value(begin: Any) -> str:
    """The state of a check box, or the chosen entry of a list."""
    box = begin.find(f"{W}ffData/{W}checkBox")
    if box is not None:
        state = box.find(W + "checked")
        return CHECKED if is_on(state if state is not None else box.find(W + "default")) else UNCHECKED
    choice = begin.find(f"{W}ffData/{W}ddList")
    if choice is None:
        return ""
    entries = choice.findall(W + "listEntry")
    place = number(value(choice.find(W + "result")), number(value(choice.find(W + "default"))))
    return value(entries[place]) or "" if 0 <= place < len(entries) else ""


class _Equation:
    """Reads the code of an `EQ` field from left to right: text, and constructs such as `\\f(1,4)`."""

    def __init__(self, code: str, place: int) -> None:
        self._code = code
        self._place = place

    def text(self, ends: str = "") -> str:
        """The text up to one of these characters, or to the end."""
        parts: list[str] = []
        while self._place < len(self._code) and self._code[self._place] not in ends:
            switches = _SWITCHES.match(self._code, self._place)
            if switches is None:
                self._place += self._code[self._place] == "\\" and self._place + 1 < len(self._code)  # escapes the next
                parts.append(self._code[self._place])
                self._place += 1
            else:
                self._place = switches.end()
                if not switches.group().startswith("\\*"):
                    parts.append(self._construct(switches.group().lower(), "".join(parts)))
        return "".join(parts)

    def _construct(self, switches: str, before: str) -> str:
        arguments: list[str] = []
        while self._place < len(self._code) and self._code[self._place] != ")":
            self._place += 1  # the bracket, or the sign between two arguments
            arguments.append(self.text(",;)").strip())
        self._place += 1
        kind = (_SWITCH.findall(switches) or [""])[0]
        if kind == "s":
            body = " ".join(arguments)
            return subscript(body) if "\\do" in switches else superscript(body, before)
        write = _CONSTRUCTS.get(kind)
        return write(arguments) if write is not None else ", ".join(filter(None, arguments))


def _fraction(arguments: list[str]) -> str:
    is_whole = len(arguments) == 2 and all(arguments)
    return fraction(arguments[0], arguments[1]) if is_whole else " ".join(filter(None, arguments))


def _root(arguments: list[str]) -> str:
    return f"√({arguments[-1]})" if len(arguments) < 2 or not arguments[0] else f"root({', '.join(arguments)})"


def _over(arguments: list[str]) -> str:
    """Texts printed over each other: a word, and its reading in small letters above it."""
    *readings, word = arguments
    return word + "".join(f"({reading})" for reading in readings if reading)


_CONSTRUCTS: dict[str, Callable[[list[str]], str]] = {
    "f": _fraction,
    "r": _root,
    "o": _over,
    "b": lambda arguments: f"({', '.join(arguments)})",
    "x": " ".join,
    "d": lambda arguments: " ",
}
