"""What all sections of a configuration share: strictness, and the types that several of them use."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SetupName = Literal["prompt-only", "rag-only", "fine-tuned", "hybrid"]
DOMAIN_NAME = r"^[a-z0-9][a-z0-9._-]*$"
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class RelativeToFile:
    """Marks a type whose relative paths are relative to the configuration file; `loading` resolves them."""


class MarkedPath(RelativeToFile):
    """The same for names that may be something else: only what begins with `./` or `../` is a path."""


FilePath = Annotated[Path, RelativeToFile()]
ModelName = Annotated[str, MarkedPath()]
"""A hub id, a local folder, or the name of a packaged model."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_compiles)]


def one_of(table: Collection[str]) -> AfterValidator:
    """Accepts the names in a table alone."""

    def known(name: str) -> str:
        if name not in table:
            raise ValueError(f"should be one of {', '.join(table)}")
        return name

    return AfterValidator(known)


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
