"""A domain on disk, and the application that its configuration describes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ragft.config import Config, load_config
from ragft.console import Reporter
from ragft.stages.application import Application

MIX = {"passages": 2, "gold_share": 1.0, "closed_book_share": 0.0}


class Quiet(Reporter):
    """Prints nothing, remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def application(config: Config) -> Application:
    """The application of a configuration, with a quiet reporter."""
    return Application(config, Quiet())


class Domain:
    """A folder with a configuration, documents, examples and questions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ragft.yaml"
        (folder / "documents").mkdir(parents=True)

    @property
    def workspace(self) -> Path:
        return self.folder / "out"

    def page(self, name: str, text: str | bytes) -> Path:
        path = self.folder / "documents" / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def configure(self, **sections: Any) -> Path:
        """Writes the configuration; sections replace the defaults of these tests."""
        values: dict[str, Any] = {"name": "desk", "workspace": "out", "index": {"search": {"top_k": 2}}}
        values["data"] = {"split": {"validation_share": 0.25}, "mix": MIX}
        self.config.write_text(yaml.safe_dump({**values, **sections}))
        return self.config

    def application(self) -> Application:
        """The application of the configuration as it is now."""
        return application(load_config(self.config))
