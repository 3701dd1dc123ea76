"""The table of formats: how each is written and read, and what it may lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragft.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

GGUF_FILE = "model.gguf"


@dataclass(frozen=True)
class Form:
    """One form of a model.

    Attributes:
        name: what it is called in file names and manifests.
        title: for people: what it is, and what reads it.
        write: called with the merged model's folder, an existing empty folder, a name for people, and the token that
            ends an answer (None where the tokenizer's end of text does).
        read: the model in that folder, as the programs that it is for compute it.
        max_divergence: nats per token that it may differ from the merged model by default.
        packages: whose versions decide the output.
    """

    name: str
    title: str
    write: Callable[[Path, Path, str, int | None], None]
    read: Callable[[Path, torch.dtype], nn.Module]
    max_divergence: float
    packages: tuple[str, ...]


def _write_int8(model: Path, folder: Path, name: str, end: int | None) -> None:
    from ragft.finetune.export import int8

    int8.write(model, folder)


def _read_int8(folder: Path, dtype: torch.dtype) -> nn.Module:
    from ragft.finetune.export import int8

    return int8.read(folder, dtype)


def _read_gguf(folder: Path, dtype: torch.dtype) -> nn.Module:
    from ragft.finetune.export import gguf

    return gguf.read(folder / GGUF_FILE, dtype)


def _write_f16(model: Path, folder: Path, name: str, end: int | None) -> None:
    from ragft.finetune.export import gguf

    gguf.write(model, folder / GGUF_FILE, "f16", name=name, end=end)


def _write_q8_0(model: Path, folder: Path, name: str, end: int | None) -> None:
    from ragft.finetune.export import gguf

    gguf.write(model, folder / GGUF_FILE, "q8_0", name=name, end=end)


FORMS = {
    form.name: form
    for form in (
        Form("gguf-f16", "GGUF, float16: llama.cpp", _write_f16, _read_gguf, 0.02, ("gguf", "transformers")),
        Form("gguf-q8_0", "GGUF, 8 bits: llama.cpp", _write_q8_0, _read_gguf, 0.02, ("gguf", "transformers")),
        Form(
            "int8", "int8 compressed-tensors: vLLM", _write_int8, _read_int8, 0.15,
            ("compressed-tensors", "transformers"),
        ),
    )
}  # fmt: skip
"""The limits of divergence: what is only rounded is held to the limit of the merge (merge.max_divergence, 0.02;
measured with SmolLM2-135M: 1e-8 in f16, 0.002 in q8_0). int8 rounds activations, too, which moves a model of 135M
parameters by 0.07; where a whole merge moved it by 0.25, 4 of 30 answers lost the house format."""


def form_of(format_: str, type_: str | None) -> Form:
    """The form that `--format` and `--type` name.

    Raises:
        UsageError: there is none.
    """
    name = f"gguf-{type_ or 'q8_0'}" if format_ == "gguf" else format_ if type_ is None else f"{format_}-{type_}"
    if name not in FORMS:
        raise UsageError(
            f"There is no export to {name!r}: choose --format gguf with --type f16 or q8_0 (the default), or --format "
            "int8, which has no types."
        )
    return FORMS[name]
