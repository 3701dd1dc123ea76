"""Whether one model may take the place of another in a running engine: everything but the weights must be the same.

vLLM loads new weights into the tensors that it has. A checkpoint that does not fit leaves it dead, so that what can
differ is compared before, from headers and small files alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ragft.artifacts import hash_folder

_TOKENIZER = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*", "*.model", "*.jinja"]
_UNIMPORTANT = frozenset({"_name_or_path", "transformers_version"})  # of a configuration


def why_not_in_place(old: Path, new: Path) -> str | None:
    """Why a model cannot take another one's place in a running engine; None where it can.

    Args:
        old, new: folders of models as safetensors.
    """
    try:
        before, after = _configuration(old), _configuration(new)
        if different := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
            return f"its config.json has another {different[0]}"
        if hash_folder(old, _TOKENIZER) != hash_folder(new, _TOKENIZER):
            return "its tokenizer or chat template is another one"
        here, there = tensors(old), tensors(new)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({error})"
    if missing := sorted(here.keys() ^ there.keys()):
        return f"{missing[0]} is in only one of the two models"
    if different := sorted(name for name, kind in here.items() if kind != there[name]):
        return f"{different[0]} has another shape or number format"
    return None


def tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Number format and shape of every tensor in the safetensors files of a folder, by name.

    Raises:
        ValueError: a file is no safetensors file, or shorter than its header says.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            size = path.stat().st_size
            header: dict[str, Any] = json.loads(file.read(length)) if 0 < length < size else {}
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if not header or 8 + length + end != size:
            raise ValueError(f"{path.name} is damaged or cut off")
        found |= {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
    return found


def _configuration(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if key not in _UNIMPORTANT}


class Turnstile:
    """Lets any number of answers through at once, or one exchange of the model alone, within one event loop."""

    def __init__(self) -> None:
        self._inside = 0
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._empty.set()

    @contextlib.asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Waits until nobody is alone in there, and counts as inside until it ends."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Lets nobody in from now on, and waits until all have left; one at a time."""
        while not self._open.is_set():
            await self._open.wait()
        self._open.clear()
        try:
            await self._empty.wait()
            yield
        finally:
            self._open.set()

    async def empty(self) -> None:
        """Waits until nobody is inside."""
        await self._empty.wait()
