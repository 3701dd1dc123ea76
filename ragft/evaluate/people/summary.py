"""What people say on filled sheets: win rates, and how far they agree with each other and with themselves."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ragft.evaluate.agreement import Agreement, cohen_kappa, krippendorff_alpha
from ragft.evaluate.judges.plan import Side
from ragft.evaluate.judges.summary import SIDES, WORTH
from ragft.evaluate.people.filled import Filled
from ragft.evaluate.people.sheets import Key, KeyItem
from ragft.evaluate.shares import Rate, rate, sign_flip_p


@dataclass(frozen=True)
class Person:
    """One person's choices.

    Attributes:
        wins, ties, losses: of a, without the repeated pairs and those that needed no opinion.
        missing: items without a choice.
        itself: share of the repeated pairs on which the person says the same twice.
    """

    person: str
    wins: int
    ties: int
    losses: int
    missing: int
    itself: Rate


@dataclass(frozen=True)
class Opinion:
    """What all people say.

    Attributes:
        rate: wins of a and half the ties over all questions; a question counts as the mean of those who judged it, and
            one that needed no opinion as settled.
        p: two-sided, that neither is preferred.
        identical, unanswered: questions that needed no opinion.
        unjudged: questions on the sheet that nobody judged.
        itself: agreement of people with themselves on repeated pairs, all together.
        alpha: Krippendorff's alpha between people; None for one person.
        kappa: Cohen's kappa; None unless there are two.
        first: share of the preferences that are for answer 1; half is no bias.
    """

    a: str
    b: str
    criterion: str
    people: tuple[Person, ...]
    rate: Rate
    p: float
    identical: int
    unanswered: int
    unjudged: int
    itself: Agreement
    alpha: Agreement | None
    kappa: Agreement | None
    first: Rate

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def opinion(key: Key, sheets: Sequence[Filled], *, seed: int) -> Opinion:
    """What filled sheets of one key say."""
    own = [item for item in key.items if item.repeats is None]
    said = {item.question_id: [_side(item, sheet) for sheet in sheets if item.item in sheet.choices] for item in own}
    clusters = {item.question_id: item.cluster for item in own}
    clusters |= {row.question_id: row.cluster for row in key.settled}
    worth = {question: sum(WORTH[side] for side in sides) / len(sides) for question, sides in said.items() if sides}
    worth |= {row.question_id: WORTH[row.preference] for row in key.settled}
    where = [clusters[question] for question in worth]
    twice = [(pair, cluster) for sheet in sheets for pair, cluster in _repeated(key, sheet)]
    firsts = [
        (float(sheet.choices[item.item] == "1"), item.cluster)
        for sheet in sheets
        for item in own
        if sheet.choices.get(item.item) in ("1", "2")
    ]
    both = [
        ((sides[0], sides[1]), clusters[question])
        for question, sides in said.items()
        if len(sheets) == 2 and len(sides) == 2
    ]
    units, of_units = list(said.values()), [clusters[question] for question in said]
    return Opinion(
        key.a, key.b, key.criterion, tuple(_person(key, sheet) for sheet in sheets),
        rate(list(worth.values()), where),
        sign_flip_p([value - 0.5 for value in worth.values()], where, seed=seed),
        identical=sum(row.why == "identical" for row in key.settled),
        unanswered=sum(row.why == "unanswered" for row in key.settled),
        unjudged=sum(not sides for sides in said.values()),
        itself=cohen_kappa([pair for pair, _ in twice], [cluster for _, cluster in twice], SIDES),
        alpha=krippendorff_alpha(units, of_units, SIDES) if len(sheets) > 1 else None,
        kappa=cohen_kappa([p for p, _ in both], [c for _, c in both], SIDES) if len(sheets) == 2 else None,
        first=rate([value for value, _ in firsts], [cluster for _, cluster in firsts]),
    )  # fmt: skip


def label_rows(key: Key, sheets: Sequence[Filled]) -> Iterator[dict[str, Any]]:
    """The choices as labels for `evaluate.judge.labels`, with hashes of the answers that they are of."""
    for sheet in sheets:
        for item in key.items:
            if item.repeats is None and item.item in sheet.choices:
                yield {
                    "question_id": item.question_id, "a": key.a, "b": key.b, "criterion": key.criterion,
                    "preference": _side(item, sheet), "person": sheet.person, "a_hash": item.a_hash,
                    "b_hash": item.b_hash,
                }  # fmt: skip


def _person(key: Key, sheet: Filled) -> Person:
    sides = [_side(item, sheet) for item in key.items if item.repeats is None and item.item in sheet.choices]
    twice = list(_repeated(key, sheet))
    return Person(
        sheet.person, sides.count("a"), sides.count("tie"), sides.count("b"), len(key.items) - len(sheet.choices),
        rate([float(one == other) for (one, other), _ in twice], [cluster for _, cluster in twice]),
    )  # fmt: skip


def _repeated(key: Key, sheet: Filled) -> Iterator[tuple[tuple[Side, Side], Hashable]]:
    """What somebody said both times of each repeated pair, with its cluster."""
    by_name = {item.item: item for item in key.items}
    for item in key.items:
        if item.repeats is not None and item.item in sheet.choices and item.repeats in sheet.choices:
            yield (_side(by_name[item.repeats], sheet), _side(item, sheet)), item.cluster


def _side(item: KeyItem, sheet: Filled) -> Side:
    choice = sheet.choices[item.item]
    if choice == "tie":
        return "tie"
    return "a" if (choice == "1") == (item.first == "a") else "b"
