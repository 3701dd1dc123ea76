"""`ragft new`: a domain to start from, small enough to read and complete enough to run."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

import yaml

from ragft.errors import UsageError

_CONFIG = "ragft.yaml"
_SAMPLES = {
    "examples.jsonl": "examples.jsonl",
    "questions.jsonl": "questions.jsonl",
    "handbook.md": "documents/handbook.md",
}
_WITH_SAMPLES = {
    "what": "handbook", "examples": "examples.jsonl", "questions": "questions.jsonl",
    "repeats": "4  # few examples: show each with other passages",
}  # fmt: skip
_WITH_DOCUMENTS = {
    "what": "documents", "examples": "generated/examples.jsonl", "questions": "generated/questions.jsonl",
    "repeats": "1",
}  # fmt: skip


def scaffold(folder: Path, documents: Path | None = None) -> Path:
    """Makes the folder of a new domain; returns it.

    Args:
        documents: folder whose files are copied, instead of a sample; examples and questions are then to be generated.

    Raises:
        UsageError: the name is not one, the folder exists and is not empty, or there is no folder of documents.
    """
    name = folder.name
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) is None:
        raise UsageError(f"{name!r} is no name for a domain: use lower-case letters, digits, '-', '_' and '.'.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already: choose another name, or empty it first.")
    if documents is not None:
        _copy(documents, folder)
    # YAML would read some names, such as 2024 or no, as something else than a text.
    written = name if yaml.safe_load(name) == name else f'"{name}"'
    values = {"name": written, **(_WITH_SAMPLES if documents is None else _WITH_DOCUMENTS)}
    for template, target in {_CONFIG: _CONFIG, **(_SAMPLES if documents is None else {})}.items():
        text = files("ragft").joinpath("templates", template).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"{{{{ {key} }}}}", value)
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _copy(documents: Path, folder: Path) -> None:
    """Copies documents into a new domain; links stay links, which the index does not follow."""
    if not documents.is_dir():
        raise UsageError(f"There is no folder of documents {str(documents)!r}: name one with --from.")
    if folder.resolve().is_relative_to(documents.resolve()):
        raise UsageError(f"{folder} is within {documents}, which would be copied into itself: choose another place.")
    shutil.copytree(documents, folder / "documents", symlinks=True)
