"""What an adapter was trained on; it travels with the adapter, in `manifest.json` beside PEFT's files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from index.durable import write_file
from ragft.artifacts import MANIFEST
from ragft.errors import RagftError
from ragft.finetune.methods import METHODS

Backend = Literal["fast", "peft"]
"""What trains, and loads what it trained: ragft's own loop and layers, or PEFT's."""


ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
"""PEFT's files of an adapter: all that decides what it computes."""


@dataclass(frozen=True)
class LiveModel:
    """A base model, and what was trained on it.

    Attributes:
        adapter: folder of an adapter in PEFT's format, or of trained weights.
        quantised: it was trained against NF4 weights.
        backend: which back end loads it. `fast` knows plain LoRA alone.
    """

    base: Path
    adapter: Path
    quantised: bool
    backend: Backend = "fast"


@dataclass(frozen=True)
class TrainedOn:
    """What an adapter was trained on.

    Attributes:
        base: `ragft.artifacts.hash_model` of the base model.
        quantisation: format of the base's weights during training, see `ragft.finetune.methods.Method`.
        template: `Template.hash` (`ragft.templates`) of the chat template that rows were rendered with.
        backend: which back end trained it.
    """

    base: str
    quantisation: str | None
    template: str
    backend: Backend = "fast"

    def write(self, adapter: Path) -> None:
        content = {"kind": "adapter", "trained_on": asdict(self)}
        write_file(adapter / MANIFEST, json.dumps(content, indent=1).encode())

    @classmethod
    def read(cls, adapter: Path) -> TrainedOn | None:
        """Reads an adapter's manifest; None where another program, or an earlier version of this one, trained it.

        Raises:
            RagftError: the manifest cannot be read, or names a quantisation that this version does not know.
        """
        try:
            content = json.loads((adapter / MANIFEST).read_text(encoding="utf-8"))
            found = cls(**content["trained_on"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RagftError(
                f"The manifest of the adapter in {adapter} cannot be read ({type(error).__name__}): restore it, or "
                "delete it to merge as finetune.method says."
            ) from error
        if found.backend not in get_args(Backend):
            raise RagftError(
                f"The adapter in {adapter} was trained by the back end {found.backend!r}, which this version does not "
                "know: use the version that trained it."
            )
        if found.quantisation not in {method.quantisation for method in METHODS.values()}:
            raise RagftError(
                f"The adapter in {adapter} was trained on weights in {found.quantisation!r}, which this version does "
                "not know: use the version that trained it."
            )
        return found

    def check_matches(self, now: TrainedOn, adapter: Path) -> None:
        """Refuses an adapter that was trained on another base or template than this configuration would train on now.

        Args:
            adapter: folder of the adapter, for the message.
        """
        if self.base != now.base:
            raise RagftError(
                f"The adapter in {adapter} was trained on another base model (content hash {self.base}, not "
                f"{now.base}): set model.base to that one."
            )
        if self.template != now.template:
            raise RagftError(
                f"The adapter in {adapter} was trained with another chat template (content hash {self.template}, not "
                f"{now.template}): restore the base model's chat template."
            )
