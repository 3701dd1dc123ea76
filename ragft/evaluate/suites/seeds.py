"""Seeds: how far trainings of one recipe differ, and which differences between setups are larger than that.

A comparison stands on one training. Its intervals are for other questions; whether another seed, which is another mix
of passages, another start and another order of rows, would give the same verdict, only other trainings tell. A
difference stands only where every seed shows it, where it is larger than what two runs of one recipe differ by, and
where its interval for other questions and other seeds does not hold 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ragft.console import counted
from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.statistics import ALPHA, Clusters, Columns, PairTest, Repeated, estimates, pair_tests, repeated
from ragft.evaluate.verdict import listed, percent, signed, verdict
from ragft.setups import SETUPS

SEEDS_VERSION = 1
"""Raised whenever the same scores would give other figures or other words."""

ENOUGH = 3
"""With fewer seeds the noise floor is rough: Student's quantile alone makes that of two three times that of three."""

AXES = ("facts", "form")
FORM, LENIENT = "format_validity", "contains"

Run = Mapping[str, Columns]
"""The (questions, metrics) scores of each setup by one training."""
Outcome = Literal["stands", "open", "depends on the seed", "like two runs"]
_SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Difference:
    """Two setups on one metric over all seeds; a minus b, and at least one of them is tuned.

    Attributes:
        mean: over questions and seeds; `low` and `high` are for other questions and other seeds, None where there are
            too few clusters.
        runs: the difference by each seed.
        significant: seeds by which the test of a comparison finds the difference, in the direction of `mean`.
        noise_floor: what two runs of the tuned setup differ by, of the noisier one where both are.
        outcome: what may be claimed.
    """

    a: str
    b: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    runs: tuple[float, ...]
    significant: int
    noise_floor: float
    outcome: Outcome
    text: str


def result(
    runs: Mapping[int, Run], clusters: Clusters, *, seed: int, resamples: int, decides: str = "exact_match"
) -> dict[str, Any]:
    """What the suite claims, as JSON values.

    Args:
        runs: by the seed of the training, two or more; questions in the same order, metrics as in `METRICS`.
        seed, resamples: of the permutations, as in a comparison.
        decides: the metric that decides on facts.

    Returns:
        `seeds`; `shown`, the metrics that the verdict looks at; `setups`: setup -> metric -> `{mean, low, high, n,
        clusters, runs, between, noise_floor}`; `pairs`: of `Difference`; `verdicts`: axis -> seed -> the leader and the
        setups that are not significantly worse; `text`: in sentences. A metric that applies to none of a setup's
        answers is left out.
    """
    judged = [name for name, one in METRICS.items() if one.unit == "share" and one.axis in AXES and one.better]
    places = [list(METRICS).index(name) for name in judged]
    runs = {of: {setup: columns[:, places] for setup, columns in run.items()} for of, run in runs.items()}
    setups = list(next(iter(runs.values())))
    tests = {
        of: pair_tests(
            run, _pairs(setups), judged, clusters, shares=frozenset(judged),
            lower_is_better=frozenset(name for name in judged if METRICS[name].better == "lower"), seed=seed,
            resamples=resamples,
        )
        for of, run in runs.items()
    }  # fmt: skip
    measured = {setup: _measured(runs, setup, judged, clusters) for setup in setups}
    floors = {
        (setup, metric): found.noise_floor
        for setup, of_setup in measured.items()
        for metric, found in of_setup.items()
        if found.noise_floor is not None
    }
    pairs = [
        found
        for at, metric in enumerate(judged)
        for a, b in _pairs(setups)
        if SETUPS[a].tuned or SETUPS[b].tuned
        if (found := _difference(a, b, metric, at, runs, tests, clusters, floors))
    ]
    verdicts = _verdicts(runs, judged, tests, clusters, METRICS[decides])
    return {
        "seeds": list(runs),
        "shown": list(dict.fromkeys((decides, LENIENT, FORM))),
        "setups": {
            setup: {metric: _as_values(found) for metric, found in of_setup.items()}
            for setup, of_setup in measured.items()
        },
        "pairs": [{**asdict(pair), "runs": list(pair.runs)} for pair in pairs],
        "verdicts": verdicts,
        "text": [
            *(_verdict_text(axis, by_seed) for axis, by_seed in verdicts.items()),
            *(
                _floor_text(setup, metric, floor)
                for (setup, metric), floor in floors.items()
                if metric in (decides, FORM)
            ),
            *(pair.text for pair in pairs if pair.metric == decides),
            *_remarks(setups, len(runs)),
        ],
    }


def _pairs(setups: Sequence[str]) -> list[tuple[str, str]]:
    """Every pair, the later first, as in a comparison."""
    return [(setups[later], setups[earlier]) for later in range(len(setups)) for earlier in range(later)]


def _measured(runs: Mapping[int, Run], setup: str, metrics: Sequence[str], clusters: Clusters) -> dict[str, Repeated]:
    """What a setup reaches on each metric that applies to it; one without training has one run, whatever the seed."""
    found = {}
    for at, metric in enumerate(metrics):
        scores = np.stack([run[setup][:, at] for run in runs.values()], axis=1)
        if not SETUPS[setup].tuned:
            scores = scores.mean(axis=1, keepdims=True)
        if not np.isnan(scores).any(axis=1).all():
            found[metric] = repeated(scores, clusters, bounds=_SHARE)
    return found


def _difference(
    a: str, b: str, metric: str, at: int, runs: Mapping[int, Run], tests: Mapping[int, Sequence[PairTest]],
    clusters: Clusters, floors: Mapping[tuple[str, str], float],
) -> Difference | None:  # fmt: skip
    scores = np.stack([run[a][:, at] - run[b][:, at] for run in runs.values()], axis=1)
    if np.isnan(scores).any(axis=1).all():
        return None
    found = repeated(scores, clusters, bounds=(-1.0, 1.0))
    mean = found.estimate.mean or 0.0
    significant = sum(
        test.p_holm < ALPHA and test.difference * mean > 0
        for of_seed in tests.values()
        for test in of_seed
        if (test.a, test.b, test.metric) == (a, b, metric)
    )
    floor = max(floors.get((setup, metric), 0.0) for setup in (a, b))
    low, high = found.estimate.low, found.estimate.high
    outcome = outcome_of(found.runs, mean, low, high, floor)
    return Difference(
        a, b, metric, mean, low, high, found.estimate.n, found.estimate.clusters, found.runs, significant, floor,
        outcome, _difference_text(a, b, metric, found, significant, floor, outcome),
    )  # fmt: skip


def outcome_of(
    runs: Sequence[float], mean: float, low: float | None, high: float | None, noise_floor: float
) -> Outcome:
    """What may be claimed of a difference.

    Args:
        runs: the difference by each seed; `low` and `high` are the interval of their `mean`.
    """
    # Sums of floats in another order differ in the last digits.
    if abs(mean) <= noise_floor + 1e-12:
        return "like two runs"
    if min(runs) <= 0 <= max(runs):
        return "depends on the seed"
    return "open" if low is None or high is None or low <= 0 <= high else "stands"


def _difference_text(
    a: str, b: str, metric: str, found: Repeated, significant: int, floor: float, outcome: Outcome
) -> str:
    """A difference in words, seen from the higher setup."""
    mean, low, high = found.estimate.mean or 0.0, found.estimate.low, found.estimate.high
    higher, lower, sign = (a, b, 1.0) if mean >= 0 else (b, a, -1.0)
    runs = [sign * run for run in found.runs]
    on, count = f"On {_words(metric)}", len(runs)
    if outcome == "like two runs":
        return (
            f"{on}, {higher} and {lower} differ by {_points(abs(mean))}, no more than two runs of one recipe do (up to "
            f"{_points(floor)}): the seed may decide."
        )
    if outcome == "depends on the seed":
        above = sum(run > 0 for run in runs)
        return f"{on}, {higher} is above {lower} on {above} of {count} seeds only ({_listed(runs)} points)."
    ends = sorted({f"{100 * end:.1f}" for end in (min(runs), max(runs))}, key=float)
    text = f"{on}, {higher} is above {lower} on {_all(count)} seeds, by {' to '.join(ends)} points"
    text += f", significantly on { {count: 'each', 0: 'none'}.get(significant, f'{significant} of them') }"
    if low is None or high is None:
        return f"{text}; there are too few documents to say how other questions would differ."
    low, high = sorted((sign * low, sign * high))
    said = f"{signed(sign * mean)} ({signed(low)} to {signed(high)})"
    if outcome == "open":
        return f"{text}; for other questions and seeds the difference is {said}, so that it may be none."
    return f"{text}; for other questions and seeds it is {said}."


def _verdicts(
    runs: Mapping[int, Run],
    metrics: Sequence[str],
    tests: Mapping[int, Sequence[PairTest]],
    clusters: Clusters,
    decides: Measure,
) -> dict[str, dict[str, list[str]]]:
    """By axis and seed, whom the verdict of a comparison names: the leader, and those not significantly worse."""
    found: dict[str, dict[str, list[str]]] = {axis: {} for axis in AXES}
    for of, run in runs.items():
        means = {
            setup: dict(zip(metrics, estimates(columns, clusters, bounds=[_SHARE] * len(metrics)), strict=True))
            for setup, columns in run.items()
        }
        facts, lenient, form = (
            {setup: of_setup[name] for setup, of_setup in means.items()} for name in (decides.name, LENIENT, FORM)
        )
        said = verdict(facts, form, lenient if decides.name == "exact_match" else {}, tests[of], decides=decides)
        found["facts"][str(of)], found["form"][str(of)] = list(said.best_facts), list(said.best_form)
    return {axis: by_seed for axis, by_seed in found.items() if any(by_seed.values())}


def _verdict_text(axis: str, by_seed: Mapping[str, Sequence[str]]) -> str:
    by_best: dict[tuple[str, ...], list[str]] = {}
    for seed, best in by_seed.items():
        # Which of setups that cannot be told apart is a little ahead is no part of a verdict.
        by_best.setdefault(tuple(sorted(best)), []).append(seed)
    if len(by_best) > 1:
        said = "; ".join(f"{_best(best)} with {_named(seeds)}" for best, seeds in by_best.items())
        return f"On {axis}, the verdict depends on the seed: {said}."
    return f"On {axis}, the verdict is the same on {_all(len(by_seed))} seeds: {_best(next(iter(by_best)))}."


def _best(best: Sequence[str]) -> str:
    return f"{best[0]} is best" if len(best) == 1 else f"{listed(best)} are not told apart"


def _named(seeds: Sequence[str]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {listed(seeds)}"


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _floor_text(setup: str, metric: str, floor: float) -> str:
    return f"Two trainings of {setup} differ by up to {_points(floor)} of {_words(metric)}, 19 times of 20."


def _remarks(setups: Sequence[str], count: int) -> list[str]:
    said = []
    if untrained := [setup for setup in setups if not SETUPS[setup].tuned]:
        were = "was" if len(untrained) == 1 else "were"
        said.append(
            f"Answers are greedy, the same for every seed without training: {listed(untrained)} {were} asked once."
        )
    if count < ENOUGH:
        said.append(f"{counted(count, 'seed')} make a rough noise floor: take {ENOUGH} or more.")
    return said


def _as_values(found: Repeated) -> dict[str, Any]:
    return {
        **asdict(found.estimate), "runs": list(found.runs), "between": found.between, "noise_floor": found.noise_floor,
    }  # fmt: skip


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(map(signed, values))


def seeds_tables(found: Mapping[str, Any]) -> list[Any]:
    """The result for people: what setups reach by seed, and what their differences are worth."""
    from rich import box
    from rich.table import Table

    reached, pairs = (
        Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
        for title, caption in (
            ("What each seed reaches", "Intervals are for other questions and, with training, for other seeds (95 %)."),
            ("What differences are worth", "In points; noise: what two runs of the tuned setup differ by."),
        )
    )
    seeds = [f"seed {seed}" for seed in found["seeds"]]
    for name in ("setup", "metric", *seeds, "all", "noise"):
        reached.add_column(name, justify="left" if name in ("setup", "metric") else "right")
    for setup, metrics in found["setups"].items():
        for metric in found["shown"]:
            if (one := metrics.get(metric)) is None:
                continue
            values = one["runs"] if len(one["runs"]) > 1 else one["runs"] * len(seeds)
            floor = "" if one["noise_floor"] is None else _points(one["noise_floor"])
            span = "" if one["low"] is None else f" ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
            reached.add_row(setup, _words(metric), *map(percent, values), f"{percent(one['mean'])}{span}", floor)
    for name in ("a - b", "metric", *seeds, "all", "noise", "verdict"):
        pairs.add_column(name, justify="left" if name in ("a - b", "metric", "verdict") else "right")
    for pair in found["pairs"]:
        if pair["metric"] in found["shown"]:
            span = "" if pair["low"] is None else f" ({signed(pair['low'])} to {signed(pair['high'])})"
            pairs.add_row(
                f"{pair['a']} - {pair['b']}", _words(pair["metric"]), *map(signed, pair["runs"]),
                f"{signed(pair['mean'])}{span}", f"{100 * pair['noise_floor']:.1f}", pair["outcome"],
            )  # fmt: skip
    return [reached, pairs, *found["text"]]
