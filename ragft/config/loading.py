"""Reading a configuration: the file, the environment and `--set`, in rising order of who wins.

Paths in the file are relative to the file. Unknown keys are errors that name the nearest known one, and every error
names where the value stands: the file, a variable, or `--set`.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ragft.config.application import Config
from ragft.errors import UsageError

_PATH_KEYS = (
    ("workspace",),
    ("index", "documents"),
    ("index", "gate", "questions"),
    ("data", "examples"),
    ("data", "questions"),
    ("data", "documents"),
    ("data", "mix", "general"),
    ("serve", "keys"),
)


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Reads a configuration file; `--set` overrides win over `RAGFT__SECTION__KEY` variables, which win over the file.

    Args:
        path: a YAML file.
        overrides: `section.key=value` strings; values are read as YAML.

    Raises:
        UsageError: the file is missing or no YAML mapping, a key is unknown (the nearest known one is suggested), or
            a value does not fit.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no configuration {str(path)!r}: name one with -c FILE, or make one with `ragft new NAME`."
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} does not hold `key: value` lines; `ragft new NAME` makes one to start from.")
    _resolve_paths(values, path.resolve().parent)
    # Overrides are given by the person who types them, so their paths are relative to where that person stands.
    sources: dict[tuple[str, ...], str] = {}
    for keys, value in _environment_overrides():
        sources[keys] = f"environment variable {'RAGFT__' + '__'.join(keys).upper()}"
        _assign(values, keys, value, sources[keys])
    for text in overrides or []:
        key_text, equals, value_text = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} has no '=': write --set section.key=value.")
        keys = tuple(key_text.strip().split("."))
        sources[keys] = f"--set {text}"
        _assign(values, keys, _scalar(value_text), sources[keys])
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, sources, str(path))) from None
    if config.workspace is None:
        config = config.model_copy(update={"workspace": Path("workspace") / config.name})
    return config


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    """Makes the paths of a file, and those that it leaves to their defaults, relative to the file, in place."""
    for keys in _PATH_KEYS:
        section: Any = values
        model: Any = Config
        for key in keys[:-1]:
            section = section.setdefault(key, {}) if isinstance(section, dict) else None
            model = model.model_fields[key].annotation
        if isinstance(section, dict):
            path = section.get(keys[-1], model.model_fields[keys[-1]].default)
            if isinstance(path, str | Path):
                section[keys[-1]] = str(folder / path)
    for section_name, key in (("model", "base"), ("index", "encoder"), ("index", "rerank")):
        section = values.get(section_name)
        # A model may be a hub id or a packaged name: only what is marked as a path is one.
        if isinstance(section, dict) and str(section.get(key, "")).startswith(("./", "../")):
            section[key] = str(folder / section[key])


def _environment_overrides() -> list[tuple[tuple[str, ...], Any]]:
    prefix = "RAGFT__"
    return [
        (tuple(name[len(prefix) :].lower().split("__")), _scalar(value))
        for name, value in sorted(os.environ.items())
        if name.startswith(prefix)
    ]


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assign(values: dict[str, Any], keys: tuple[str, ...], value: Any, source: str) -> None:
    section = values
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise UsageError(f"{source}: {key!r} is not a section.")
    section[keys[-1]] = value


def _explain(error: ValidationError, sources: dict[tuple[str, ...], str], file: str) -> str:
    """All faults of a configuration in one sentence each, behind the place that each value came from."""
    told: dict[str, list[str]] = {}
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        beginnings = (tuple(location[:end]) for end in range(len(location), 0, -1))
        source = next((sources[keys] for keys in beginnings if keys in sources), file)
        told.setdefault(source, []).append(_sentence(fault, location))
    return " ".join(f"{source}: {' '.join(sentences)}" for source, sentences in told.items())


def _sentence(fault: ErrorDetails, location: list[str]) -> str:
    where = ".".join(location)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}."
        return f"unknown key {where!r}: {hint}"
    if fault["type"] == "missing":
        return f"key {where!r} is missing."
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        message = "Input should be a list, as in [one, two]"
    if not location:
        return f"{message}."
    given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{where}: {message}{given}."


def _known_keys(path: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in path:
        annotation = section.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return sorted(section.model_fields)
