"""The comparison in words: which setup is best, how certain that is, and what the questions cannot tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ragft.evaluate.statistics import ALPHA, Estimate, PairTest


@dataclass(frozen=True)
class Verdict:
    """One or two sentences per axis; the axes are never averaged.

    Attributes:
        lenient: the facts again, where the gold answer may be anywhere in the text.
        best_facts, best_form: the leader first, then the setups that are not significantly worse.
    """

    facts: str
    lenient: str
    form: str
    interaction: str
    best_facts: tuple[str, ...]
    best_form: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values, with the whole text."""
        text = " ".join(part for part in (self.facts, self.lenient, self.form, self.interaction) if part)
        return {**asdict(self), "best_facts": list(self.best_facts), "best_form": list(self.best_form), "text": text}


def verdict(
    facts: Mapping[str, Estimate],
    form: Mapping[str, Estimate],
    lenient: Mapping[str, Estimate],
    tests: Sequence[PairTest],
    interaction: Estimate | None,
) -> Verdict:
    """Says which setup is best, and what remains open.

    Args:
        facts, form, lenient: exact match, format validity, and containing the answer, by setup.
        interaction: of exact match; None where not all four setups were compared.
    """
    facts_text, best_facts = _axis_verdict("facts", "exact_match", facts, tests)
    form_text, best_form = _axis_verdict("form", "format_validity", form, tests)
    if not best_form:
        form_text = "Form was not scored: no house format is declared."
    lenient_text = _lenient_verdict(lenient, tests)
    return Verdict(facts_text, lenient_text, form_text, _interaction_verdict(interaction), best_facts, best_form)


def _axis_verdict(
    axis: str, metric: str, estimates: Mapping[str, Estimate], tests: Sequence[PairTest]
) -> tuple[str, tuple[str, ...]]:
    """The sentences about one axis; and its leader, followed by the setups that are not significantly worse."""
    order = _best_first(estimates)
    if not order:
        return f"On {axis}, nothing could be scored.", ()
    leader, *others = order
    low, high = 100 * (order[leader].low or 0.0), 100 * (order[leader].high or 0.0)
    reached = f"{percent(order[leader].mean)} {metric.replace('_', ' ')} ({low:.1f} to {high:.1f})"
    against = {name: test for name in others if (test := _test_of(tests, metric, leader, name))}
    if not against:
        return f"On {axis}, {leader} reaches {reached}; there is no other setup to compare it with.", (leader,)
    tied = [name for name, test in against.items() if test.p_holm >= ALPHA]
    beaten = [name for name, test in against.items() if test.p_holm < ALPHA]
    if not tied:
        rival, test = beaten[0], against[beaten[0]]
        lead = f"{100 * abs(test.difference):.1f} points above {rival}, the next best ({p_text(test.p_holm)})"
        return f"On {axis}, {leader} is best: {reached}, {lead}.", (leader,)
    reason = _noise(against[tied[0]], leader, tied[0])
    text = f"On {axis}, {leader} reaches {reached}, but is not significantly better than {_listed(tied)}: {reason}."
    if beaten:
        text += f" It is significantly better than {_listed(beaten, 'and')}."
    return text, (leader, *tied)


def _best_first(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    scored = {name: estimate for name, estimate in estimates.items() if estimate.mean is not None}
    return dict(sorted(scored.items(), key=lambda item: -(item[1].mean or 0.0)))


def _test_of(tests: Sequence[PairTest], metric: str, one: str, other: str) -> PairTest | None:
    return next((test for test in tests if test.metric == metric and {test.a, test.b} == {one, other}), None)


def _lenient_verdict(estimates: Mapping[str, Estimate], tests: Sequence[PairTest]) -> str:
    order = _best_first(estimates)
    if len(order) < 2:
        return ""
    first, second = list(order)[:2]
    test = _test_of(tests, "contains", first, second)
    certainty = p_text(test.p_holm) if test and test.p_holm < ALPHA else "the difference may be noise"
    return (
        f"If the answer may be anywhere in the text, {first} reaches {percent(order[first].mean)} and {second} "
        f"{percent(order[second].mean)} ({certainty})."
    )


def _noise(test: PairTest, leader: str, rival: str) -> str:
    """Why the leader's lead over a rival may be noise, and how many questions would detect it."""
    if test.needed is None:
        return f"{leader} and {rival} are level on {test.n:,} questions"
    # Seen from the leader's side, whichever of the two it is.
    low, high = (test.low, test.high) if test.difference > 0 else (-test.high, -test.low)
    lead = f"{100 * abs(test.difference):.1f} points ({signed(low)} to {signed(high)})"
    correction = " after Holm's correction" if test.p < ALPHA else ""
    # The estimate is rough, so it is given to two digits; what was not detected here takes more questions than here.
    needed = max(test.needed, test.n + 1)
    unit = 10 ** max(0, len(str(needed)) - 2)
    return (
        f"its lead over {rival}, {lead}, may be noise on {test.n:,} questions{correction}; "
        f"it would take about {math.ceil(needed / unit) * unit:,} to detect it"
    )


def _interaction_verdict(interaction: Estimate | None) -> str:
    if interaction is None or interaction.mean is None or interaction.low is None or interaction.high is None:
        return ""
    interval = f"{signed(interaction.mean)} points, {signed(interaction.low)} to {signed(interaction.high)}"
    if interaction.low > 0:
        return f"Tuning helps facts more with retrieval than without ({interval})."
    if interaction.high < 0:
        return f"Tuning helps facts less with retrieval than without ({interval})."
    return f"These questions do not show whether tuning and retrieval reinforce each other on facts ({interval})."


def percent(share: float | None) -> str:
    """A share as text with a no-break space: `71.2 %`, or `–` for none."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def p_text(p: float) -> str:
    """A p-value as text: `p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def signed(share: float | None) -> str:
    """A difference of shares in points with its sign, or `–` for none."""
    return "–" if share is None else f"{100 * share:+.1f}".replace("-", "−")


def _listed(names: Sequence[str], last: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
