"""`ragft new`: a domain to start from, small enough to read and complete enough to run."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import yaml

from ragft.errors import UsageError

_FILES = {
    "ragft.yaml": "ragft.yaml",
    "examples.jsonl": "examples.jsonl",
    "questions.jsonl": "questions.jsonl",
    "handbook.md": "documents/handbook.md",
}


def scaffold(folder: Path) -> Path:
    """Makes the folder of a new domain; returns it.

    Raises:
        UsageError: the name is not one, or the folder exists and is not empty.
    """
    name = folder.name
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) is None:
        raise UsageError(f"{name!r} is no name for a domain: use lower-case letters, digits, '-', '_' and '.'.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another name, or empty it first.")
    # YAML would read some names, such as 2024 or no, as something else than a text.
    written = name if yaml.safe_load(name) == name else f'"{name}"'
    for template, target in _FILES.items():
        text = files("ragft").joinpath("templates", template).read_text(encoding="utf-8")
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{{ name }}", written), encoding="utf-8")
    return folder
