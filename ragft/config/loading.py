"""Reads a configuration: `--set` beats the environment, which beats a recipe, which beats the file, then the defaults.

Paths in the file are relative to the file. Unknown keys are errors that name the nearest known one, and every error
says where the value came from: the file, a variable, or `--set`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ragft.config.file import Config
from ragft.config.renamed import RENAMED
from ragft.config.section import MarkedPath, RelativeToFile, Section
from ragft.errors import UsageError

Keys = tuple[str, ...]
"""The path of a key: `("finetune", "epochs")`."""

_ENVIRONMENT = "RAGFT__"


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration, and where each value of it came from.

    Attributes:
        sources: for every key, dotted: `default`, the file, the environment variable, or `--set key=value`.
    """

    config: Config
    sources: dict[str, str]

    def values(self) -> dict[str, Any]:
        """Every key, dotted, with its value as JSON has it."""
        content = self.config.model_dump(mode="json")
        return {".".join(keys): reduce(getitem, keys, content) for keys, _ in leaves()}


def load_config(path: Path, overrides: Sequence[str] | None = None) -> Config:
    """Reads a configuration file with its overrides; see `load_with_sources`."""
    return load_with_sources(path, overrides).config


def load_with_sources(path: Path, overrides: Sequence[str] | None = None) -> LoadedConfig:
    """Reads a configuration file with its overrides, and notes where each value came from.

    Args:
        path: a YAML file.
        overrides: `section.key=value` strings; values are read as YAML. They beat `RAGFT__SECTION__KEY` variables,
            which beat the file.

    Raises:
        UsageError: the file is missing or is no YAML mapping, a key is unknown (the nearest known one is suggested) or
            was renamed, or a value does not fit.
    """
    values = _Values(_read(path), str(path))
    values.resolve_paths(path.resolve().parent)
    # Overrides are given by the person who types them, so their paths are relative to where that person stands.
    told = list[tuple[str, Any, str]]()
    for name, text in sorted(os.environ.items()):
        if name.startswith(_ENVIRONMENT):
            key = name.removeprefix(_ENVIRONMENT).lower().replace("__", ".")
            told.append((key, _scalar(text), f"environment variable {name.upper()}"))
    for text in overrides or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} has no '=': write --set section.key=value.")
        told.append((key.strip(), _scalar(value), f"--set {text}"))
    recipe = next((value for key, value, _ in reversed(told) if key == "recipe"), values.content.get("recipe"))
    for key, value, source in [*_recipe(values.content, recipe), *told]:
        values.assign(tuple(key.split(".")), value, source)
    try:
        config = Config.model_validate(values.content)
    except ValidationError as error:
        raise UsageError(_explain(error, values)) from None
    return LoadedConfig(config, {".".join(keys): values.source_of(keys) for keys, _ in leaves()})


def _recipe(content: dict[str, Any], name: Any) -> list[tuple[str, Any, str]]:
    """Keys and values of a recipe of the file, and where they come from; none where no recipe is chosen.

    Raises:
        UsageError: the file has no recipe of this name, or it is no mapping.
    """
    if name is None:
        return []
    recipes = content.get("recipes")
    recipe = recipes.get(name) if isinstance(recipes, dict) else None
    if not isinstance(recipe, dict):
        known = ", ".join(map(str, recipes)) if isinstance(recipes, dict) and recipes else "it has none"
        raise UsageError(f"recipe is {name!r}, but `recipes` of the file does not describe it; known: {known}.")
    return [(str(key), value, f"recipe {name}") for key, value in recipe.items()]


def leaves(section: type[Section] = Config, above: Keys = ()) -> Iterator[tuple[Keys, FieldInfo]]:
    """Every key of the configuration that holds a value, with its declaration."""
    for name, info in section.model_fields.items():
        below = section_of(info)
        if below is None:
            yield (*above, name), info
        else:
            yield from leaves(below, (*above, name))


def section_of(info: FieldInfo) -> type[Section] | None:
    """The section that a key declares; None for a key that holds a value."""
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _listed_section(info: FieldInfo) -> type[Section] | None:
    """The section that each entry of a list is; None for any other value."""
    kinds = (part for part in get_args(info.annotation) if isinstance(part, type) and issubclass(part, Section))
    return next(kinds, None)


@dataclass
class _Values:
    """The values of a file with what overrides them, not yet validated.

    Attributes:
        overridden: where the value of a key, or of a whole section, came from if not from the file.
    """

    content: dict[str, Any]
    file: str
    overridden: dict[Keys, str] = field(default_factory=dict)

    def assign(self, keys: Keys, value: Any, source: str) -> None:
        section = self.content
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise UsageError(f"{source}: {key!r} is not a section.")
        section[keys[-1]] = value
        self.overridden = {known: told for known, told in self.overridden.items() if known[: len(keys)] != keys}
        self.overridden[keys] = source

    def source_of(self, keys: Keys) -> str:
        """Where a value came from; `default` where nothing sets it."""
        value: Any = self.content
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                return "default"
            value = value[key]
        return self.setter_of(keys)

    def setter_of(self, keys: Keys) -> str:
        """What sets this key, if anything does: an override of it or of a section around it, else the file."""
        around = (keys[:end] for end in range(len(keys), 0, -1))
        return next((self.overridden[known] for known in around if known in self.overridden), self.file)

    def resolve_paths(self, folder: Path) -> None:
        """Makes the file's paths, and those that it leaves to their defaults, relative to the file."""
        for keys, info in leaves():
            kind = _path_kind(info)
            value: Any = self.content
            for key in keys[:-1]:
                value = value.get(key, {}) if isinstance(value, dict) else None
            if kind is None or not isinstance(value, dict):
                continue
            given = value.get(keys[-1])
            if kind is MarkedPath:
                if isinstance(given, str) and given.startswith(("./", "../")):
                    value[keys[-1]] = str(folder / given)
            elif isinstance(given, str):
                value[keys[-1]] = str(folder / given)
            elif isinstance(given, list):
                value[keys[-1]] = [str(folder / one) if isinstance(one, str) else one for one in given]
            elif keys[-1] not in value and isinstance(info.default, Path):
                self._default(keys, str(folder / info.default))

    def _default(self, keys: Keys, value: str) -> None:
        section = self.content
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
        self.overridden[keys] = "default"


def _path_kind(info: FieldInfo) -> type[RelativeToFile] | None:
    """Whether a key holds a path relative to the file, and of which kind."""
    parts = [info, *get_args(info.annotation)]
    marks = [item for part in parts for item in getattr(part, "metadata", getattr(part, "__metadata__", ()))]
    return next((type(mark) for mark in marks if isinstance(mark, RelativeToFile)), None)


def _read(path: Path) -> dict[str, Any]:
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
    return values


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _explain(error: ValidationError, values: _Values) -> str:
    """All faults of a configuration, one sentence each, after the place that each value came from."""
    told: dict[str, list[str]] = {}
    for fault in error.errors():
        if fault["type"] == "default_factory_not_called":
            continue  # it says only that another key, which is told, is wrong
        keys = tuple(str(part) for part in fault["loc"])
        told.setdefault(values.setter_of(keys), []).append(_sentence(fault, keys))
    return " ".join(f"{source}: {' '.join(sentences)}" for source, sentences in told.items())


def _sentence(fault: ErrorDetails, keys: Keys) -> str:
    where = ".".join(keys)
    if fault["type"] in ("extra_forbidden", "model_type") and where in RENAMED and fault["input"] is not None:
        return f"key {where!r} is now {RENAMED[where]!r}."
    if fault["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        nearest = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}."
        return f"unknown key {where!r}: {hint}"
    if fault["type"] == "missing":
        return f"key {where!r} is missing."
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        message = "Input should be a list, as in [one, two]"
    if not keys:
        return f"{message}."
    given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{where}: {message}{given}."


def _known_keys(path: Keys) -> list[str]:
    section: type[Section] = Config
    for key in path:
        info = section.model_fields.get(key)  # None for the number of an entry in a list of sections
        if info is not None:
            section = section_of(info) or _listed_section(info) or section
    return sorted(section.model_fields)
