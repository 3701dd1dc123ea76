"""The comparison in words: which setup is best, how certain that is, and what the questions cannot tell.

Setups are ordered by the means of the questions that all of them have, and told apart by the tests of the same
questions, so that the order is the tests' order: a leader is never behind one that it is said to beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.metrics.floors import floor_title
from ragft.evaluate.statistics import ALPHA, MIN_CLUSTERS, Clusters, Effect, Estimate, PairTest, decisive_clusters

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Verdict:
    """One or two sentences per axis; the axes are never averaged.

    Attributes:
        lenient: the facts again, where the gold answer may be anywhere in the text.
        effects: what tuning and retrieval change on average; empty unless all four setups were compared.
        failures: setups that left questions unanswered; empty if none did.
        clusters: how many groups of related questions there are, and what too few of them cannot tell.
        floor: an answer that knows nothing and may be as good as the leader; empty if none is.
        best_facts, best_form: the leader first, then the setups that are not significantly worse.
    """

    facts: str
    lenient: str
    form: str
    interaction: str
    best_facts: tuple[str, ...]
    best_form: tuple[str, ...]
    effects: str = ""
    failures: str = ""
    clusters: str = ""
    floor: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values, with the whole text."""
        parts = (
            self.facts,
            self.floor,
            self.lenient,
            self.form,
            self.effects,
            self.interaction,
            self.failures,
            self.clusters,
        )
        text = " ".join(part for part in parts if part)
        return {**asdict(self), "best_facts": list(self.best_facts), "best_form": list(self.best_form), "text": text}


def verdict(
    facts: Mapping[str, Estimate], form: Mapping[str, Estimate], lenient: Mapping[str, Estimate],
    tests: Sequence[PairTest], effects: Sequence[Effect] = (), *, unanswered: Mapping[str, int] = _NONE,
    clusters: Clusters | None = None, decides: Measure = METRICS["exact_match"], floors: Mapping[str, float] = _NONE,
) -> Verdict:  # fmt: skip
    """Says which setup is best, and what remains open.

    Args:
        facts, form, lenient: what decides on facts, format validity, and containing the answer, by setup, of the
            questions that all setups have. The last is the lenient reading of exact match, and empty where that does
            not decide.
        effects: on what decides; empty where not all four setups were compared.
        unanswered: number of questions without an answer, by setup.
        clusters: of the questions.
        decides: the metric that facts are judged by.
        floors: its mean for answers that know nothing, by their names in `metrics.floors`.
    """
    facts_text, best_facts = _axis_verdict(decides, facts, tests)
    form_text, best_form = _axis_verdict(METRICS["format_validity"], form, tests)
    if not best_form:
        form_text = "Form was not scored: no house format is declared."
    found = {effect.name: effect for effect in effects}
    return Verdict(
        facts_text,
        _lenient_verdict(lenient, tests),
        form_text,
        _interaction_verdict(found.get("interaction"), decides),
        best_facts,
        best_form,
        _effects_verdict(found, decides),
        _failures_verdict(unanswered, facts),
        _clusters_verdict(clusters, len(facts)),
        _floor_verdict(facts[best_facts[0]], best_facts[0], decides, floors) if best_facts else "",
    )


def _axis_verdict(
    metric: Measure, estimates: Mapping[str, Estimate], tests: Sequence[PairTest]
) -> tuple[str, tuple[str, ...]]:
    """The sentences about one axis; and its leader, followed by the setups that are not significantly worse."""
    axis, order = metric.axis, _best_first(estimates, metric)
    if not order:
        return f"On {axis}, nothing could be scored.", ()
    leader, *others = order
    reached = f"{percent(order[leader].mean)} {metric.title}"
    low, high = order[leader].low, order[leader].high
    if low is not None and high is not None:
        reached += f" ({100 * low:.1f} to {100 * high:.1f})"
    against = {name: test for name in others if (test := _test_of(tests, metric.name, leader, name))}
    if not against:
        return f"On {axis}, {leader} reaches {reached}; there is no other setup to compare it with.", (leader,)
    tied = [name for name, test in against.items() if test.p_holm >= ALPHA]
    beaten = [name for name, test in against.items() if test.p_holm < ALPHA]
    if not tied:
        rival, test = beaten[0], against[beaten[0]]
        ahead = f"{signed(test.difference)} points against {rival}, the next best ({p_text(test.p_holm)})"
        return f"On {axis}, {leader} is best: {reached}, {ahead}.", (leader,)
    reason = _noise(against[tied[0]], leader, tied[0])
    level = listed(tied, "or")
    text = f"On {axis}, {leader} reaches {reached}, but is not significantly better than {level}: {reason}."
    if beaten:
        text += f" It is significantly better than {listed(beaten)}."
    return text, (leader, *tied)


def _floor_verdict(leader: Estimate, name: str, decides: Measure, floors: Mapping[str, float]) -> str:
    """The best answer that knows nothing, where the leader's interval reaches down to it."""
    if not floors or leader.low is None or leader.high is None:
        return ""
    best = max(floors, key=lambda answerer: decides.sign * floors[answerer])
    worst = leader.low if decides.sign > 0 else leader.high
    if decides.sign * floors[best] < decides.sign * worst:
        return ""
    return f"{name} is not shown to be better than {floor_title(best)}, which scores {percent(floors[best])}."


def _best_first(estimates: Mapping[str, Estimate], metric: Measure) -> dict[str, Estimate]:
    scored = {name: estimate for name, estimate in estimates.items() if estimate.mean is not None}
    return dict(sorted(scored.items(), key=lambda item: -metric.sign * (item[1].mean or 0.0)))


def _test_of(tests: Sequence[PairTest], metric: str, one: str, other: str) -> PairTest | None:
    """The test of two setups, seen from the first: its difference is one minus other."""
    found = next((test for test in tests if test.metric == metric and {test.a, test.b} == {one, other}), None)
    return found if found is None or found.a == one else found.reversed()


def _lenient_verdict(estimates: Mapping[str, Estimate], tests: Sequence[PairTest]) -> str:
    order = _best_first(estimates, METRICS["contains"])
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
    from ragft.console import counted

    if test.needed is None:
        return f"{leader} and {rival} are level on {counted(test.n, 'question')}"
    lead = f"{signed(test.difference)} points{_limits(test.low, test.high)}"
    correction = " after Holm's correction" if test.p < ALPHA else ""
    # The estimate is rough, so it is given to two digits; what was not detected here takes more questions than here.
    needed = max(test.needed, test.n + 1)
    unit = 10 ** max(0, len(str(needed)) - 2)
    return (
        f"its lead over {rival}, {lead}, may be noise on {counted(test.n, 'question')}{correction}; "
        f"it would take about {math.ceil(needed / unit) * unit:,} to detect it"
    )


def _effects_verdict(effects: Mapping[str, Effect], metric: Measure) -> str:
    """What tuning and retrieval change, each on average with and without the other."""
    said = [
        f"{name} changes {metric.title} by {signed(effect.value)} points{_limits(effect.low, effect.high)}, "
        + (p_text(effect.p_holm) if effect.p_holm < ALPHA else "which may be noise")
        for name in ("tuning", "retrieval")
        if (effect := effects.get(name))
    ]
    return f"On average with and without the other, {'; '.join(said)}." if said else ""


def _interaction_verdict(interaction: Effect | None, metric: Measure) -> str:
    if interaction is None:
        return ""
    found = f"{signed(interaction.value)} points{_limits(interaction.low, interaction.high, ', ', '')}"
    if interaction.p_holm >= ALPHA:
        return f"These questions do not show whether tuning and retrieval reinforce each other on facts ({found})."
    more = "more" if metric.sign * interaction.value > 0 else "less"
    return f"Tuning helps facts {more} with retrieval than without ({found}; {p_text(interaction.p_holm)})."


def _failures_verdict(unanswered: Mapping[str, int], facts: Mapping[str, Estimate]) -> str:
    failed = [
        f"{name} gave no answer to {count:,} of {max(facts[name].n, count):,} questions"
        for name, count in unanswered.items()
        if count
    ]
    return f"{listed(failed)}; these count as wrong." if failed else ""


def _clusters_verdict(clusters: Clusters | None, setups: int) -> str:
    """How many groups of related questions there are; and what they are too few for."""
    if clusters is None:
        return ""
    questions, count, least = len(clusters.labels), clusters.count, decisive_clusters(setups * (setups - 1) // 2 or 1)
    if count < MIN_CLUSTERS:
        asked = "The only question is" if questions == 1 else f"All {questions:,} questions are"
        return (
            f"{asked} about {'one document or group' if count == 1 else 'two documents or groups'}, "
            "which says nothing of others: no intervals are given and no difference can be significant; ask about "
            f"{least} or more."
        )
    if setups > 1 and count < least:
        return (
            f"The {questions:,} questions are about {count:,} documents or groups: below {least}, none is significant."
        )
    if count < questions:
        return (
            f"The {questions:,} questions count as {count:,} clusters, because those about one document tell less than "
            "independent ones."
        )
    return ""


def _limits(low: float | None, high: float | None, before: str = " (", after: str = ")") -> str:
    """An interval in points; nothing where there is none."""
    return "" if low is None or high is None else f"{before}{signed(low)} to {signed(high)}{after}"


def percent(share: float | None) -> str:
    """A share as text with a no-break space: `71.2 %`, or `–` for none."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def p_text(p: float) -> str:
    """A p-value as text: `p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def signed(share: float | None) -> str:
    """A difference of shares in points with its sign, or `–` for none."""
    return "–" if share is None else f"{100 * share:+.1f}".replace("-", "−")


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
