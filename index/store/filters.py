"""A small typed language of filters over the metadata, document, title and page of a passage.

    {"product": "nginx", "year": {"gte": 2024}, "not": {"document": {"glob": "drafts/*"}}}

Knows values and patterns, nothing of segments or searches; `columns` knows which rows have which values.

A field that a passage does not have fails every test but `{"exists": false}`. A value of another type fails, too,
unless it is text that is nothing but a number or a truth value: `values` says which. A list (such as tags) passes if
any of its entries does.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from index.documents.document import Value
from index.documents.formats.labels import fault_of_label, label_name
from index.errors import IndexFault
from index.store.values import ORDERS, Scalar, equal_to, is_scalar, ordered

PSEUDO_FIELDS = ("document", "title", "page")
"""Fields beside the metadata; a metadata field of one of these names is written `metadata.title`."""

OPERATORS = ("eq", "in", "gt", "gte", "lt", "lte", "glob", "exists")
EVERYTHING = "*"
"""Stands for all labels in a list of labels."""

# Far more than a person writes, far less than would keep a server busy.
_MAX_DEPTH = 16
_MAX_TESTS = 100
_MAX_VALUES = 10_000

Labels = frozenset[str] | None
"""A caller sees documents without labels, and those with any of these; None: all documents."""

Test = Callable[[Value | None], bool]

_WHERE = re.compile(r"\s*([^=<>!~]+?)\s*(>=|<=|!=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_WHERE_OPERATORS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt", "~": "glob"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class FilterError(IndexFault):
    """A filter or a list of labels cannot be understood."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class FieldTest:
    """A test of one field: a metadata field, without `metadata.`, or one of `PSEUDO_FIELDS` (then `pseudo`)."""

    field: str
    pseudo: bool
    passes: Test
    """Tells whether a value passes; None stands for a missing field."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Parts of which all (`and`) or any (`or`) must hold, or a single one that must not (`not`)."""

    kind: str
    parts: tuple[Expression, ...]


Expression = FieldTest | Combination


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter; equal to another one with the same JSON (`text`, keys sorted)."""

    text: str
    expression: Expression = field(compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The value that `parse_filter` was given."""
        return dict(json.loads(self.text))


def parse_filter(value: object) -> Filter:
    """Parse a filter from decoded JSON; raises FilterError if it cannot be understood.

    It is `{field: value}`, `{field: {operator: value, ...}}`, `{"not": filter}`, `{"and": [filters]}` or
    `{"or": [filters]}`. All keys of an object must hold; an empty object always holds.
    """
    expression = _Parser().parse(value, 1)
    return Filter(json.dumps(value, sort_keys=True, ensure_ascii=False), expression)


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """Parse the conditions of a command line, all of which must hold; None if there are none.

    A condition is `field=value`, `!=`, `>=`, `<=`, `>`, `<`, `field~pattern`, or a filter in JSON. A value that reads
    as a number or as true or false equals that value and also the same text. Raises FilterError for any other.
    """
    if not conditions:
        return None
    parts = [_where(condition) for condition in conditions]
    return parse_filter(parts[0] if len(parts) == 1 else {"and": parts})


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """The filter that holds where both hold; None stands for no filter."""
    if first is None or second is None:
        return first or second
    # Not parsed again, because together they may exceed the limits for one filter.
    text = json.dumps({"and": [first.to_json(), second.to_json()]}, sort_keys=True, ensure_ascii=False)
    return Filter(text, Combination("and", (first.expression, second.expression)))


def parse_labels(text: str) -> Labels:
    """Parse a caller's access labels, as in `staff,human resources`; `*` stands for all, an empty text for none.

    Raises FilterError if one is blank or cannot be the label of a document (see `index.documents.formats.labels`).
    """
    if not text.strip():
        return frozenset()
    labels = [label_name(label) for label in re.split("[,;]", text)]
    for label in labels:
        if label != EVERYTHING and (fault := fault_of_label(label)) is not None:
            raise FilterError(f"The labels {text!a} are not `label[,label]`: {fault}.")
    return None if EVERYTHING in labels else frozenset(labels)


class _Parser:
    """Parses one filter and counts its tests."""

    def __init__(self) -> None:
        self._tests = 0

    def parse(self, value: object, depth: int) -> Expression:
        if depth > _MAX_DEPTH:
            raise FilterError(f"The filter is nested more than {_MAX_DEPTH} deep; write it flatter.")
        if not isinstance(value, Mapping):
            raise FilterError(f'A filter is an object such as {{"year": {{"gte": 2024}}}}, not {_shown(value)}.')
        parts: list[Expression] = []
        for key, content in value.items():
            if not isinstance(key, str):
                raise FilterError(f"The name of a field in a filter is a text, not {_shown(key)}.")
            if key == "not":
                parts.append(Combination("not", (self.parse(content, depth + 1),)))
            elif key in ("and", "or"):
                if not isinstance(content, list):
                    raise FilterError(f"{key!r} in a filter takes a list of filters, not {_shown(content)}.")
                parts.append(Combination(key, tuple(self.parse(part, depth + 1) for part in content)))
            else:
                parts += self._field(key, content)
        return parts[0] if len(parts) == 1 else Combination("and", tuple(parts))

    def _field(self, name: str, content: object) -> list[Expression]:
        tests = content if isinstance(content, Mapping) else {"eq": content}
        if not tests:
            raise FilterError(f"The filter says nothing about {name!r}; use one of {', '.join(OPERATORS)}.")
        found: list[Expression] = []
        for kind, value in tests.items():
            self._tests += 1
            if self._tests > _MAX_TESTS:
                raise FilterError(f"The filter holds more than {_MAX_TESTS} tests; use `in` for many values.")
            found.append(FieldTest(name.removeprefix("metadata."), name in PSEUDO_FIELDS, _test(name, kind, value)))
        return found


def _test(name: str, kind: object, value: object) -> Test:
    if kind == "exists":
        if not isinstance(value, bool):
            raise FilterError(f"'exists' of {name!r} in a filter takes true or false, not {_shown(value)}.")
        return lambda found: (found is not None) == value
    if kind == "eq":
        return _any(_equal_to(name, "eq", [value]))
    if kind == "in":
        if not isinstance(value, list | tuple):
            raise FilterError(f"'in' of {name!r} in a filter takes a list of values, not {_shown(value)}.")
        if len(value) > _MAX_VALUES:
            raise FilterError(f"'in' of {name!r} in a filter holds {len(value)} values; use at most {_MAX_VALUES}.")
        return _any(_equal_to(name, "in", value))
    if kind == "glob":
        if not isinstance(value, str):
            raise FilterError(f"'glob' of {name!r} in a filter takes a text, not {_shown(value)}.")
        pattern = re.compile(fnmatch.translate(value))
        return _any(lambda found: isinstance(found, str) and pattern.match(found) is not None)
    if kind in ORDERS:
        if not is_scalar(value) or isinstance(value, bool):
            raise FilterError(f"{kind!r} of {name!r} in a filter takes a number or a text, not {_shown(value)}.")
        return _any(ordered(str(kind), value))
    raise FilterError(
        f"Filters have no operator {_shown(kind)} (used for {name!r}); use one of {', '.join(OPERATORS)}."
    )


def _any(passes: Callable[[Scalar], bool]) -> Test:
    def test(found: Value | None) -> bool:
        if found is None:
            return False
        return any(passes(entry) for entry in found) if isinstance(found, list) else passes(found)

    return test


def _equal_to(name: str, kind: str, values: Sequence[object]) -> Callable[[Scalar], bool]:
    wanted: list[Scalar] = []
    for value in values:
        if not is_scalar(value):
            hint = '; to find a missing field, use {"exists": false}' if value is None else ""
            raise FilterError(
                f"{kind!r} of {name!r} in a filter takes a text, a number, true or false, not {_shown(value)}{hint}."
            )
        wanted.append(value)
    return equal_to(wanted)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _where(condition: str) -> dict[str, Any]:
    if condition.lstrip().startswith("{"):
        try:
            return dict(json.loads(condition))
        except ValueError as error:
            raise FilterError(f"The condition {_shown(condition)} is not JSON: {error}.") from None
    match = _WHERE.fullmatch(condition)
    if match is None:
        raise FilterError(
            f"The condition {_shown(condition)} is not `field=value` with one of =, !=, >=, <=, >, < and ~ (a "
            "pattern), nor a filter in JSON."
        )
    name, sign, text = match.groups()
    value = _typed(text)
    if sign in _WHERE_OPERATORS:
        return {name: {_WHERE_OPERATORS[sign]: text if sign == "~" or isinstance(value, bool) else value}}
    equal = {name: text if isinstance(value, str) else {"in": [value, text]}}
    return equal if sign == "=" else {"not": equal}


def _typed(text: str) -> Scalar:
    if text in ("true", "false"):
        return text == "true"
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if any(mark in text for mark in ".eE") else int(text)
