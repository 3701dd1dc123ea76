"""What a judge said, as rates with intervals: scores by setup, preferences by pair, and how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from ragft.evaluate.agreement import Agreement, cohen_kappa
from ragft.evaluate.judges.calibration import Corrected, Group, corrected
from ragft.evaluate.judges.labels import Labels
from ragft.evaluate.judges.length import AtEqualLength, at_equal_length
from ragft.evaluate.judges.plan import PreferenceRow, ScoreRow, Side
from ragft.evaluate.judges.rubric import Criterion
from ragft.evaluate.shares import Rate, rate, sign_flip_p
from ragft.evaluate.statistics import holm

WORTH: dict[Side, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}
SIDES: tuple[Side, ...] = ("a", "tie", "b")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Scores:
    """The scores of one setup by one criterion, on the criterion's scale.

    Attributes:
        rate: the mean with its interval.
        corrected: by the labels of people; None without enough of them.
        failed: judgements that failed, which are no scores.
        unanswered: answers that failed, which have the lowest score.
    """

    criterion: str
    setup: str
    rate: Rate
    corrected: Corrected | None
    failed: int
    unanswered: int


@dataclass(frozen=True)
class Preferences:
    """The preferences between two setups by one criterion.

    Attributes:
        wins, ties, losses: of a, as the judge says in both orders.
        disagreed: how many of the ties are pairs in which the two orders disagree.
        identical, unanswered: settled without the judge: ties of equal answers, and pairs with an answer that failed.
        failed: judgements that failed, which are neither.
        rate: wins and half the ties, as a share.
        p, p_holm: two-sided, that neither is preferred; the second corrected for the number of pairs.
        equal_length: the rate adjusted for the difference in length; None where it cannot be told.
        corrected: the rate corrected by the labels of people; None without enough of them.
    """

    criterion: str
    a: str
    b: str
    wins: int
    ties: int
    losses: int
    disagreed: int
    identical: int
    unanswered: int
    failed: int
    rate: Rate
    p: float
    p_holm: float
    equal_length: AtEqualLength | None
    corrected: Corrected | None


@dataclass(frozen=True)
class Habits:
    """How a judge judges by one criterion, over all pairs that it was shown in both orders.

    Attributes:
        consistency: share of pairs in which the two orders agree.
        first: share of its preferences that are for the answer shown first; half is no bias.
        longer: share of its preferences that are for the longer answer.
    """

    criterion: str
    consistency: Rate
    first: Rate
    longer: Rate


@dataclass(frozen=True)
class Calibration:
    """Agreement of the judge with people by one criterion.

    Attributes:
        kind: `scores` or `preferences`.
        labels: of answers that the judge was asked about, and whose judgement did not fail.
        kappa: Cohen's.
        weighted: the same with quadratic weights; None for preferences, which are on no scale.
    """

    criterion: str
    kind: str
    labels: int
    kappa: Agreement
    weighted: Agreement | None


@dataclass(frozen=True)
class Summary:
    """All that the judgements say."""

    scores: tuple[Scores, ...]
    preferences: tuple[Preferences, ...]
    habits: tuple[Habits, ...]
    calibration: tuple[Calibration, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(
    scores: Sequence[ScoreRow],
    preferences: Sequence[PreferenceRow],
    criteria: Sequence[Criterion],
    clusters: Mapping[str, str],
    labels: Labels,
    *,
    seed: int,
) -> Summary:
    """The rates of all judgements.

    Args:
        clusters: of each question, by its id.
    """
    by_setup = _grouped(scores, lambda row: (row.criterion, row.setup))
    by_pair = _grouped(preferences, lambda row: (row.criterion, row.a, row.b))
    by_criterion = _grouped(preferences, lambda row: (row.criterion,))
    scales = {criterion.name: criterion.scale for criterion in criteria}
    pairs = [_preferred(rows, clusters, labels, seed) for rows in by_pair.values()]
    return Summary(
        tuple(_scored(rows, scales[key[0]], clusters, labels) for key, rows in by_setup.items()),
        tuple(_with_holm(pairs)),
        tuple(_habits(key[0], rows, clusters) for key, rows in by_criterion.items()),
        tuple(_calibrations(scores, preferences, criteria, clusters, labels)),
    )


def _grouped(rows: Sequence[Row], key: Callable[[Row], tuple[str, ...]]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _scored(rows: Sequence[ScoreRow], scale: tuple[int, int], clusters: Mapping[str, str], labels: Labels) -> Scores:
    low, width = scale[0], scale[1] - scale[0]
    values = {row.question_id: (row.score - low) / width for row in rows if row.score is not None}
    told: dict[str, list[float]] = {}
    for label in labels.scores:
        if (label.criterion, label.setup) == (rows[0].criterion, rows[0].setup):
            told.setdefault(label.question_id, []).append((label.score - low) / width)
    settled = {row.question_id for row in rows if row.unanswered}
    inner = rate(list(values.values()), [clusters[key] for key in values])
    better = _corrected(values, settled, told, clusters)
    unanswered = sum(row.unanswered for row in rows)
    return Scores(
        rows[0].criterion, rows[0].setup, inner.on_scale(low, width), better and better.on_scale(low, width),
        len(rows) - len(values), unanswered,
    )  # fmt: skip


def _preferred(rows: Sequence[PreferenceRow], clusters: Mapping[str, str], labels: Labels, seed: int) -> Preferences:
    judged = [row for row in rows if row.preference is not None]
    values = {row.question_id: WORTH[row.preference] for row in judged if row.preference is not None}
    where = [clusters[key] for key in values]
    a, b, criterion = rows[0].a, rows[0].b, rows[0].criterion
    told: dict[str, list[float]] = {}
    for label in labels.preferences:
        if label.criterion == criterion and {label.a, label.b} == {a, b}:
            worth = WORTH[label.preference]
            told.setdefault(label.question_id, []).append(worth if label.a == a else 1 - worth)
    settled = {row.question_id for row in judged if row.settled is not None}
    outcomes = list(values.values())
    p = sign_flip_p([value - 0.5 for value in outcomes], where, seed=seed)
    # What was settled by a failure says nothing on length.
    shown = [row for row in judged if row.settled != "unanswered"]
    level = at_equal_length(
        [values[row.question_id] for row in shown], [row.longer_by for row in shown],
        [clusters[row.question_id] for row in shown],
    )  # fmt: skip
    return Preferences(
        criterion, a, b,
        wins=outcomes.count(1.0), ties=outcomes.count(0.5), losses=outcomes.count(0.0),
        disagreed=sum(row.orders is not None and row.orders[0] != row.orders[1] for row in judged),
        identical=sum(row.settled == "identical" for row in judged),
        unanswered=sum(row.settled == "unanswered" for row in judged),
        failed=len(rows) - len(judged), rate=rate(outcomes, where), p=p, p_holm=p,
        equal_length=level, corrected=_corrected(values, settled, told, clusters),
    )  # fmt: skip


def _with_holm(pairs: Sequence[Preferences]) -> list[Preferences]:
    """The preferences with their p-values corrected within each criterion."""
    found = []
    for of_one in _grouped(pairs, lambda pair: (pair.criterion,)).values():
        values = holm([pair.p for pair in of_one])
        found += [replace(pair, p_holm=p) for pair, p in zip(of_one, values, strict=True)]
    return found


def _corrected(
    values: Mapping[str, float],
    settled: Collection[str],
    told: Mapping[str, Sequence[float]],
    clusters: Mapping[str, str],
) -> Corrected | None:
    """The mean of values by question, corrected by what people say of some; several people count by their mean.

    Args:
        settled: questions whose value needed no judge.
    """
    asked = [question for question in values if question not in settled]
    labelled = [question for question in asked if question in told]

    def group(questions: Iterable[str], people: Sequence[float] | None = None) -> Group:
        named = list(questions)
        return Group([values[name] for name in named], [clusters[name] for name in named], people)

    return corrected(
        group(labelled, [sum(told[name]) / len(told[name]) for name in labelled]),
        group(name for name in asked if name not in told),
        group(name for name in values if name in settled),
    )


def _habits(criterion: str, rows: Sequence[PreferenceRow], clusters: Mapping[str, str]) -> Habits:
    asked = [row for row in rows if row.orders is not None]
    agreed = [float(row.orders[0] == row.orders[1]) for row in asked if row.orders is not None]
    first, longer = list[tuple[float, str]](), list[tuple[float, str]]()
    for row in asked:
        for shown_first, side in zip(("a", "b"), row.orders or (), strict=True):
            if side == "tie":
                continue
            first.append((float(side == shown_first), clusters[row.question_id]))
            if row.longer_by:
                longer.append((float((side == "a") == (row.longer_by > 0)), clusters[row.question_id]))
    of_first, of_longer = (rate([v for v, _ in pairs], [c for _, c in pairs]) for pairs in (first, longer))
    return Habits(criterion, rate(agreed, [clusters[row.question_id] for row in asked]), of_first, of_longer)


def _calibrations(
    scores: Sequence[ScoreRow],
    preferences: Sequence[PreferenceRow],
    criteria: Sequence[Criterion],
    clusters: Mapping[str, str],
    labels: Labels,
) -> list[Calibration]:
    scored = {
        (row.question_id, row.criterion, row.setup): row.score
        for row in scores
        if row.score is not None and not row.unanswered
    }
    preferred: dict[tuple[str, ...], Side] = {}
    for row in preferences:
        if row.preference is not None and row.settled is None:
            preferred[row.question_id, row.criterion, row.a, row.b] = row.preference
            preferred[row.question_id, row.criterion, row.b, row.a] = turned(row.preference)
    found = []
    for criterion in criteria:
        low, high = criterion.scale
        said = [
            # A mean of several numbers that somebody wrote down is the nearest whole one.
            (label.question_id, scored[key], int(label.score + 0.5))
            for label in labels.scores
            if (key := (label.question_id, label.criterion, label.setup)) in scored
            and label.criterion == criterion.name
        ]
        if said:
            pairs, where = [(one, other) for _, one, other in said], [clusters[question] for question, *_ in said]
            scale = range(low, high + 1)
            kappa, weighted = (cohen_kappa(pairs, where, scale, quadratic=squares) for squares in (False, True))
            found.append(Calibration(criterion.name, "scores", len(said), kappa, weighted))
        chosen = [
            (label.question_id, preferred[way], label.preference)
            for label in labels.preferences
            if label.criterion == criterion.name
            and (way := (label.question_id, label.criterion, label.a, label.b)) in preferred
        ]
        if chosen:
            sides, where = [(one, other) for _, one, other in chosen], [clusters[question] for question, *_ in chosen]
            found.append(
                Calibration(criterion.name, "preferences", len(chosen), cohen_kappa(sides, where, SIDES), None)
            )
    return found


def turned(side: Side) -> Side:
    """The same preference with the two sides exchanged."""
    swapped: dict[Side, Side] = {"a": "b", "b": "a", "tie": "tie"}
    return swapped[side]
