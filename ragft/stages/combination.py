"""Several adapters combined into one, before the merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.artifacts import Artifact, hash_file
from ragft.errors import UsageError
from ragft.finetune.lineage import ADAPTER_FILES, TrainedOn
from ragft.stages.application import Application, Inputs
from ragft.stages.inputs import COMBINATION

if TYPE_CHECKING:
    from ragft.finetune.combine import Combination


@dataclass(frozen=True)
class Wanted:
    """How adapters are to be combined; what is None is left to the defaults."""

    weights: tuple[float, ...] | None = None
    how: Combination | None = None
    density: float | None = None


def combined(app: Application, adapters: Sequence[Path], lineages: Sequence[TrainedOn], wanted: Wanted) -> Artifact:
    """The adapter that several become; its `adapter/` is a folder in PEFT's format.

    Args:
        lineages: what each was trained on.

    Raises:
        UsageError: the adapters do not belong together, or the weights do not belong to them.
    """
    how, density = wanted.how or "linear", 0.5 if wanted.density is None else wanted.density
    weights = wanted.weights or (1 / len(adapters),) * len(adapters)
    _check(adapters, lineages, weights, how, wanted.density)

    def work(folder: Path) -> dict[str, Any]:
        from ragft.finetune.combine import combine

        app.reporter.say(f"Combining {len(adapters)} adapters ({how})")
        made = combine(adapters, weights, folder / "adapter", how=how, density=density, seed=app.config.seed)
        lineages[0].write(folder / "adapter")
        return asdict(made)

    # The order is an input: DARE draws for one adapter after the other.
    values: dict[str, Any] = {
        "adapters": [[hash_file(adapter / name) for name in ADAPTER_FILES] for adapter in adapters],
        "weights": list(weights),
        "combine": how,
        "base": lineages[0].base,
        "quantised": lineages[0].quantisation,
    }
    if how != "linear":
        values["density"] = density
    return app.build(Inputs((COMBINATION,), values), work)


def _check(
    adapters: Sequence[Path], lineages: Sequence[TrainedOn], weights: Sequence[float], how: str, density: float | None
) -> None:
    if len(weights) != len(adapters):
        raise UsageError(f"There are {len(adapters)} adapters and {len(weights)} weights: give --weights one for each.")
    if not all(math.isfinite(weight) and weight != 0 for weight in weights):
        raise UsageError(f"--weights {weights} holds a zero or what is no number: leave an adapter out instead.")
    if density is not None and how == "linear":
        raise UsageError("--density is of ties, dare_linear and dare_ties: name one of them with --combine.")
    if density is not None and not 0 < density <= 1:
        raise UsageError(f"--density is {density}: give the share to keep, above 0 and at most 1.")
    for adapter, lineage in zip(adapters[1:], lineages[1:], strict=True):
        if lineage.quantisation != lineages[0].quantisation:
            raise UsageError(
                f"{adapters[0]} was trained on weights in {lineages[0].quantisation or '16 bits'} and {adapter} on "
                f"weights in {lineage.quantisation or '16 bits'}: only adapters that were trained on the same weights "
                "can be combined."
            )
