from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.evaluation import question

from ragft.evaluate.statistics import (
    Clusters,
    Estimate,
    cluster_questions,
    decisive_clusters,
    estimates,
    factor_effects,
    holm,
    pair_tests,
    plan,
    repeated,
    sign_flip_p,
)
from ragft.evaluate.statistics.intervals import Moments, interval_limits
from ragft.evaluate.statistics.planning import Design, detectable_difference, needed_questions

SHARE = (0.0, 1.0)
scores = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1.0, float("nan")]), min_size=1, max_size=30)


@given(scores, st.integers(1, 5), st.sampled_from([SHARE, None]))
@settings(max_examples=100, deadline=None)
def test_an_interval_contains_its_mean_and_stays_within_its_limits(
    column: list[float], size: int, bounds: tuple[float, float] | None
) -> None:
    clusters = Clusters.of(at // size for at in range(len(column)))
    (found,) = estimates(np.array(column)[:, None], clusters, bounds=[bounds])
    kept = [value for value in column if value == value]
    assert found.n == len(kept)
    if not kept:
        assert found == Estimate(None, None, None, 0)
        return
    assert found.mean == pytest.approx(np.mean(kept))
    assert found.clusters == len({at // size for at, value in enumerate(column) if value == value})
    if found.low is None or found.high is None or found.mean is None:
        assert found.clusters < 3 or bounds is None
        return
    assert found.low <= found.mean <= found.high
    if bounds:
        assert found.low >= 0 and found.high <= 1
        assert found.high - found.low > 0.01, "it does not collapse"


def test_an_interval_of_independent_scores_without_limits_is_students() -> None:
    sample = np.random.default_rng(0).normal(5, 2, 80)
    (found,) = estimates(sample[:, None])
    peer = stats.ttest_1samp(sample, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))


def test_the_variance_between_clusters_agrees_with_matrices() -> None:
    """CR2 and its degrees of freedom, as Bell and McCaffrey (2002) write them."""
    rng, sizes = np.random.default_rng(1), (1, 1, 2, 5, 9)
    labels = np.repeat(np.arange(5), sizes)
    scores_ = rng.random(len(labels))
    found = Moments.of(scores_[:, None], Clusters(labels))
    n, design = len(labels), np.ones((len(labels), 1))
    hat = design @ design.T / n
    total, contrasts = 0.0, []
    for at in range(5):
        own = np.flatnonzero(labels == at)
        values, vectors = np.linalg.eigh(np.eye(len(own)) - hat[np.ix_(own, own)])
        adjusted = vectors @ np.diag(values**-0.5) @ vectors.T
        residuals = scores_[own] - scores_.mean()
        total += float((design[own].T @ adjusted @ residuals)[0] ** 2) / n**2
        contrasts.append((np.eye(n) - hat)[:, own] @ adjusted @ design[own, 0] / n)
    working = 0.7 * np.eye(n) + 0.3 * (labels[:, None] == labels)
    matrix = np.array(contrasts) @ working @ np.array(contrasts).T
    assert found.variance[0] == pytest.approx(total)
    assert found.df[0] == pytest.approx(np.trace(matrix) ** 2 / np.trace(matrix @ matrix))


@pytest.mark.medium
@pytest.mark.parametrize(("size", "correlation"), [(1, 0.0), (5, 0.3), (20, 0.1)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_intervals_cover_the_truth_as_often_as_they_say(size: int, correlation: float, share: float) -> None:
    rng, clusters = np.random.default_rng(7), Clusters.of(at // size for at in range(600))
    of_cluster = np.full((clusters.count, 1000), share)
    if correlation:
        weight = 1 / correlation - 1
        of_cluster = rng.beta(share * weight, (1 - share) * weight, of_cluster.shape)
    drawn = (rng.random((600, 1000)) < of_cluster[clusters.labels]).astype(float)
    limits = interval_limits(drawn, Moments.of(drawn, clusters), [SHARE] * 1000)
    covered = np.mean([low <= share <= high for low, high in limits if low is not None and high is not None])
    assert 0.925 <= covered <= 0.99
    if correlation:
        naive = interval_limits(drawn, Moments.of(drawn, Clusters.single(600)), [SHARE] * 1000)
        assert np.mean([(low or 0) <= share <= (high or 1) for low, high in naive]) < 0.9


def test_twenty_of_twenty_is_not_certain() -> None:
    all_right, all_wrong = estimates(np.array([[1.0, 0.0]] * 20), bounds=[SHARE, SHARE])
    assert all_right.high == 1.0 and all_wrong.low == 0.0
    assert all_right.low == pytest.approx(1 - (all_wrong.high or 0))
    # The exact bound of 20 independent questions is 83.2 %.
    assert 0.75 < (all_right.low or 0) < 0.85
    of_four = estimates(np.ones((20, 1)), Clusters.of(at // 5 for at in range(20)), bounds=[SHARE])[0]
    assert (of_four.low or 0) < (all_right.low or 0), "four documents tell less than twenty"


def test_one_document_gives_no_interval() -> None:
    for keys in ([0] * 30, [0, 1] * 15):
        (found,) = estimates(np.arange(30.0)[:, None] % 2, Clusters.of(keys), bounds=[SHARE])
        assert (found.mean, found.low, found.high, found.clusters) == (0.5, None, None, len(set(keys)))


def test_questions_belong_together_by_document_through_others_or_by_group() -> None:
    asked = [
        question(id="a", sources=("x.md#1",)),
        question(id="b", sources=("y.md",)),
        question(id="c", sources=("x.md#2", "y.md#3")),
        question(id="d", sources=("z.md",)),
        question(None, id="e"),
        question(None, id="f"),
        question(id="g", sources=("x.md",), group="made by hand"),
        question(id="h", sources=("z.md",), group="made by hand"),
    ]
    assert cluster_questions(asked).labels.tolist() == [0, 0, 0, 1, 2, 3, 4, 4]


def test_a_document_whose_name_holds_a_hash_is_told_apart_where_it_is_known() -> None:
    asked = [question(id="a", sources=("c#.md#4.2",)), question(id="b", sources=("c#2.md#4.2",))]
    assert cluster_questions(asked, {"c#.md", "c#2.md"}).count == 2
    assert cluster_questions(asked).count == 1


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (12, 3), (40, 70), (900, 800)])
def test_single_questions_of_yes_and_no_are_tested_exactly_by_mcnemar(wins: int, losses: int) -> None:
    tosses = wins + losses
    as_rare = sum(math.comb(tosses, heads) for heads in range(min(wins, losses) + 1))
    columns = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 7)[:, None]
    assert sign_flip_p(columns, seed=0, resamples=1)[0] == pytest.approx(min(1.0, 2 * as_rare / 2**tosses))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=11), st.sampled_from([0.5, 1.0, 0.3]))
@settings(max_examples=80, deadline=None)
def test_clusters_are_tested_as_all_sign_flips_are_counted(sums: list[int], unit: float) -> None:
    flipped = [abs(np.dot(signs, sums)) for signs in itertools.product([1, -1], repeat=len(sums))]
    exact = np.mean(np.array(flipped) >= abs(sum(sums)))
    found = sign_flip_p(np.array(sums, dtype=float)[:, None] * unit, seed=0, resamples=1)[0]
    assert found == pytest.approx(exact)


def test_drawn_permutations_agree_with_exact_ones() -> None:
    sums = np.random.default_rng(2).integers(-3, 5, 40).astype(float)
    exact, drawn = sign_flip_p(np.stack([sums, sums * 0.3], axis=1), seed=0, resamples=20_000)
    assert drawn == pytest.approx(exact, abs=0.01)


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.medium
@pytest.mark.parametrize("size", [1, 5])
def test_false_alarms_over_all_pairs_stay_below_five_percent(size: int) -> None:
    rng, alarms, names = np.random.default_rng(3), 0, ("a", "b", "c", "d")
    pairs, clusters = list(itertools.combinations(names, 2)), Clusters.of(at // size for at in range(100))
    for run in range(150):
        # What a setup knows of a document is half of what decides.
        knows = rng.normal(size=(clusters.count, 4))[clusters.labels] if size > 1 else 0
        right = (rng.normal(size=(100, 4)) + knows > 0).astype(float)
        same = {name: right[:, [at]] for at, name in enumerate(names)}
        alarms += any(test.p_holm < 0.05 for test in pair_tests(same, pairs, ["m"], clusters, seed=run, resamples=20))
    assert alarms / 150 <= 0.06


def test_pairs_of_a_worked_example() -> None:
    nan = float("nan")
    columns = {
        "a": np.array([[1, 5.0], [1, 5.0], [1, nan], [0, 5.0]]),
        "b": np.array([[0, 9.0], [0, 4.0], [1, 7.0], [1, 5.0]]),
    }
    exact, time = pair_tests(
        columns, [("a", "b")], ["em", "ms"], shares=frozenset({"em"}), lower_is_better=frozenset({"ms"}), seed=0,
        resamples=200,
    )  # fmt: skip
    assert (exact.difference, exact.wins, exact.ties, exact.losses, exact.n) == (0.25, 2, 1, 1, 4)
    assert exact.p == exact.p_holm == 1.0
    assert (time.difference, time.wins, time.ties, time.losses, time.n) == (-1.0, 1, 1, 1, 3)
    seen_from_b = exact.reversed()
    assert (seen_from_b.a, seen_from_b.difference, seen_from_b.wins) == ("b", -0.25, 1)
    assert (seen_from_b.low, seen_from_b.high) == (-(exact.high or 0), -(exact.low or 0))


def test_three_wins_of_three_are_no_certainty() -> None:
    columns = {"a": np.ones((3, 1)), "b": np.zeros((3, 1))}
    (test,) = pair_tests(columns, [("a", "b")], ["m"], shares=frozenset({"m"}), seed=0, resamples=200)
    assert test.p == pytest.approx(0.25)
    assert test.low is not None and test.low < 0 and test.high == 1.0
    assert test.needed == 6 and test.detectable is None


def test_setups_that_never_differ_may_still_do_so() -> None:
    columns = {"a": np.ones((50, 1)), "b": np.ones((50, 1))}
    (test,) = pair_tests(columns, [("a", "b")], ["m"], shares=frozenset({"m"}), seed=0, resamples=200)
    assert test.low is not None and test.high is not None
    assert -0.12 < test.low < -0.03 and 0.03 < test.high < 0.12
    assert test.needed is None and test.detectable is not None and test.detectable > 0.1


def test_a_metric_that_one_setup_lacks_has_no_pair() -> None:
    columns = {"a": np.array([[float("nan")]] * 3), "b": np.ones((3, 1))}
    assert pair_tests(columns, [("a", "b")], ["m"], seed=0, resamples=200) == []


def four(cells: dict[str, list[float]]) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    return {name: np.array(values, dtype=np.float64)[:, None] for name, values in cells.items()}


def test_effects_of_the_design_of_a_worked_example() -> None:
    known = [1.0] * 20
    columns = four({"prompt-only": [0.0] * 20, "rag-only": known, "fine-tuned": [0.0] * 20, "hybrid": known})
    found = {effect.name: effect for effect in factor_effects(columns, ["m"], seed=0, resamples=100)}
    assert (found["tuning"].value, found["retrieval"].value, found["interaction"].value) == (0.0, 1.0, 0.0)
    assert found["retrieval"].p == pytest.approx(2 / 2**20)
    assert found["retrieval"].p_holm == pytest.approx(3 * 2 / 2**20)
    columns["hybrid"] = np.zeros((20, 1))
    found = {effect.name: effect for effect in factor_effects(columns, ["m"], seed=0, resamples=100)}
    assert (found["tuning"].value, found["retrieval"].value, found["interaction"].value) == (-0.5, 0.5, -1.0)


def test_no_interaction_is_claimed_of_one_question() -> None:
    columns = four({"prompt-only": [0.0], "rag-only": [0.0], "fine-tuned": [0.0], "hybrid": [1.0]})
    effects = factor_effects(columns, ["m"], shares=frozenset({"m"}), seed=0, resamples=100)
    assert {(effect.p, effect.low, effect.high) for effect in effects} == {(1.0, None, None)}


def power_of(n: int, win: float, loss: float, tests: int, clusters: Clusters | None = None) -> float:
    """Share of simulations in which the test is significant; questions of a cluster have the same outcome."""
    rng, clusters = np.random.default_rng(5), clusters or Clusters.single(n)
    outcomes = rng.choice([1.0, -1.0, 0.0], p=[win, loss, 1 - win - loss], size=(clusters.count, 1500))
    return float((sign_flip_p(clusters.sums(outcomes[clusters.labels]), seed=0, resamples=1) < 0.05 / tests).mean())


@pytest.mark.medium
@pytest.mark.parametrize(
    ("win", "loss", "tests"),
    [(0.15, 0.05, 6), (0.15, 0.05, 1), (0.08, 0.0, 6), (0.3, 0.2, 1), (0.6, 0.1, 6), (1, 0, 6)],
)
def test_needed_questions_have_eighty_percent_power(win: float, loss: float, tests: int) -> None:
    spread = win + loss - (win - loss) ** 2
    needed = needed_questions(win - loss, spread, Design(tests, disagreement=win + loss))
    assert needed is not None
    assert 0.76 <= power_of(needed, win, loss, tests) <= (1.0 if win + loss == 1 else 0.88)
    assert power_of(max(1, round(0.7 * needed)), win, loss, tests) < 0.76


def test_needed_questions_count_what_documents_share() -> None:
    # Three questions a document with one outcome are one question.
    design = Design(1, design_effect=3.0, size=3.0, disagreement=0.2)
    needed = needed_questions(0.1, 0.2 - 0.01, design)
    assert needed is not None
    clusters = Clusters.of(at // 3 for at in range(needed))
    assert 0.76 <= power_of(needed, 0.15, 0.05, 1, clusters) <= 0.88


def test_what_is_needed_is_where_the_difference_becomes_detectable() -> None:
    for difference, disagreement in ((0.05, 0.2), (0.1, 0.3), (0.03, 0.03)):
        spread = disagreement - difference**2
        design = Design(6, disagreement=disagreement)
        needed = needed_questions(difference, spread, design)
        assert needed is not None
        assert detectable_difference(spread, needed, design) == pytest.approx(difference, rel=0.2)
    assert needed_questions(0.0, 0.5) is None
    assert needed_questions(1e-17, 0.5) is None


@pytest.mark.medium
def test_a_difference_is_detectable_as_often_as_that_says() -> None:
    for n, disagreement in ((20, 0.0), (100, 0.0), (600, 0.0), (200, 0.2)):
        found = detectable_difference(disagreement, n, Design(6, disagreement=disagreement))
        assert found is not None
        loss = max(0.0, (disagreement - found) / 2)
        assert 0.7 <= power_of(n, found + loss, loss, 6) <= 0.9
    assert detectable_difference(0.0, 7, Design(6, disagreement=0.0)) is None


def test_as_many_clusters_decide_as_make_a_p_value_small_enough() -> None:
    for tests in (1, 3, 6, 10):
        least = decisive_clusters(tests)
        assert 2 / 2**least <= 0.05 / tests < 2 / 2 ** (least - 1)


def test_a_plan_says_how_many_questions_and_documents() -> None:
    alone, shared = plan(0.05), plan(0.05, questions_per_document=10, correlation=0.1)
    assert alone.questions == alone.documents
    assert shared.questions == pytest.approx(1.9 * alone.questions, rel=0.1)
    assert shared.documents == math.ceil(shared.questions / 10)
    assert plan(0.4).disagreement == 0.4, "two setups differ on no fewer questions than by their difference"
    with pytest.raises(ValueError, match="equal"):
        plan(0.0)


def test_runs_of_one_recipe_show_what_two_of_them_differ_by() -> None:
    rng, wide, above = np.random.default_rng(11), 0, 0
    for _ in range(300):
        # A run moves all questions by 0.04, question by question another answer by 0.1.
        knows, of_run = rng.random((200, 1)) * 0.4 + 0.3, rng.normal(0, 0.04, (1, 5))
        found = repeated(np.clip(knows + of_run[:, :4] + rng.normal(0, 0.1, (200, 4)), 0, 1), bounds=SHARE)
        assert found.noise_floor is not None and found.estimate.low is not None and found.estimate.high is not None
        wide += found.estimate.low <= 0.5 <= found.estimate.high
        one, other = rng.normal(0, 0.04, 2) + rng.normal(0, 0.1 / math.sqrt(200), 2)
        above += abs(one - other) > found.noise_floor
    assert wide / 300 >= 0.92
    assert 0.02 <= above / 300 <= 0.09


def test_one_run_has_no_noise_floor_and_equal_runs_have_none_above_zero() -> None:
    column = (np.arange(40.0) % 2)[:, None]
    assert repeated(column).noise_floor is None
    same = repeated(np.repeat(column, 3, axis=1), bounds=SHARE)
    assert (same.noise_floor, same.between, same.runs) == (0.0, 0.0, (0.5, 0.5, 0.5))
    # Runs with the same mean by accident, whose answers differ, may differ another time.
    accident = repeated(np.concatenate([column, 1 - column], axis=1), bounds=SHARE)
    assert accident.noise_floor is not None and accident.noise_floor > 0.1
    with pytest.raises(ValueError, match="in all runs"):
        repeated(np.full((3, 2), np.nan))
