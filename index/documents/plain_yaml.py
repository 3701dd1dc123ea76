"""YAML as the people who write front matter mean it: what is not plainly a number, a truth or a date is text.

YAML 1.1 makes a truth of `NO`, 750 of `12:30` and 668 of `01234`. Here the words of YAML 1.2 count, and a number is one
only if writing it again gives the same digits, so that `1.10` and a postcode are not changed.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_TRUTHS = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Longer ones (digits of an account, of a card) are texts."""
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_TIME = yaml.SafeLoader.yaml_implicit_resolvers["0"]


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases, because a few of them can expand to gigabytes, and a key that stands there twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012, as in the base class

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!a}", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def decimal(text: str) -> float | str:
    """A number with a decimal point; the text itself if the number would not be written like that."""
    number = float(text)
    return number if str(number) == text else text


def _decimal_of(loader: PlainLoader, node: yaml.ScalarNode) -> float | str:
    return decimal(node.value)


def _time_of(loader: PlainLoader, node: yaml.ScalarNode) -> str:
    """A date or a time as ISO text; a text that only looks like one (2024-02-31) as it is."""
    try:
        return str(loader.construct_yaml_timestamp(node).isoformat())
    except ValueError:
        return str(node.value)


def _whole(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern.pattern})$", pattern.flags)


for _kind, _pattern, _first in (
    ("bool", _TRUTHS, "tTfF"),
    ("null", _NULL, ("~", "n", "N", "")),
    ("int", _WHOLE, "-0123456789"),
    ("float", _DECIMAL, "-0123456789"),
    ("merge", re.compile("<<"), "<"),
):
    PlainLoader.add_implicit_resolver(f"{_TAG}{_kind}", _whole(_pattern), list(_first))
for _kind, _pattern in _TIME:
    if _kind == f"{_TAG}timestamp":
        PlainLoader.add_implicit_resolver(_kind, _pattern, list("0123456789"))
PlainLoader.add_constructor(f"{_TAG}float", _decimal_of)
PlainLoader.add_constructor(f"{_TAG}timestamp", _time_of)
