"""The first lines of a report: which setup to deploy, how sure that is, what it costs, what fails, what to do next.

Who leads and who is level with the leader is the verdict's word; this module adds when a lead is worth nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ragft.evaluate.costs import money, standing_line
from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.metrics.floors import floor_title
from ragft.evaluate.prompt_choice import as_configured, told
from ragft.evaluate.records import Record
from ragft.evaluate.report.numbers import milliseconds, number, span
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison
from ragft.evaluate.statistics import ALPHA
from ragft.evaluate.verdict import listed, p_text, percent, signed
from ragft.setups import SETUPS

State = Literal["decided", "level", "none"]
_KEY = re.compile(r"[a-z]+(?:\.[a-z_]+)+")
_CAUSES = 3
_GOOD_RETRIEVAL = 0.9
"""Share of questions whose sources were all found, below which retrieval is what to look at first."""


@dataclass(frozen=True)
class Overview:
    """What a reader should know after ten seconds.

    Attributes:
        state: `decided`: one setup leads; `level`: several that cannot be told apart; `none`: nothing to deploy.
        setup: the one to deploy, or to look at first where none is worth it; None: nothing was scored.
    """

    state: State
    setup: str | None
    headline: str
    sure: list[str] = field(default_factory=list)
    cost: list[str] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def overview(comparison: Comparison, records: Sequence[Record]) -> Overview:
    """The overview of a comparison."""
    state, setup, headline = _decided(comparison)
    if setup is None:
        return Overview(state, setup, headline, next=["Read why the answers failed, in the questions below."])
    return Overview(
        state, setup, headline,
        sure=_sure(comparison),
        cost=_cost(comparison, setup, records),
        fails=_fails(comparison, setup, records),
        next=_next(comparison, setup, state),
    )  # fmt: skip


def _decided(comparison: Comparison) -> tuple[State, str | None, str]:
    metric = comparison.measure
    facts = {setup: metrics[metric.name] for setup, metrics in comparison.setups.items()}
    best = [setup for setup in comparison.verdict["best_facts"] if facts[setup]["mean"] is not None]
    if not best:
        return "none", None, "Nothing to deploy: no answer could be scored on facts."
    leader = best[0]
    if metric.better == "higher" and not facts[leader]["mean"]:
        return "none", leader, "Deploy none of them: no setup answered a single question right."
    floor = floor_of(comparison)
    if floor and not _beats(facts[leader], floor[1], metric):
        what = f"{floor_title(floor[0])}, which scores {percent(floor[1])}"
        return "none", leader, f"Deploy none of them yet: {leader} is not shown to be better than {what}."
    if len(facts) == 1:
        return "level", leader, f"Only {leader} was measured: there is nothing to compare it with."
    if len(best) == 1:
        return "decided", leader, f"Deploy {leader}."
    cheapest, why = _cheapest(comparison, best)
    which = listed(best, "or")
    if cheapest is None:
        return "level", leader, f"On facts, these questions cannot tell {which} apart: choose by what else you need."
    return "level", cheapest, f"On facts, these questions cannot tell {which} apart: take {cheapest}, {why}."


def _beats(row: Row, floor: float, metric: Measure) -> bool:
    """Whether the interval of a setup is on the better side of what answers score that know nothing."""
    low, high = row["low"] or 0.0, 1.0 if row["high"] is None else row["high"]
    return bool(low > floor if metric.better == "higher" else high < floor)


def floor_of(comparison: Comparison) -> tuple[str, float] | None:
    """The trivial answerer that does best on facts, and what it scores; None where none was scored."""
    floors: Mapping[str, Mapping[str, Row]] = comparison.floors
    metric = comparison.measure
    found = {name: scores[metric.name]["mean"] for name, scores in floors.items() if metric.name in scores}
    return max(found.items(), key=lambda item: metric.sign * item[1]) if found else None


def _cheapest(comparison: Comparison, setups: Sequence[str]) -> tuple[str | None, str]:
    """The setup that is significantly faster than each of the others; None where none is."""
    for setup in setups:
        tests = [pair_of(comparison, "latency_ms", setup, other) for other in setups if other != setup]
        if all(test is not None and test["difference"] < 0 and test["p_holm"] < ALPHA for test in tests):
            return setup, "which answers fastest"
    untrained = [setup for setup in setups if setup in SETUPS and not SETUPS[setup].tuned]
    if len(untrained) == 1 and all(setup in SETUPS for setup in setups):
        return untrained[0], "which needs no training"
    return None, ""


def pair_of(comparison: Comparison, metric: str, a: str, b: str) -> Row | None:
    """The test of two setups on a metric, whichever of the two is the first; the difference is a minus b."""
    for row in comparison.pairs:
        if row["metric"] == metric and (row["a"], row["b"]) == (a, b):
            return row
        if row["metric"] == metric and (row["a"], row["b"]) == (b, a):
            ends = {"low": row["high"], "high": row["low"]}
            minus = {key: None if value is None else -value for key, value in ends.items()}
            wins = {"wins": row["losses"], "losses": row["wins"]}
            return {**row, "a": a, "b": b, "difference": -row["difference"], **minus, **wins}
    return None


def _sure(comparison: Comparison) -> list[str]:
    verdict = comparison.verdict
    said = [verdict[key] for key in ("facts", "lenient", "failures", "clusters") if verdict.get(key)]
    said += [told(setup, choice, comparison.measure) for setup, choice in comparison.prompts.items()]
    if any(name in SETUPS and SETUPS[name].tuned for name in comparison.setups):
        said.append(
            "It stands on one training: another seed would move it, too; `ragft evaluate --suite seeds` tells how far."
        )
    return said


def clusters_of(comparison: Comparison) -> tuple[int, int] | None:
    """How many clusters of related questions there are, and how many questions the largest has; None where unknown."""
    stated: Mapping[str, int] = comparison.clusters
    return (stated["count"], stated["largest"]) if stated else None


def _cost(comparison: Comparison, setup: str, records: Sequence[Record]) -> list[str]:
    metrics, times = comparison.setups[setup], latencies(records, setup)
    said = []
    if times:
        first = metrics.get("ttft_ms", {}).get("mean")
        begun = f", the first token after {milliseconds(first)} on average" if first is not None else ""
        said.append(
            f"{setup} takes {milliseconds(quantile(times, 0.5))} for an answer (median; 95 of 100 within "
            f"{milliseconds(quantile(times, 0.95))}){begun}, measured while many questions were asked at once."
        )
    tokens = [
        f"{number(METRICS[name], metrics[name]['mean'])} tokens of {what}"
        for name, what in (("prompt_tokens", "prompt"), ("answer_tokens", "answer"))
        if metrics.get(name, {}).get("n")
    ]
    if tokens:
        said.append(f"It reads and writes {listed(tokens)} for each question.")
    others = {name: quantile(found, 0.5) for name in comparison.setups if (found := latencies(records, name))}
    fastest = min(others, key=lambda name: others[name], default=setup)
    if times and fastest != setup and others[fastest] > 0:
        factor = quantile(times, 0.5) / others[fastest]
        said.append(f"The fastest, {fastest}, takes {milliseconds(others[fastest])}; {setup}, {factor:.1f} × that.")
    if price := comparison.costs.get("setups", {}).get(setup):
        rank = standing_line(comparison.costs["standing"][setup])
        amount = price["price"]
        stands = f"; it is {rank}" if rank else ""
        said.append(
            f"The price of its answers cannot be said: {price['reason']}."
            if amount is None
            else f"A thousand answers cost {money(amount)} {comparison.costs['currency']}{stands}."
        )
    return said or ["The records say neither times nor tokens."]


def latencies(records: Sequence[Record], setup: str) -> list[float]:
    """Milliseconds for each complete answer of a setup, the shortest first."""
    return sorted(
        record.total_ms
        for record in records
        if record.setup == setup and record.error is None and record.total_ms is not None
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that a share of ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _fails(comparison: Comparison, setup: str, records: Sequence[Record]) -> list[str]:
    from ragft.console import counted

    exact = comparison.setups[setup]["exact_match"]
    wrong = round((1 - (exact["mean"] or 0.0)) * exact["n"])
    right = span(METRICS["exact_match"], exact)
    interval = f" ({right} % right)" if right else ""
    said = [f"{wrong} of {exact['n']} answers of {setup} are wrong by exact match{interval}."]
    metric = comparison.measure
    if metric.name != "exact_match":
        said[0] += f" Causes are told of these, although {metric.title} decides."
    errors = [record.error for record in records if record.setup == setup and record.error is not None]
    if errors:
        said.append(f"{counted(len(errors), 'question')} of them got no answer; the first: {errors[0]}")
    if exact["failed"]:
        said.append(f"{counted(exact['failed'], 'answer')} could not be scored.")
    causes: Sequence[Row] = comparison.causes.get(setup, ())
    said += [f"{cause['count']}: {cause['title']}." for cause in causes[:_CAUSES]]
    if len(causes) > _CAUSES:
        said.append(f"{sum(cause['count'] for cause in causes[_CAUSES:])}: other causes, listed below.")
    return said


def _next(comparison: Comparison, setup: str, state: State) -> list[str]:
    causes: Sequence[Row] = comparison.causes.get(setup, ())
    said, named = list[str](), set[str]()
    for cause in causes[:_CAUSES]:
        keys = set(_KEY.findall(mend := cause.get("mend") or ""))
        # The same setting in the other direction would mend fewer.
        if mend and not keys & named:
            of = "" if comparison.measure.name == "exact_match" else " of exact match"
            said.append(f"{mend[:1].upper()}{mend[1:]}: at most +{cause['gain']:.1f} points{of}.")
        named |= keys
    hit = comparison.setups[setup].get("retrieval_hit", {}).get("mean")
    if not causes and hit is not None and hit < _GOOD_RETRIEVAL:
        said.append(f"Improve retrieval first: it found all sources of only {percent(hit)} of the questions.")
    if state == "level" and len(comparison.verdict["best_facts"]) > 1:
        said += _questions_needed(comparison)
    said += _form(comparison, setup)
    if state == "decided":
        asked = comparison.prompts.get(setup)
        prompt = f" --set 'prompt.untuned={as_configured(setup, asked)}'" if asked else ""
        said.append(f"Serve it: ragft serve --set 'serve.setups=[{setup}]'{prompt}")
    return said or ["Read the wrong answers below, those first where the source was found."]


def _questions_needed(comparison: Comparison) -> list[str]:
    leader, rival = comparison.verdict["best_facts"][:2]
    test = pair_of(comparison, comparison.measure.name, leader, rival)
    if test is None:
        return []
    if test["needed"] is None or test["low"] is None:
        return [f"Add questions: {leader} and {rival} are level on these."]
    lead = f"{signed(test['difference'])} points, {signed(test['low'])} to {signed(test['high'])}"
    needed = f"about {max(test['needed'], test['n'] + 1):,} if the difference is what it seems"
    return [f"To tell {leader} from {rival} ({lead}), ask more questions: {needed}."]


def _form(comparison: Comparison, setup: str) -> list[str]:
    best = comparison.verdict["best_form"]
    if not best or setup in best:
        return []
    test = pair_of(comparison, "format_validity", best[0], setup)
    if test is None:
        return []
    more = f"{100 * test['difference']:.1f} points more answers ({p_text(test['p_holm'])})"
    return [f"Mind the form: {best[0]} keeps the house format on {more}."]
