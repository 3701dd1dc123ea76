"""Writes the generated parts of the documentation from the code, which is their only source.

python docs/make_reference.py           # writes reference/configuration.md, reference/commands.md and two tables
python docs/make_reference.py --check   # writes nothing; fails if one of them is out of date

The tables in explanation/fingerprints.md and explanation/metrics.md are between two comments; the rest of those pages
is written by hand.
"""

from __future__ import annotations

import argparse
import math
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragft.cli import app
from ragft.config import Config
from ragft.config.loading import section_of
from ragft.evaluate.metrics import METRICS, OPTIONAL, Metric
from ragft.stages.inputs import RECORDS, RETRIEVAL, stale

DOCS = Path(__file__).resolve().parent
GENERATED = "<!-- Written by docs/make_reference.py: change the code and run it, not this page. -->\n"
TABLE_BEGINS = "<!-- This table is written by docs/make_reference.py. -->\n"
TABLE_ENDS = "<!-- End of the written table. -->\n"
SHARED = ("--config", "--set", "--json", "--debug")
"""Options that are declared once in the code and described once, at the top of the page on commands."""

Stale = tuple[str, ...]
"""Names of stages whose output is stale."""

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", date: "date"}
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))

CONFIGURATION = """
# Configuration

One YAML file describes one application. `ragft new NAME` writes one to start from; only `name` has no default.
`ragft config` prints every value and where it came from.

- **Where values come from.** `--set section.key=value` beats an environment variable `RAGFT__SECTION__KEY=value`,
  which beats the file, which beats the default. Values of `--set` and of variables are read as YAML.
- **Paths** in the file, and those left to their defaults, are relative to the file. Paths of `--set` and of variables
  are relative to the folder where the command runs, and so is the default of `workspace`. In `model.base`,
  `index.encoder.model` and `index.search.reranker` only what begins with `./` or `../` is a path relative to the file.
- **Unknown keys** are refused with the nearest known key as a suggestion, renamed keys with their new name.
- **Unset** keys have no value: leave them out, or write `null`.
- Two other variables are read: `RAGFT_API_KEY`, a key of the endpoint with all scopes and labels, and `RAGFT_CACHE`,
  the folder of converted models (default: `ragft` in the user's cache folder).
"""
COMMANDS = """
`ragft` ends with status 0 when everything was done; 1 when something failed, a gate was not met or documents were
skipped; 2 for wrong use or a wrong configuration; 130 when it was interrupted. A refusal is one sentence on stderr.
Results go to stdout, progress and remarks to stderr.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="fail if a page is out of date; write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = DOCS / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"Out of date: {', '.join(stale)}; run `python docs/make_reference.py`.\n")
        return 1
    return 0


def pages() -> dict[str, str]:
    """The pages that are written here, whole or in part, by their path in docs/."""
    return {
        "reference/configuration.md": configuration(),
        "reference/commands.md": commands(),
        **{name: _with_table(name, table) for name, table in TABLES.items()},
    }


def _with_table(name: str, table: Callable[[], str]) -> str:
    """A page that is written by hand but for the table between the two comments."""
    before, _, rest = (DOCS / name).read_text(encoding="utf-8").partition(TABLE_BEGINS)
    return f"{before}{TABLE_BEGINS}\n{table()}\n\n{TABLE_ENDS}{rest.partition(TABLE_ENDS)[2]}"


# --- configuration


def configuration() -> str:
    """The page on the configuration file."""
    return f"{GENERATED}\n{CONFIGURATION.strip()}\n\n{_tables(Config, '')}\n"


def _tables(section: type[BaseModel], prefix: str) -> str:
    """A heading, a sentence and a table for a section, and the same for each section below it."""
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    rows = [
        f"| `{prefix}{name}` | {_cell(_type(field))} | {_cell(_default(field))} | {_cell(field.description or '')} |"
        for name, field in _fields(section, leaf=True)
    ]
    blocks = [f"## {title}", (section.__doc__ or "").strip().splitlines()[0]]
    if rows:
        blocks.append("\n".join(["| key | type | default | what it is |", "|---|---|---|---|", *rows]))
    blocks += [_tables(below, f"{prefix}{name}.") for name, below in _fields(section, leaf=False)]
    return "\n\n".join(blocks)


def _fields(section: type[BaseModel], *, leaf: bool) -> list[tuple[str, Any]]:
    """The keys of a section that hold a value, with their declarations; or those that are sections, with these."""
    found = [(name, field, section_of(field)) for name, field in section.model_fields.items()]
    return [(name, below or field) for name, field, below in found if (below is None) == leaf]


def _type(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for item in (field, *field.metadata):
        for holder in (item, *getattr(item, "metadata", ())):
            bounds |= {key: getattr(holder, key) for key, _ in _BOUNDS if getattr(holder, key, None) is not None}
    limits = ", ".join(f"{sign} {bounds[key]:,g}".replace(",", " ") for key, sign in _BOUNDS if key in bounds)
    return f"{_words(field.annotation)} {limits}".strip()


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in arguments if part is not type(None))
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _words(annotation.__origin__)
    return _NAMES[annotation]


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or field.default_factory is not None:
        return "unset"
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and not math.isinf(value):
        return f"`{value:g}`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- what a change makes stale


def stale_table() -> str:
    """Which stages a change of a configuration key makes stale; keys with equal answers share a row."""
    keys_of: dict[Stale, list[str]] = {}
    for label, answer in _labels(Config, "", None):
        keys_of.setdefault(answer, []).append(f"`{label}`")
    nothing = keys_of.pop((), [])
    rows = [f"| {', '.join(keys)} | {', '.join(answer)} |" for answer, keys in keys_of.items()]
    return "\n".join(["| a change of | makes stale |", "|---|---|", *rows, f"| {', '.join(nothing)} | nothing |"])


def stale_stages(key: str) -> Stale:
    """The stages that a change of a key makes stale, as the page says them."""
    found = stale(key)
    # Where the records of every setup are stale, those with retrieval need no mention.
    return tuple(name for name in found if name != RETRIEVAL.name or RECORDS.name not in found)


def _labels(section: type[BaseModel], prefix: str, around: Stale | None) -> Iterator[tuple[str, Stale]]:
    """Keys of a section with what they make stale; `prefix.*` stands for all that have no label of their own.

    Args:
        around: what the keys of the section around this one make stale, if a label stands for them.
    """
    answers = {name: stale_stages(f"{prefix}{name}") for name, _ in _fields(section, leaf=True)}
    commonest = Counter(answers.values()).most_common(1)
    if prefix and commonest and commonest[0][1] > max(1, len(answers) / 2):
        if commonest[0][0] != around:
            yield f"{prefix}*", commonest[0][0]
        around = commonest[0][0]
    yield from ((f"{prefix}{name}", answer) for name, answer in answers.items() if answer != around)
    for name, below in _fields(section, leaf=False):
        yield from _labels(below, f"{prefix}{name}.", around)


# --- metrics


def metrics_table() -> str:
    """Every metric, with what its function says of itself."""
    head = "| name | axis | unit | better | version | applies to | what it is |"
    rows = [
        " | ".join([
            f"| `{name}`{'' if name in METRICS else ' (named)'}", metric.axis, metric.unit, metric.better or "neither",
            str(metric.version), _applies(metric), f"{_cell(_first_sentence(metric))} |",
        ])
        for name, metric in {**METRICS, **OPTIONAL}.items()
    ]  # fmt: skip
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _applies(metric: Metric) -> str:
    return _cell(metric.applies.__doc__ or "").removeprefix("Applies to ").rstrip(".")


def _first_sentence(metric: Metric) -> str:
    """What a metric is; those of cost are fields of the record, and their titles say it."""
    if isinstance(metric.scorer, partial):
        return f"{metric.title}: what the record says."
    return (metric.scorer.__doc__ or "").split("\n\n")[0].strip()


# --- commands


def commands() -> str:
    """The page on the command line."""
    root: Any = typer.main.get_command(app)
    every = list(_below("ragft", root))
    parts = [GENERATED, "# Commands", _cell(root.help or ""), COMMANDS, *_shared_options(root, every)]
    parts += ["## `ragft`", _usage("ragft [OPTIONS] COMMAND [ARGUMENTS]"), _parameters(_own(root))]
    for path, command in every:
        usage = _usage(_usage_of(path, command))
        parts += [f"## `{path}`", _cell(command.help or ""), usage, _parameters(_own(command))]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _shared_options(root: Any, commands: list[tuple[str, Any]]) -> list[str]:
    """The options that commands have in common, and which commands have only some of them."""
    declared = {
        name: option
        for command in (*dict(commands).values(), root)
        for option in command.params
        for name in option.opts
    }
    without = [
        f"`{path}`" for path, command in commands if not any("--config" in option.opts for option in command.params)
    ]
    return [
        "## Options of every command",
        _parameters([declared[name] for name in SHARED]),
        f"{' and '.join(without)} read no configuration and take neither `-c` nor `--set`.",
    ]


def _own(command: Any) -> list[Any]:
    """The parameters of a command but for those that all have."""
    return [parameter for parameter in command.params if not set(SHARED) & set(parameter.opts)]


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


def _parameters(parameters: list[Any]) -> str:
    rows = []
    for parameter in parameters:
        if parameter.hidden:
            continue
        if _is_argument(parameter):
            shown = f"`{parameter.name.upper()}`"
        else:
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            shown = f"`{names}`" if parameter.is_flag else f"`{names} {parameter.metavar or parameter.name.upper()}`"
        default = "required" if parameter.required else _given(parameter)
        rows.append(f"| {shown} | {default} | {_cell(parameter.help or '')} |")
    return "\n".join(["| option or argument | default | what it does |", "|---|---|---|", *rows]) if rows else ""


def _given(parameter: Any) -> str:
    if parameter.default is None or parameter.is_flag:
        return ""
    return f"`{parameter.default}`"


TABLES: dict[str, Callable[[], str]] = {
    "explanation/fingerprints.md": stale_table,
    "explanation/metrics.md": metrics_table,
}
"""The pages with one written table, and what writes it."""

if __name__ == "__main__":
    sys.exit(main())
