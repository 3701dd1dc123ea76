"""What the intervals and tests of the comparison hold, by simulation; and what clustering changes on real records.

    python benchmarks/intervals.py [--simulations 2000]
    python benchmarks/intervals.py --scores EVALUATION/scores.jsonl --questions questions.jsonl

Answers are drawn so that questions of one document are easy or hard together. A cell is the share of simulations, in
percent, in which the 95 % interval covers the truth. "–" stands where all questions are of one or two documents, which
get no interval.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ragft.data.questions import read_questions
from ragft.evaluate.statistics import Clusters, cluster_questions, estimates, holm, pair_tests, sign_flip_p
from ragft.evaluate.statistics.intervals import Moments, interval_limits

Floats = NDArray[np.float64]
SIZES, COUNTS, CORRELATIONS = (5, 20, 60), (50, 150, 600), (0.0, 0.1, 0.3, 0.6)
SHARES = (0.02, 0.5, 0.98)
PAIRS = ((0.5, 0.5), (0.5, 0.65), (0.02, 0.02), (0.9, 0.98))
_Z = NormalDist().inv_cdf(0.975)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--scores", type=Path, help="scores.jsonl of an evaluation, instead of the simulation")
    parser.add_argument("--questions", type=Path, help="the questions of --scores")
    arguments = parser.parse_args()
    if arguments.scores:
        side_by_side(arguments.scores, arguments.questions)
        return 0
    rng = np.random.default_rng(0)
    print(f"{arguments.simulations} simulations a cell\n")
    shares(rng, arguments.simulations)
    differences(rng, arguments.simulations)
    alarms(rng, arguments.simulations // 2)
    power(rng, arguments.simulations)
    return 0


def layouts() -> Iterator[tuple[int, int, float, Clusters]]:
    """Questions, questions a document, correlation, clusters; without documents of several, correlation is 0."""
    for n in COUNTS:
        yield n, 1, 0.0, Clusters.single(n)
        for size, correlation in itertools.product(SIZES, CORRELATIONS):
            yield n, size, correlation, Clusters.of((np.arange(n) // size).tolist())


def beta_binomial(
    rng: np.random.Generator, clusters: Clusters, share: float, correlation: float, simulations: int
) -> Floats:
    """(questions, simulations) of 0 and 1 with this mean and intra-class correlation."""
    if correlation == 0:
        return (rng.random((len(clusters.labels), simulations)) < share).astype(float)
    weight = 1 / correlation - 1
    of_cluster = rng.beta(share * weight, (1 - share) * weight, (clusters.count, simulations))
    return (rng.random((len(clusters.labels), simulations)) < of_cluster[clusters.labels]).astype(float)


def shares(rng: np.random.Generator, simulations: int) -> None:
    """Coverage of the intervals of shares, with and without clusters."""
    print("### Shares\n")
    print("| questions | a document | documents | correlation | " + " | ".join(f"{share:g}" for share in SHARES) + " |")
    print("|" + "---|" * (4 + len(SHARES)))
    for n, size, correlation, clusters in layouts():
        cells = []
        for share in SHARES:
            drawn = beta_binomial(rng, clusters, share, correlation, simulations)
            ours, naive = (covered(drawn, of, (0.0, 1.0), share) for of in (clusters, Clusters.single(n)))
            cells.append(cell(ours, naive))
        print(f"| {n} | {size} | {clusters.count} | {correlation:g} | " + " | ".join(cells) + " |", flush=True)
    print("\nIn brackets: every question taken for a document of its own.\n")


def cell(ours: float | None, naive: float | None) -> str:
    """Coverage, and in brackets that of the intervals that take questions for independent."""
    return "–" if ours is None else f"{100 * ours:.1f} ({100 * (naive or 0):.1f})"


def covered(drawn: Floats, clusters: Clusters, bounds: tuple[float, float], truth: float) -> float | None:
    """The share of columns whose interval covers the truth; None where there are no intervals."""
    found = interval_limits(drawn, Moments.of(drawn, clusters), [bounds] * drawn.shape[1])
    if found[0][0] is None:
        return None
    low, high = np.array(found, dtype=np.float64).T
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


def setups(
    rng: np.random.Generator, clusters: Clusters, truths: Sequence[float], correlation: float, simulations: int,
    hardness: float = 0.5,
) -> list[Floats]:  # fmt: skip
    """What setups answer: (questions, simulations) of 0 and 1 each.

    Half of the correlation within a document is shared by all setups, half is each one's own; of the rest, the part
    `hardness` is how hard the question is for all.
    """
    n = len(clusters.labels)

    def normal(rows: int) -> Floats:
        return rng.standard_normal((rows, simulations), dtype=np.float32).astype(np.float64)

    document, question = normal(clusters.count)[clusters.labels], normal(n)
    common = np.sqrt(correlation / 2) * document + np.sqrt((1 - correlation) * hardness) * question
    found = []
    for truth in truths:
        own = np.sqrt(correlation / 2) * normal(clusters.count)[clusters.labels]
        latent = common + own + np.sqrt((1 - correlation) * (1 - hardness)) * normal(n)
        found.append((latent < NormalDist().inv_cdf(truth)).astype(float))
    return found


def differences(rng: np.random.Generator, simulations: int) -> None:
    """Coverage of the intervals of paired differences."""
    print("### Paired differences\n")
    names = [f"{100 * a:g} and {100 * b:g} %" for a, b in PAIRS]
    print("| questions | a document | documents | correlation | " + " | ".join(names) + " |")
    print("|" + "---|" * (4 + len(PAIRS)))
    for n, size, correlation, clusters in layouts():
        cells = []
        for a, b in PAIRS:
            one, other = setups(rng, clusters, (a, b), correlation, simulations)
            ours, naive = (covered(one - other, of, (-1.0, 1.0), a - b) for of in (clusters, Clusters.single(n)))
            cells.append(cell(ours, naive))
        print(f"| {n} | {size} | {clusters.count} | {correlation:g} | " + " | ".join(cells) + " |", flush=True)
    print()


def alarms(rng: np.random.Generator, simulations: int) -> None:
    """How often one of six pairs of equal setups is found to differ, after Holm's correction."""
    print("### False alarms over six pairs of four equal setups, in percent\n")
    print("| questions | a document | documents | correlation | clustered | taken for independent |")
    print("|---|---|---|---|---|---|")
    for n, size, correlation, clusters in layouts():
        if n == 50:
            continue
        four = setups(rng, clusters, (0.5,) * 4, correlation, simulations)
        shares_of = [
            family_wise([clusters_.sums(a - b) for a, b in itertools.combinations(four, 2)])
            for clusters_ in (clusters, Clusters.single(n))
        ]
        ours, naive = (f"{100 * share:.1f}" for share in shares_of)
        print(f"| {n} | {size} | {clusters.count} | {correlation:g} | {ours} | {naive} |", flush=True)
    print()


def family_wise(sums: Sequence[Floats]) -> float:
    """Share of the columns in which some pair is significant."""
    p_values = np.array([sign_flip_p(of_pair, seed=0, resamples=1000) for of_pair in sums])
    return float(np.mean([min(holm(list(column))) < 0.05 for column in p_values.T]))


def power(rng: np.random.Generator, simulations: int) -> None:
    """How often a true difference is found, paired and unpaired."""
    print("### Power: 200 questions, 60 and 66 %, one pair\n")
    print("| a document | correlation | hardness | paired | unpaired z-test | ratio |\n|---|---|---|---|---|---|")
    for size, correlation, hardness in ((1, 0.0, 0.5), (1, 0.0, 0.6), (1, 0.0, 0.75), (5, 0.1, 0.6), (5, 0.3, 0.6)):
        clusters = Clusters.of((np.arange(200) // size).tolist())
        one, other = setups(rng, clusters, (0.6, 0.66), correlation, simulations, hardness)
        paired = (sign_flip_p(clusters.sums(other - one), seed=0, resamples=1000) < 0.05).mean()
        unpaired = (np.abs(unpaired_z(one, other, clusters)) > _Z).mean()
        found = f"{100 * paired:.1f} | {100 * unpaired:.1f} | {paired / unpaired:.1f}"
        print(f"| {size} | {correlation:g} | {hardness:g} | {found} |")
    print()


def unpaired_z(one: Floats, other: Floats, clusters: Clusters) -> Floats:
    """The z-statistic of two samples, as if they were of different questions, with the same variance of clusters."""
    a, b = (Moments.of(columns, clusters) for columns in (one, other))
    return np.asarray((b.mean - a.mean) / np.sqrt(a.variance + b.variance))


def side_by_side(scores: Path, questions: Path) -> None:
    """Figures of an evaluation with questions taken for independent, and by cluster."""
    rows = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    scored = {row["question_id"] for row in rows}
    asked = [question for question in read_questions(questions) if question.id in scored]
    names = list(dict.fromkeys(row["setup"] for row in rows))
    of = {(row["question_id"], row["setup"]): row["scores"] for row in rows}
    clustered, single = cluster_questions(asked), Clusters.single(len(asked))
    print(f"{len(asked)} questions, {clustered.count} clusters, {max(clustered.sizes)} questions in the largest\n")
    for metric in ("exact_match", "format_validity"):
        columns = {
            name: np.array([[of[question.id, name].get(metric)] for question in asked], dtype=np.float64)
            for name in names
        }
        print(f"| {metric} | mean | independent | clustered |\n|---|---|---|---|")
        for name, column in columns.items():
            one, two = (estimates(column, clusters, bounds=[(0.0, 1.0)])[0] for clusters in (single, clustered))
            print(f"| {name} | {points(one.mean)} | {limits(one.low, one.high)} | {limits(two.low, two.high)} |")
        print(f"\n| {metric} | difference | independent | p (Holm) | clustered | p (Holm) | design effect |")
        print("|---|---|---|---|---|---|---|")
        pairs = [(b, a) for a, b in itertools.combinations(names, 2)]
        tests = [
            pair_tests(columns, pairs, [metric], of_questions, shares=frozenset({metric}), seed=0, resamples=10_000)
            for of_questions in (single, clustered)
        ]
        for one_test, two_test in zip(*tests, strict=True):
            cells = [f"{one_test.a} − {one_test.b}", points(one_test.difference)]
            for test in (one_test, two_test):
                cells += [limits(test.low, test.high), f"{test.p_holm:.2g}"]
            print("| " + " | ".join([*cells, f"{two_test.design_effect:.2f}"]) + " |")
        print()


def points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def limits(low: float | None, high: float | None) -> str:
    return f"{points(low)} to {points(high)}"


if __name__ == "__main__":
    raise SystemExit(main())
