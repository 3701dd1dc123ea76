"""Arms: what is compared beside the four setups, by the same statistics, and without a part in their verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragft.evaluate.score import Comparison


def arms_beside(comparison: Comparison, setups: Sequence[str]) -> dict[str, Any]:
    """The part of a comparison of setups and arms that is about the arms.

    Args:
        setups: names of the setups; whatever else was compared is an arm.

    Returns:
        `{setups, pairs, freshness, by_tag}`, each as in `Comparison`: the arms alone, and every pair with an arm in it.
        The p-values are corrected over all pairs of setups and arms.
    """
    arms = [name for name in comparison.setups if name not in setups]
    return {
        "setups": {name: comparison.setups[name] for name in arms},
        "pairs": [pair for pair in comparison.pairs if pair["a"] in arms or pair["b"] in arms],
        "freshness": {name: comparison.freshness[name] for name in arms if name in comparison.freshness},
        "by_tag": {
            tag: {name: values[name] for name in arms if name in values} for tag, values in comparison.by_tag.items()
        },
    }


def with_arms(comparison: Comparison) -> Comparison:
    """A comparison with its arms among the setups, for tables; verdict and 2x2 stay those of the setups.

    P-values of pairs of setups stay corrected over the setups alone.
    """
    arms = comparison.arms
    if not arms:
        return comparison
    tags = {tag: {**comparison.by_tag.get(tag, {}), **values} for tag, values in arms["by_tag"].items()}
    return replace(
        comparison, setups={**comparison.setups, **arms["setups"]}, pairs=[*comparison.pairs, *arms["pairs"]],
        freshness={**comparison.freshness, **arms["freshness"]}, by_tag={**comparison.by_tag, **tags},
    )  # fmt: skip
