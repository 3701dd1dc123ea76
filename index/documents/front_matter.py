"""Recognises front matter: keys and values between two rules at the very top of a text, in YAML or TOML.

There is one rule, for whoever reads properties from it and whoever skips it. What stands between two rules is front
matter if it is a mapping; prose between two rules is text. It is prose if it holds no keys, or if every key is written
like a word of a sentence (`Note: these rules hold in all ports.`). Blank lines and invisible characters may stand above
the first rule, nothing else.

What begins like front matter and cannot be read as such (it is not closed, or not valid) is a fault and no text: it may
have said who is allowed to see the document.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_CHARACTERS = 65_536
"""Longest front matter or side file: parsing YAML is slow, and nobody writes more by hand."""

_TOP = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*")
_YAML = re.compile(r"---[ \t]*\n((?:(?!(?:---|\.\.\.)[ \t]*(?:\n|$)).*\n)*)(?:---|\.\.\.)[ \t]*(?:\n|$)")
_TOML = re.compile(r"\+\+\+[ \t]*\n((?:(?!\+\+\+[ \t]*(?:\n|$)).*\n)*)\+\+\+[ \t]*(?:\n|$)")
_OPEN = re.compile(r"(?:---|\+\+\+)[ \t]*\n(?:[ \t]*#.*\n)*(.*)")
"""A first rule, and the first line below it that is no comment."""
_KEY_LINE = re.compile(r"^[\"']?[a-z_][\w.-]*[\"']?[ \t]*[:=](?:[ \t]|$)", re.MULTILINE)
"""A line that begins with a key as people write it; a sentence with a colon begins with a capital or two words."""
_SENTENCE = re.compile(r"\S+\s+\S+\s+\S.*[.!?][\"'”’)]?", re.DOTALL)


class NotReadable(ValueError):
    """A text begins like front matter, or a side file like YAML, and cannot be read as such; the message is why."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The keys and values at the top of a text.

    Attributes:
        block: what stands between the rules, as written.
        end: offset of the line below the second rule.
    """

    content: Mapping[Any, Any]
    block: str
    end: int


def front_matter_of(text: str) -> FrontMatter | None:
    """The front matter of a text; None if it has none.

    Raises:
        NotReadable: the text begins like front matter, which is not closed, too long, or not valid.
    """
    if not (top := _TOP.match(text)) or not text.startswith(("---", "+++"), top.end()):
        return None
    begin = top.end()
    match = (_YAML if text.startswith("-", begin) else _TOML).match(text, begin)
    if match is None:
        opened = _OPEN.match(text, begin)
        # A line of plus signs is no rule of Markdown.
        if opened is not None and (text.startswith("+", begin) or _KEY_LINE.match(opened.group(1))):
            raise NotReadable("is not closed")
        return None
    block = match.group(1)
    content = _content(block, is_toml=text.startswith("+", begin))
    return FrontMatter(content, block, match.end()) if content and not _is_prose(content) else None


def front_matter_end(text: str) -> int:
    """Where the text below its front matter begins; 0 if it has none that can be read."""
    try:
        found = front_matter_of(text)
    except NotReadable:
        return 0
    return found.end if found else 0


def _content(block: str, *, is_toml: bool) -> Mapping[Any, Any] | None:
    """The mapping in a block; None if it is prose."""
    has_keys = is_toml or _KEY_LINE.search(block[:MOST_CHARACTERS]) is not None
    if len(block) > MOST_CHARACTERS and not has_keys:
        return None
    try:
        content = load_toml(block) if is_toml else load_yaml(block)
    except NotReadable:
        if has_keys:
            raise
        return None
    return content if isinstance(content, dict) else None


def _is_prose(content: Mapping[Any, Any]) -> bool:
    """Whether a mapping consists of sentences of the form `Note: these rules hold.`"""
    return all(
        isinstance(key, str) and key[:1].isupper() and isinstance(value, str) and _SENTENCE.fullmatch(value)
        for key, value in content.items()
    )


def load_toml(text: str) -> dict[str, Any]:
    """Plain values; numbers whose digits would be lost (`1.10`) are texts.

    Raises:
        NotReadable: the text is too long, or not valid TOML.
    """
    from index.documents.plain_yaml import decimal

    _refuse_long(text)
    try:
        return tomllib.loads(text, parse_float=decimal)
    except (ValueError, RecursionError) as error:
        raise NotReadable(f"is not valid TOML ({error})") from None


def load_yaml(text: str) -> Any:
    """Plain values, as `index.documents.plain_yaml` reads them.

    Raises:
        NotReadable: the text is too long, or not valid YAML.
    """
    import yaml

    from index.documents.plain_yaml import PlainLoader

    _refuse_long(text)
    try:
        return yaml.load(text, PlainLoader)  # noqa: S506, a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise NotReadable(f"is not valid YAML{line} ({error.problem})") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise NotReadable(f"is not valid YAML ({type(error).__name__})") from None


def _refuse_long(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise NotReadable(f"has more than {MOST_CHARACTERS} characters")
