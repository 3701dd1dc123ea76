"""Training that begins from an adapter: its values are the first ones; optimiser, schedule and order begin anew.

A training that has ended cannot be made longer: its rate has fallen over the steps that it had, and another number of
steps would have had another rate from the beginning on. What is left of it is its adapter, from which another training
may begin, of the same form on the same weights.
"""

from __future__ import annotations

from pathlib import Path

from ragft.artifacts import Artifact, find, hash_file
from ragft.config import FinetuneSection
from ragft.errors import RagftError, UsageError
from ragft.finetune.lineage import ADAPTER_FILES, TrainedOn


def adapter_in(folder: Path) -> Path:
    """The folder of the adapter that `finetune.start_from` names: itself, or within what `ragft finetune` published.

    Raises:
        UsageError: there is none.
    """
    for found in (folder, folder / "adapter"):
        if all((found / name).is_file() for name in ADAPTER_FILES):
            return found
    raise UsageError(
        f"finetune.start_from is {folder}, where {' and '.join(ADAPTER_FILES)} are missing: name the folder of an "
        "adapter that `ragft finetune` published."
    )


def content_of(folder: Path) -> list[str]:
    """Hashes of the files of the adapter that `finetune.start_from` names."""
    found = adapter_in(folder)
    return [hash_file(found / name) for name in ADAPTER_FILES]


def parent_of(folder: Path) -> Artifact | None:
    """The published artifact that the adapter is of; None where it comes from elsewhere."""
    published = adapter_in(folder).resolve().parent
    return find(published.parent, published.name)


def check_start(settings: FinetuneSection, now: TrainedOn) -> str | None:
    """Checks where training begins, as far as that is known without the model.

    Args:
        now: what this configuration trains adapters on.

    Returns:
        A sentence on what could not be checked, if anything.

    Raises:
        RagftError: there is no adapter, or it was trained on something else.
    """
    if settings.start_from is None:
        return None
    adapter = adapter_in(settings.start_from)
    known = TrainedOn.read(adapter)
    if known is None:
        return (
            f"The adapter in {adapter} does not say what it was trained on: training begins from it as if it had been "
            "on this base model."
        )
    known.check_matches(now, adapter)
    if known.quantisation != now.quantisation:
        before, here = (one.quantisation or "16 bits or more" for one in (known, now))
        raise RagftError(
            f"The adapter in {adapter} was trained on weights in {before}, and finetune.method = {settings.method} "
            f"trains on weights in {here}: set finetune.method to {'qlora' if known.quantisation else 'lora'}."
        )
    return None


def check_layers(adapter: Path, found: set[str], wanted: set[str]) -> None:
    """Refuses an adapter that has other layers, or other tensors, than the one that begins from it."""
    for names, what in ((found - wanted, "it changes {}, which would stay"), (wanted - found, "it lacks {}")):
        if names:
            first = f"{min(names)!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            raise other_form(
                adapter,
                f"{what.format(first)}: set finetune.target_modules and finetune.layers to what it was trained with",
            )


def other_form(adapter: Path, difference: str) -> RagftError:
    """The sentence for an adapter of another form than the one that begins from it."""
    return RagftError(f"Training cannot begin from the adapter in {adapter} (finetune.start_from): {difference}.")
