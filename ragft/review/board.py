"""How matters stand: what reviewers say of each item, whether they agree, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from ragft.evaluate.agreement import Agreement, cohen_kappa, krippendorff_alpha
from ragft.review.decisions import VERDICTS, Decision
from ragft.review.items import Item

State = Literal["undecided", "accept", "edit", "reject", "conflict"]
Rule = Literal["majority"]
Outcome = tuple[tuple[str, str], ...] | None
"""The fields that a decision leaves; None where it rejects."""


@dataclass
class Standing:
    """What is said of one item.

    Attributes:
        said: by reviewer, their newest decision.
        settled: the newest that decides between them; None: none does.
        earlier: decisions about another content of the row, by its id; they do not count.
    """

    item: Item
    said: dict[str, Decision] = field(default_factory=dict)
    settled: Decision | None = None
    earlier: list[Decision] = field(default_factory=list)

    @property
    def conflict(self) -> bool:
        """Whether reviewers want different things, and nobody has settled it."""
        return self.settled is None and len(self._outcomes) > 1

    def decided(self, rule: Rule | None = None) -> Decision | None:
        """The decision that counts; None where there is none, or a conflict.

        Args:
            rule: settles a conflict: `majority`, what more than half of the reviewers want.
        """
        if self.settled is not None:
            return self.settled
        outcomes = self._outcomes
        if not outcomes or (len(outcomes) > 1 and rule is None):
            return None
        most, count = outcomes.most_common(1)[0]
        if count * 2 <= len(self.said):
            return None
        return next(one for one in self.said.values() if self.outcome(one) == most)

    def state(self, rule: Rule | None = None) -> State:
        """How it stands."""
        decided = self.decided(rule)
        if decided is not None:
            return decided.verdict
        return "conflict" if self.said else "undecided"

    def outcome(self, decision: Decision) -> Outcome:
        """What a decision makes of the item: two that make the same of it do not contradict each other."""
        if decision.verdict == "reject":
            return None
        return tuple({**self.item.fields, **decision.edited}.items())

    def in_favour(self, decision: Decision) -> list[str]:
        """The reviewers who want what this decision makes of the item."""
        wanted = self.outcome(decision)
        names = [name for name, one in self.said.items() if self.outcome(one) == wanted]
        return names if decision.reviewer in names else [*names, decision.reviewer]

    @property
    def _outcomes(self) -> Counter[Outcome]:
        return Counter(self.outcome(one) for one in self.said.values())


def standings(items: Sequence[Item], decisions: Iterable[Decision]) -> tuple[list[Standing], int]:
    """How each item stands, and how many decisions are about rows that are not there any more.

    Args:
        decisions: those that count, in their order.
    """
    found = [Standing(item) for item in items]
    by_key = {one.item.key: one for one in found}
    by_name = {one.item.name: one for one in found if one.item.name}
    gone = 0
    for decision in decisions:
        standing = by_key.get(decision.row)
        if standing is not None:
            if decision.settles:
                standing.settled = decision
            else:
                standing.said[decision.reviewer] = decision
        elif decision.name in by_name:
            by_name[decision.name].earlier.append(decision)
        else:
            gone += 1
    return found, gone


@dataclass(frozen=True)
class Agreements:
    """How far reviewers agree, on accept, edit or reject.

    Attributes:
        kappa: Cohen's, for each pair of reviewers.
        alpha: Krippendorff's, nominal, of all; who has not decided a row is missing there.
        both: by pair, rows that both have decided.
        rows: that at least two have decided.
    """

    kappa: Mapping[tuple[str, str], Agreement]
    both: Mapping[tuple[str, str], int]
    alpha: Agreement
    rows: int


def agreements(found: Sequence[Standing]) -> Agreements:
    """Agreement of the reviewers on the rows that they decided; what settles a conflict is no opinion."""
    reviewers = sorted({name for one in found for name in one.said})
    kappa, both = {}, {}
    for pair in combinations(reviewers, 2):
        rows = [one for one in found if all(name in one.said for name in pair)]
        said = [(one.said[pair[0]].verdict, one.said[pair[1]].verdict) for one in rows]
        kappa[pair] = cohen_kappa(said, [one.item.cluster for one in rows], VERDICTS)
        both[pair] = len(rows)
    units = [[decision.verdict for decision in one.said.values()] for one in found]
    alpha = krippendorff_alpha(units, [one.item.cluster for one in found], VERDICTS)
    return Agreements(kappa, both, alpha, sum(len(unit) > 1 for unit in units))
