"""How surely one setup is better than another, from scores of the same questions.

All setups answer the same questions, so everything here is paired: the resamples are shared, and a difference
is taken
question by question. On 200 questions that detects about twice as many true differences as an unpaired test.
Columns of scores are `(questions, columns)` float64; NaN says that a score does not exist (not applicable, or
failed).

Methods: percentile bootstrap (Efron and Tibshirani, 1993), sign-flip permutation test (Fisher, 1935), exact
McNemar
test (1947) for shares, Holm's correction (1979), and the normal approximation for the number of questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float64]
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
_CHUNK = 500  # resamples at once: 500 x 5,000 questions of float64 are 20 MB


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; None and n = 0 where no question had a score."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PairTest:
    """One metric of two setups on the questions that both have a score for: `difference` is a minus b.

    Attributes:
        p: two-sided, of this pair alone.
        p_holm: corrected for the pairs of setups that this metric was compared on.
        wins: questions on which a is better (higher, or lower where lower is better).
        detectable: smallest difference that so many questions find with 80 % power, after the correction.
        needed: questions at which this very difference would be found with 80 % power; None where it is 0.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    n: int
    detectable: float
    needed: int | None


def estimates(columns: Columns, *, seed: int, resamples: int, shares: Sequence[bool] | None = None) -> list[Estimate]:
    """Mean and percentile interval of every column, all from the same resamples of the questions.

    Args:
        columns: (questions, columns); differences between setups are columns too.
        seed, resamples: of the bootstrap; the same seed and columns give the same intervals.
        shares: which columns are shares of yes and no. Where all agree, resampling sees no spread at all, so
            those get the exact bound of Clopper and Pearson (1934) instead: 20 of 20 is not "100 % for sure".
    """
    width = columns.shape[1]
    if width == 0:
        return []
    present = ~np.isnan(columns)
    counts = present.sum(axis=0)
    filled = np.where(present, columns, 0.0)
    means = filled.sum(axis=0) / np.maximum(counts, 1)
    low, high = _percentiles(_resampled_means(filled, present, seed=seed, resamples=resamples))
    results = []
    for at in range(width):
        n = int(counts[at])
        if n == 0:
            results.append(Estimate(None, None, None, 0))
            continue
        mean = float(means[at])
        bottom, top = min(float(low[at]), mean), max(float(high[at]), mean)
        if shares is not None and shares[at]:
            if mean == 0.0:
                top = 1 - (ALPHA / 2) ** (1 / n)
            elif mean == 1.0:
                bottom = float((ALPHA / 2) ** (1 / n))
        results.append(Estimate(mean, bottom, top, n))
    return results


def _resampled_means(filled: Columns, present: NDArray[np.bool_], *, seed: int, resamples: int) -> Columns:
    """(resamples, columns) means; NaN where a resample holds no question with a score."""
    questions, width = filled.shape
    masks, mask_of = np.unique(present, axis=1, return_inverse=True)
    mask_of = mask_of.reshape(-1)
    both = np.concatenate([filled, masks.astype(np.float64)], axis=1)
    means, rng = np.empty((resamples, width)), np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, questions, (size, questions))
        drawn += np.arange(size)[:, None] * questions
        weights = np.bincount(drawn.reshape(-1), minlength=size * questions).reshape(size, questions)
        sums = weights.astype(np.float64) @ both
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start : start + size] = sums[:, :width] / sums[:, width:][:, mask_of]
    return means


def _percentiles(means: Columns) -> tuple[Columns, Columns]:
    quantiles = [ALPHA / 2, 1 - ALPHA / 2]
    low, high = np.full(means.shape[1], np.nan), np.full(means.shape[1], np.nan)
    whole = ~np.isnan(means).any(axis=0)
    if whole.any():
        low[whole], high[whole] = np.quantile(means[:, whole], quantiles, axis=0)
    for at in np.flatnonzero(~whole):
        column = means[:, at]
        if not np.isnan(column).all():
            low[at], high[at] = np.nanquantile(column, quantiles)
    return low, high


def permutation_p(differences: Columns, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Two-sided sign-flip p-value per column of paired differences (questions, columns); all share the flips.

    The observed arrangement counts as one of the permutations, so p is never 0 (Phipson and Smyth, 2010).
    """
    filled = np.nan_to_num(differences, nan=0.0)
    observed = np.abs(filled.sum(axis=0))
    # Sums of floats in another order differ in the last digits; a tie must still count as one.
    threshold = observed - 1e-9 * np.maximum(np.abs(filled).sum(axis=0), 1e-300)
    rng = np.random.default_rng(seed)
    extreme = np.zeros(filled.shape[1])
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        signs = rng.integers(0, 2, (size, filled.shape[0])) * 2.0 - 1.0
        extreme += (np.abs(signs @ filled) >= threshold).sum(axis=0)
    return np.asarray((extreme + 1) / (resamples + 1))


def mcnemar_p(wins: int, losses: int) -> float:
    """Exact two-sided McNemar p-value: questions on which only one of the two was right are coin flips."""
    flips, fewer = wins + losses, min(wins, losses)
    term = tail = 1
    for heads in range(fewer):
        term = term * (flips - heads) // (heads + 1)
        tail += term
    # Python divides integers correctly rounded, however large they are.
    return min(1.0, float(2 * tail / (1 << flips)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: family-wise error stays below alpha whatever the tests' dependence."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        running = max(running, min(1.0, p_values[at] * (len(p_values) - rank)))
        corrected[at] = running
    return corrected


def detectable_difference(deviation: float, n: int, *, tests: int = 1) -> float:
    """Smallest mean difference that a paired test on `n` questions finds with 80 % power at 5 %.

    Args:
        deviation: standard deviation of the differences, question by question.
        tests: comparisons that share the 5 %.
    """
    return _power_factor(tests) * deviation / math.sqrt(n)


def needed_questions(difference: float, deviation: float, *, tests: int = 1) -> int | None:
    """Questions at which a paired test finds this difference with 80 % power at 5 %; None where it is 0."""
    # A sum of floats that should be 0 may end at 1e-17, which would ask for 1e30 questions.
    if abs(difference) < 1e-12:
        return None
    return max(2, math.ceil((_power_factor(tests) * deviation / difference) ** 2))


def _power_factor(tests: int) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - ALPHA / tests / 2) + normal.inv_cdf(POWER)


def pair_tests(
    scores: Mapping[str, Columns],
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    *,
    lower_is_better: frozenset[str] = frozenset(),
    seed: int,
    resamples: int,
) -> list[PairTest]:
    """Every pair of setups on every metric, corrected within each metric.

    Args:
        scores: per setup (questions, metrics), rows in the same order of questions.
        pairs: (a, b); the difference is a minus b.
        metrics: names of the columns.
        lower_is_better: metrics whose wins are the lower scores.
    """
    keys = [(a, b, at) for at in range(len(metrics)) for a, b in pairs]
    if not keys:
        return []
    differences = np.stack([scores[a][:, at] - scores[b][:, at] for a, b, at in keys], axis=1)
    keep = np.flatnonzero((~np.isnan(differences)).any(axis=0))
    keys, differences = [keys[at] for at in keep], differences[:, keep]
    intervals = estimates(differences, seed=seed, resamples=resamples)
    flips = permutation_p(differences, seed=seed, resamples=resamples)
    raw: list[dict[str, Any]] = []
    for column, ((a, b, at), interval) in enumerate(zip(keys, intervals, strict=True)):
        deltas = differences[:, column]
        deltas = deltas[~np.isnan(deltas)]
        above, below = int((deltas > 0).sum()), int((deltas < 0).sum())
        binary = bool(np.isin(deltas, (-1.0, 0.0, 1.0)).all())
        deviation = float(deltas.std(ddof=1)) if len(deltas) > 1 else 0.0
        wins, losses = (below, above) if metrics[at] in lower_is_better else (above, below)
        raw.append(
            {
                "a": a,
                "b": b,
                "metric": metrics[at],
                "difference": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "p": mcnemar_p(above, below) if binary else float(flips[column]),
                "wins": wins,
                "ties": len(deltas) - above - below,
                "losses": losses,
                "n": len(deltas),
                "detectable": detectable_difference(deviation, len(deltas), tests=len(pairs)),
                "needed": needed_questions(float(deltas.mean()), deviation, tests=len(pairs)),
            }
        )
    for name in metrics:
        family = [test for test in raw if test["metric"] == name]
        for test, corrected in zip(family, holm([test["p"] for test in family]), strict=True):
            test["p_holm"] = corrected
    return [PairTest(**test) for test in raw]


def interaction_columns(scores: Mapping[str, Columns]) -> Columns:
    """The interaction of the 2x2 design per question: (hybrid - rag-only) - (fine-tuned - prompt-only).

    Above 0: tuning helps more with passages than without; the two are more than the sum of their parts.
    """
    tuned = scores["hybrid"] - scores["rag-only"]
    return np.asarray(tuned - (scores["fine-tuned"] - scores["prompt-only"]))


@dataclass(frozen=True)
class Verdict:
    """The outcome in words, one sentence or two per axis; the axes are never averaged.

    Attributes:
        facts, form: which setup is best there, and how surely.
        lenient: the facts again, where the gold answer may stand anywhere in the text.
        interaction: whether tuning and retrieval help each other.
        best_facts, best_form: the leader first, then the setups that cannot be told from it.
    """

    facts: str
    lenient: str
    form: str
    interaction: str
    best_facts: tuple[str, ...]
    best_form: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(text for text in (self.facts, self.lenient, self.form, self.interaction) if text)


def verdict(
    facts: Mapping[str, Estimate],
    form: Mapping[str, Estimate],
    lenient: Mapping[str, Estimate],
    tests: Sequence[PairTest],
    interaction: Estimate | None,
) -> Verdict:
    """Says which setup is best on facts (exact match) and on form (format validity), and what cannot be told.

    Args:
        facts, form, lenient: per setup, its exact match, format validity, and containing the answer.
        tests: the pair tests of these metrics; others are ignored.
        interaction: of exact match; None where not all four setups were compared.
    """
    facts_text, best_facts = _axis_verdict("facts", "exact_match", facts, tests)
    form_text, best_form = _axis_verdict("form", "format_validity", form, tests)
    if not best_form:
        form_text = "Form was not scored: no house format is declared."
    words = _lenient_verdict(lenient, tests)
    return Verdict(facts_text, words, form_text, _interaction_verdict(interaction), best_facts, best_form)


def _axis_verdict(
    axis: str, metric: str, means: Mapping[str, Estimate], tests: Sequence[PairTest]
) -> tuple[str, tuple[str, ...]]:
    scored = {name: estimate for name, estimate in means.items() if estimate.mean is not None}
    title = metric.replace("_", " ")
    if not scored:
        return f"On {axis} nothing could be scored.", ()
    order = sorted(scored, key=lambda name: -(scored[name].mean or 0.0))
    leader = order[0]
    figure = f"{percent(scored[leader].mean)} {title} ({_range(scored[leader])})"
    against = {
        (test.b if test.a == leader else test.a): test
        for test in tests
        if test.metric == metric and leader in (test.a, test.b)
    }
    rivals = [name for name in order[1:] if name in against]
    if not rivals:
        return f"On {axis}, {leader} reaches {figure}; there is nothing to compare it with.", (leader,)
    tied = [name for name in rivals if against[name].p_holm >= ALPHA]
    beaten = [name for name in rivals if against[name].p_holm < ALPHA]
    if not tied:
        test = against[rivals[0]]
        gap = f"{100 * abs(test.difference):.1f} points above {rivals[0]}, the next best"
        return f"On {axis}, {leader} is best: {figure}, {gap} ({p_text(test.p_holm)}).", (leader,)
    noise = _noise(against[tied[0]])
    text = f"On {axis}, {leader} has {figure}, but cannot be told from {_listed(tied)}: {noise}."
    if beaten:
        text += f" It is better than {_listed(beaten, 'and')}."
    return text, (leader, *tied)


def _lenient_verdict(means: Mapping[str, Estimate], tests: Sequence[PairTest]) -> str:
    scored = {name: estimate.mean for name, estimate in means.items() if estimate.mean is not None}
    if len(scored) < 2:
        return ""
    first, second = sorted(scored, key=lambda name: -scored[name])[:2]
    text = f"Read leniently, the answer stands in {percent(scored[first])} of {first}'s texts"
    text += f", in {percent(scored[second])} of {second}'s"
    test = next((t for t in tests if t.metric == "contains" and {t.a, t.b} == {first, second}), None)
    told = test is not None and test.p_holm < ALPHA
    return f"{text} ({p_text(test.p_holm) if test and told else 'a difference that may be noise'})."


def _noise(test: PairTest) -> str:
    if test.needed is None:
        return f"the two are level on {test.n:,} questions"
    # Told from the leader's side, whichever of the two it is.
    low, high = (test.low, test.high) if test.difference > 0 else (-test.high, -test.low)
    span = f"{signed(low)} to {signed(high)}"
    gap = f"{100 * abs(test.difference):.1f} points ({span}) may be noise on {test.n:,} questions"
    if test.p < ALPHA:
        gap += " once the number of comparisons is counted in"
    # The estimate is rough, so it is given to two digits; what was not found here takes more questions than
    # here.
    needed = max(test.needed, test.n + 1)
    digits = 10 ** max(0, len(str(needed)) - 2)
    return f"{gap}; it would take about {math.ceil(needed / digits) * digits:,} to tell"


def _interaction_verdict(interaction: Estimate | None) -> str:
    if interaction is None or interaction.mean is None or interaction.low is None or interaction.high is None:
        return ""
    span = f"{signed(interaction.mean)} points, {signed(interaction.low)} to {signed(interaction.high)}"
    if interaction.low > 0:
        return f"Tuning helps facts more with retrieval than without ({span})."
    if interaction.high < 0:
        return f"Tuning helps facts less with retrieval than without ({span})."
    return f"Whether tuning and retrieval help each other on facts cannot be told ({span})."


def percent(share: float | None) -> str:
    """A share as text with a space that does not break: `71.2 %`, or `–` for none."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def p_text(p: float) -> str:
    """A p-value as text: `p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _range(estimate: Estimate) -> str:
    return f"{100 * (estimate.low or 0.0):.1f} to {100 * (estimate.high or 0.0):.1f}"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _listed(names: Sequence[str], last: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
