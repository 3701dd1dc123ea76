"""The tensors of a model's safetensors files, one at a time, so that no export holds a whole model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open


class Weights(Mapping[str, torch.Tensor]):
    """The tensors in a folder by name, in the order of their names; each is read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            self._files = {name: folder / listed[name] for name in sorted(listed)}
        else:
            path = folder / "model.safetensors"
            with safe_open(path, framework="pt") as tensors:
                self._files = dict.fromkeys(sorted(tensors.keys()), path)

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as tensors:
            return tensors.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        with safe_open(self._files[name], framework="pt") as tensors:
            return tuple(tensors.get_slice(name).get_shape())
