"""Title, labels and metadata of a document, from its front matter or side file.

Who may see a document is never guessed: front matter or a side file that cannot be understood makes the document
unreadable, instead of readable by everybody.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from index.documents.document import Metadata, Value
from index.documents.formats.settings import Unreadable

_SIDE_SUFFIXES = (".meta.yaml", ".meta.yml", ".meta.json")
"""Suffixes of side files: `handbook.pdf.meta.yaml` describes `handbook.pdf`."""

_MOST_CHARACTERS = 65_536
"""Longest front matter or side file: parsing YAML is slow, and nobody writes more by hand."""

_FRONT_MATTER = re.compile(r"---[ \t]*\n((?:(?!(?:---|\.\.\.)[ \t]*(?:\n|$)).*\n)*)(?:---|\.\.\.)[ \t]*(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Properties:
    """What front matter or a side file says about a document.

    Attributes:
        labels: None if not given; empty if everybody may see the document.
        metadata: everything else, flat.
    """

    title: str | None = None
    labels: tuple[str, ...] | None = None
    metadata: Metadata = field(default_factory=dict)


def described_file(name: str) -> str | None:
    """Name of the file that the side file of this name describes; None if it is not the name of a side file."""
    if not name.endswith(_SIDE_SUFFIXES):  # asked of every file of a folder
        return None
    return next(name.removesuffix(suffix) for suffix in _SIDE_SUFFIXES if name.endswith(suffix))


def front_matter(text: str) -> tuple[Properties, str]:
    """Split a text into the properties in the YAML block at its very beginning, and the text below.

    A block that is not a mapping (prose between two rules) is part of the text.

    Raises:
        Unreadable: the block is not valid YAML, or its title or labels are not valid.
    """
    match = _FRONT_MATTER.match(text)
    if match is None or not match.group(1).strip():
        return Properties(), text
    content = _load_yaml(match.group(1), "its front matter")
    if not isinstance(content, dict):
        return Properties(), text
    return _properties(content, "its front matter"), text[match.end() :].lstrip("\n")


def side_file(name: str, text: str) -> Properties:
    """The properties in a side file.

    Raises:
        Unreadable: it is not a mapping, or its title or labels are not valid.
    """
    what = f"its side file {name}"
    if name.endswith(".json"):
        try:
            content = json.loads(text[: _MOST_CHARACTERS + 1])
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{what} is not valid JSON ({error})") from None
    else:
        content = _load_yaml(text, what)
    if not isinstance(content, dict):
        raise Unreadable(f"{what} must hold keys and values")
    return _properties(content, what)


def _load_yaml(text: str, what: str) -> Any:
    """Plain YAML values. Aliases are refused, because a few of them can expand to gigabytes."""
    if len(text) > _MOST_CHARACTERS:
        raise Unreadable(f"{what} has more than {_MOST_CHARACTERS} characters")
    try:
        return yaml.load(text, _Loader)  # noqa: S506, a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unreadable(f"{what} is not valid YAML{line} ({error.problem})") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise Unreadable(f"{what} is not valid YAML ({type(error).__name__})") from None


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _properties(content: Mapping[Any, Any], what: str) -> Properties:
    """Separate `title` and `labels` of a mapping from the metadata."""
    title = content.get("title")
    if title is not None and not isinstance(title, str | int | float):
        raise Unreadable(f"{what} has a title that is not text")
    rest = {key: value for key, value in content.items() if key not in ("title", "labels")}
    labels = labels_of(content["labels"], what) if "labels" in content else None
    return Properties(" ".join(str(title).split()) or None if title is not None else None, labels, flat(rest))


def labels_of(value: object, what: str) -> tuple[str, ...]:
    """Labels from a list of names, or from a text of names separated by `;` or `,`.

    Raises:
        Unreadable: it is neither, or a name is blank.
    """
    names = re.split("[;,]", value) if isinstance(value, str) else value
    if isinstance(value, str) and not value.strip():
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise Unreadable(f"{what} has labels that are not a list of names")
    return tuple(sorted({name.strip() for name in names}))


def flat(content: Mapping[Any, Any]) -> dict[str, Value]:
    """Metadata from any mapping: nested keys are joined with dots, dates become text, nulls are left out."""
    found: dict[str, Value] = {}
    for key, value in _leaves(content, ""):
        if isinstance(value, list):
            found[key] = [item if isinstance(item, str) else _as_text(item) for item in value if item is not None]
        elif isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            found[key] = value
        elif value is not None:
            found[key] = _as_text(value)
    return found


def _leaves(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_text(value: object) -> str:
    if isinstance(value, datetime.date | datetime.datetime | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)
