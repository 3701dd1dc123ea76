"""Writes the two generated pages of the reference from the code, which is their only source.

python docs/make_reference.py           # writes docs/reference/configuration.md and docs/reference/commands.md
python docs/make_reference.py --check   # writes nothing; fails if one of them is out of date
"""

from __future__ import annotations

import argparse
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragft.cli import app
from ragft.config import Config

REFERENCE = Path(__file__).resolve().parent / "reference"
GENERATED = "<!-- Written by docs/make_reference.py: change the code and run it, not this page. -->\n"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))

CONFIGURATION = """
# Configuration

One YAML file describes one application. `ragft new NAME` writes one to start from; only `name` has no default.

- **Where values come from.** `--set section.key=value` wins over an environment variable `RAGFT__SECTION__KEY=value`,
  which wins over the file, which wins over the default. Values of `--set` and of variables are read as YAML.
- **Paths** in the file, and those left to their defaults, are relative to the file. Paths of `--set` and of variables
  are relative to the folder where the command runs, and so is the default of `workspace`. In `model.base`,
  `index.encoder` and `index.rerank` only what begins with `./` or `../` is taken as a path relative to the file.
- **Unknown keys** are refused, with the nearest known one as a suggestion.
- Two other variables are read: `RAGFT_API_KEY`, a key of the endpoint with all scopes and labels, and `RAGFT_CACHE`,
  the folder of converted models (default: `ragft` in the user's cache folder).
"""
COMMANDS = """
`ragft` ends with status 0 when all was done; 1 when something failed, a gate was not met, or documents were skipped;
2 for wrong use or a wrong configuration; 130 when it was interrupted. What is refused is said in one sentence on
stderr. Results go to stdout, progress and remarks to stderr.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="fail if a page is out of date; write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in (("configuration.md", configuration()), ("commands.md", commands())):
        path = REFERENCE / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"Out of date: {', '.join(stale)}; run `python docs/make_reference.py`.\n")
        return 1
    return 0


# --- configuration


def configuration() -> str:
    """The page on the configuration file."""
    return f"{GENERATED}\n{CONFIGURATION.strip()}\n\n{_tables(Config, '')}\n"


def _tables(section: type[BaseModel], prefix: str) -> str:
    """A heading, a sentence and a table for a section, and the same for each section below it."""
    leaves = {name: field for name, field in section.model_fields.items() if _section_of(field) is None}
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    rows = [
        f"| `{prefix}{name}` | {_cell(_type(field))} | {_cell(_default(field))} | {_cell(field.description or '')} |"
        for name, field in leaves.items()
    ]
    sentence = (section.__doc__ or "").strip().splitlines()[0]
    table = "\n".join(["| key | type | default | what it is |", "|---|---|---|---|", *rows])
    blocks = [f"## {title}", sentence, table]
    for name, field in section.model_fields.items():
        below = _section_of(field)
        if below is not None:
            blocks.append(_tables(below, f"{prefix}{name}."))
    return "\n\n".join(blocks)


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _type(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for item in (field, *field.metadata):
        for holder in (item, *getattr(item, "metadata", ())):
            bounds |= {key: getattr(holder, key) for key, _ in _BOUNDS if getattr(holder, key, None) is not None}
    words = _words(field.annotation)
    bare = words.removesuffix(" or none")
    limits = ", ".join(f"{sign} {bounds[key]:,g}".replace(",", " ") for key, sign in _BOUNDS if key in bounds)
    return f"{bare} {limits}".strip() + words[len(bare) :]


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _words(part) for part in arguments)
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _words(annotation.__origin__)
    return _NAMES[annotation]


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and not math.isinf(value):
        return f"`{value:g}`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- commands


def commands() -> str:
    """The page on the command line."""
    root: Any = typer.main.get_command(app)
    parts = [GENERATED, "# Commands", _cell(root.help or ""), COMMANDS]
    parts += ["## `ragft`", _usage("ragft [OPTIONS] COMMAND [ARGUMENTS]"), _parameters(root)]
    for path, command in _below("ragft", root):
        parts += [f"## `{path}`", _cell(command.help or ""), _usage(_usage_of(path, command)), _parameters(command)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _below(path: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its path."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(f"{path} {name}", command)
        else:
            yield f"{path} {name}", command


def _is_argument(parameter: Any) -> bool:
    return not any(name.startswith("-") for name in parameter.opts)


def _usage_of(path: str, command: Any) -> str:
    arguments = [
        parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"
        for parameter in command.params
        if _is_argument(parameter)
    ]
    return " ".join([path, "[OPTIONS]", *arguments])


def _usage(line: str) -> str:
    return f"```text\n{line}\n```"


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.hidden:
            continue
        if _is_argument(parameter):
            shown = f"`{parameter.name.upper()}`"
        else:
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            shown = f"`{names}`" if parameter.is_flag else f"`{names} {parameter.metavar or parameter.name.upper()}`"
        default = "needed" if parameter.required else _given(parameter)
        rows.append(f"| {shown} | {default} | {_cell(parameter.help or '')} |")
    return "\n".join(["| option or argument | default | what it does |", "|---|---|---|", *rows]) if rows else ""


def _given(parameter: Any) -> str:
    if parameter.default is None or parameter.is_flag:
        return ""
    return f"`{parameter.default}`"


if __name__ == "__main__":
    sys.exit(main())
