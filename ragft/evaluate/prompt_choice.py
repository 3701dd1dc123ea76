"""The best of several prompts of one setup, by its answers to questions that nothing is compared on.

A baseline is fair when it is the best prompt, not the first; and a figure is fair when it is not of the questions that
chose it. Knows nothing of how a prompt is written, only its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS, Measure, Rules
from ragft.evaluate.records import Record
from ragft.evaluate.rows import Row
from ragft.evaluate.score import score
from ragft.evaluate.verdict import percent

_RESAMPLES = 200  # none of the tests is shown
_FORM = "format_validity"


@dataclass(frozen=True)
class PromptChoice:
    """How a setup is asked, and why.

    Attributes:
        chosen: the prompt, as `PromptVariant.title` names it.
        prompt, shots: the same as in the configuration.
        n, clusters: questions that it was chosen on, and how many groups they form; 0: the configuration says so.
        variants: what was chosen from, in the order of declaration: name -> `{exact_match, format_validity, dropped}`,
            where the first is the metric that decides; estimates as in `Comparison.setups`, and the number of prompts
            that lost passages to fit the window.
    """

    chosen: str
    prompt: str
    shots: int
    n: int = 0
    clusters: int = 0
    variants: dict[str, Row] = field(default_factory=dict)


def measured(
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[Record]],
    rules: Rules,
    *,
    seed: int,
    max_failed: float,
    decides: str = "exact_match",
) -> tuple[str, int, dict[str, Row]]:
    """The best prompt by the metric that decides, of equals by format validity, and of equals the first.

    Args:
        questions: held out of the comparison.
        answers: records of one setup to them, by the name of the prompt.
        decides: a registered metric.

    Returns:
        Its name, the number of clusters of the questions, and the `variants` of a `PromptChoice`.

    Raises:
        RagftError: as `score`.
    """
    records = [replace(record, setup=name) for name, found in answers.items() for record in found]
    _, comparison = score(
        questions, records, rules, setups=list(answers), decides=decides, seed=seed, resamples=_RESAMPLES,
        max_failed=max_failed,
    )  # fmt: skip
    dropped = {name: sum(bool(record.passages_dropped) for record in found) for name, found in answers.items()}
    variants: dict[str, Row] = {
        name: {**{metric: comparison.setups[name][metric] for metric in (decides, _FORM)}, "dropped": dropped[name]}
        for name in answers
    }
    return (
        max(variants, key=lambda name: _merit(variants[name], METRICS[decides])),
        comparison.clusters["count"],
        variants,
    )


def _merit(figures: Row, decides: Measure) -> list[float]:
    # Sums of floats in another order must not decide.
    values = ((figures[decides.name]["mean"], decides.sign), (figures[_FORM]["mean"], 1))
    return [round(sign * (mean or 0.0), 9) for mean, sign in values]


def told(setup: str, choice: Mapping[str, Any], decides: Measure) -> str:
    """How a setup is asked, why, and how it is served so, in words.

    Args:
        choice: a `PromptChoice`, as `comparison.json` holds it.
        decides: the metric that it was chosen by.
    """
    if not choice["variants"]:
        return f"{setup} is asked as prompt.untuned says: {choice['chosen']}."
    from ragft.console import counted

    scores: dict[str, Row] = {name: figures[decides.name] for name, figures in choice["variants"].items()}
    best = scores.pop(choice["chosen"])
    others = sorted(scores.items(), key=lambda item: -decides.sign * (item[1]["mean"] or 0.0))
    against = ", ".join(f"{percent(row['mean'])} with {name}" for name, row in others) or "nothing else"
    return (
        f"The prompt of {setup} was chosen on {counted(choice['n'], 'held-out question')}, which are in no other "
        f"figure: {choice['chosen']}, with {percent(best['mean'])} {decides.title} against {against}. "
        f"It is served so with prompt.untuned = {as_configured(setup, choice)}."
    )


def as_configured(setup: str, choice: Mapping[str, Any]) -> str:
    """What `prompt.untuned` must be for a setup to be served as it was measured, in YAML."""
    shots = f", shots: {choice['shots']}" if choice["shots"] else ""
    return f"{{{setup}: {{prompt: {choice['prompt']}{shots}}}}}"
