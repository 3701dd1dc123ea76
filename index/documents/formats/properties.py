"""Title, labels and metadata of a document, from its front matter or side file.

Who may see a document is never guessed: front matter or a side file that cannot be understood, and whatever else at the
top of a text looks like access labels, makes the document unreadable, instead of readable by everybody.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from index.documents.document import Metadata, Value
from index.documents.formats.label_lines import label_line, labels_in_braces
from index.documents.formats.labels import KEY, is_spelling, labels_of, nested_keys, refuse_attempts
from index.documents.formats.settings import Unreadable
from index.documents.front_matter import MOST_CHARACTERS, NotReadable, front_matter_of, load_yaml

_SIMPLE = frozenset([str, int, bool])
"""Types of most values, which are metadata as they are."""
_FRONT_MATTER = "its front matter"
_ABOVE_HTML = re.compile(r"(?:\s|<!--.*?(?:-->|$)|<!doctype[^>]*>|<\?.*?\?>)*", re.DOTALL | re.IGNORECASE)
"""What may stand above the first element of an HTML page."""


@dataclass(frozen=True, slots=True)
class Properties:
    """What front matter or a side file says about a document.

    Attributes:
        labels: empty if it names none.
        metadata: everything else, flat.
    """

    title: str | None = None
    labels: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)


def front_matter(text: str) -> tuple[Properties, str]:
    """Split a text into the properties in its front matter, and the text below.

    Raises:
        Unreadable: the front matter is not valid, or its title or labels are not; or what looks like access labels
            stands elsewhere at the top of the text (see `index.documents.formats.label_lines`).
    """
    properties, rest = _split(text)
    if not properties.labels:
        _refuse_lines(rest, lines_above=text.count("\n", 0, len(text) - len(rest)))
    return properties, rest.lstrip("\n") if rest is not text else text


def html_front_matter(text: str) -> tuple[Properties, str]:
    """Like `front_matter`, for the source of an HTML page: behind it, only comments above the first element count."""
    properties, rest = _split(text)
    if not properties.labels:
        above = _ABOVE_HTML.match(rest)
        _refuse_lines(above.group() if above else "", lines_above=text.count("\n", 0, len(text) - len(rest)))
    return properties, rest


def _split(text: str) -> tuple[Properties, str]:
    try:
        found = front_matter_of(text)
    except NotReadable as error:
        raise Unreadable(f"{_FRONT_MATTER} {error}") from None
    if found is None:
        return Properties(), text
    properties = _properties(found.content, _FRONT_MATTER)
    if not properties.labels and (labels_in_braces(found.block) or label_line(found.block)):
        raise Unreadable(f"{_FRONT_MATTER} holds what looks like access labels, inside another value")
    return properties, text[found.end :]


def _refuse_lines(text: str, lines_above: int) -> None:
    found = label_line(text)
    if found is not None:
        raise Unreadable(
            f"line {found.number + lines_above} ({found.text!a}) looks like access labels, but does not stand in front "
            "matter: begin the file with `---`, `labels: [name]`, `---`, or reword the line"
        )


def side_file(name: str, text: str) -> Properties:
    """The properties in a side file.

    Raises:
        Unreadable: it is not a mapping, or its title or labels are not valid.
    """
    what = f"its side file {name}"
    try:
        content = _json(text) if name.endswith(".json") else load_yaml(text)
    except NotReadable as error:
        raise Unreadable(f"{what} {error}") from None
    if not isinstance(content, dict):
        raise Unreadable(f"{what} must hold keys and values")
    return _properties(content, what)


def _json(text: str) -> Any:
    if len(text) > MOST_CHARACTERS:
        raise NotReadable(f"has more than {MOST_CHARACTERS} characters")

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key stands there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except (ValueError, RecursionError) as error:
        raise NotReadable(f"is not valid JSON ({error})") from None


def _properties(content: Mapping[Any, Any], what: str) -> Properties:
    """Separate `title` and `labels` of a mapping from the metadata."""
    title = content.get("title")
    if title is not None and not isinstance(title, str | int | float):
        raise Unreadable(f"{what} has a title that is not text")
    rest = {key: value for key, value in content.items() if key not in ("title", KEY)}
    labels: tuple[str, ...] = ()
    if KEY in content:
        refuse_attempts((str(key) for key in rest if is_spelling(str(key))), what)
        labels = labels_of(content[KEY], what)
        if not labels:
            raise Unreadable(f"{what} has empty `labels`; name some, or leave the key out if everybody may see it")
    else:
        refuse_attempts(nested_keys(rest), what)
    return Properties(" ".join(str(title).split()) or None if title is not None else None, labels, flat(rest))


def flat(content: Mapping[Any, Any]) -> dict[str, Value]:
    """Metadata from any mapping: nested keys are joined with dots, dates become text, nulls are left out."""
    found: dict[str, Value] = {}
    _add(content, "", found)
    return found


def _add(content: Mapping[Any, Any], prefix: str, found: dict[str, Value]) -> None:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _add(value, f"{name}.", found)
        elif value is not None:
            found[name] = value if type(value) in _SIMPLE else _plain(value)


def _plain(value: Any) -> Value:
    """A value, not None and no mapping, as metadata holds it."""
    if isinstance(value, list):
        return [item if type(item) in _SIMPLE else _scalar(item) for item in value if item is not None]
    return _scalar(value)


def _scalar(value: Any) -> str | int | float | bool:
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime.date | datetime.datetime | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)
