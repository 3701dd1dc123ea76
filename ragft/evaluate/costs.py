"""What the setups cost, from records and configured rates: per thousand answers, against quality, and with training.

Pure functions. Whatever cannot be said, for want of a rate or of a measurement, is None beside a `reason`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ragft.evaluate.metrics import METRICS, Measure
from ragft.evaluate.records import Record
from ragft.setups import SETUPS

if TYPE_CHECKING:
    from ragft.config.cost import CostSection


@dataclass(frozen=True)
class AnswerCost:
    """What a thousand answers of one setup cost.

    Attributes:
        price: in the currency of the rates.
        kwh: energy, in kilowatt hours.
        reason: why there is no price; empty where there is one.
        n: answers that it is the mean of.
        prompt_tokens, answer_tokens: of one answer, on average.
        seconds: of the machine for one answer, on average, where so many are answered at once as in the evaluation.
    """

    price: float | None
    kwh: float | None
    reason: str
    n: int
    prompt_tokens: float | None
    answer_tokens: float | None
    seconds: float | None


@dataclass(frozen=True)
class Standing:
    """One setup between quality, price and latency.

    Attributes:
        quality: a share, higher is better.
        dominated_by: setups that are at least as good, as cheap and as fast, and better in one of these; None where the
            price cannot be said.
    """

    quality: float | None
    price: float | None
    latency_ms: float | None
    dominated_by: tuple[str, ...] | None


@dataclass(frozen=True)
class Payback:
    """When a tuned setup pays for its training, compared with a setup of the base model.

    Attributes:
        saving: of a thousand answers: what they cost less, and what fewer wrong answers save.
        gain: how much better it is by what decides, 0 where that may be chance; `saving` counts it where the rates have
            a price of a wrong answer.
        volume: answers from which on training is paid for; None where it is never, or cannot be said.
        reason: why there is no volume; empty where there is one.
    """

    tuned: str
    base: str
    saving: float | None
    gain: float
    volume: int | None
    reason: str


@dataclass(frozen=True)
class Upkeep:
    """How often documents must change for a setup with retrieval to be cheaper than training without it anew.

    Attributes:
        retrieves, trained: the two setups.
        surcharge: what a thousand answers of the former cost more.
        every: answers between two changes of the documents, up to which it is cheaper; None where that is whatever
            their number, or cannot be said.
        reason: why there is no number; empty where there is one.
    """

    retrieves: str
    trained: str
    surcharge: float | None
    every: int | None
    reason: str


def costs(
    records: Sequence[Record], setups: Mapping[str, Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]],
    rates: CostSection, *, training_seconds: float | None = None, at_once: Mapping[str, int] | None = None,
    decides: Measure = METRICS["exact_match"],
) -> dict[str, Any]:  # fmt: skip
    """What `Comparison.costs` holds; empty where no rates are configured.

    Args:
        records: of the setups, each setup's in the order in which they were made.
        setups, pairs: as in `Comparison`.
        training_seconds: of the adapter; None: not known.
        at_once: by setup, how many questions were answered at the same time.
        decides: the metric that is the quality.

    Returns:
        `{currency, setups, standing, training, payback, upkeep}`: by setup an `AnswerCost` and a `Standing`; training
        as `{hours, price}`; and lists of `Payback` and `Upkeep`.
    """
    if not rates.prices_something:
        return {}
    quality = {name: metrics[decides.name]["mean"] for name, metrics in setups.items()}
    own = {name: [record for record in records if record.setup == name] for name in quality}
    priced = {
        name: answer_cost(of_setup, rates, rates.at_once or (at_once or {}).get(name)) for name, of_setup in own.items()
    }
    prices = {name: one.price for name, one in priced.items()}
    hours = None if training_seconds is None else training_seconds / 3600
    hour = rates.hour if rates.training_hour is None else rates.training_hour
    training = None if hours is None or hour is None else hours * hour
    latency = {name: _mean([record.total_ms for record in of_setup]) for name, of_setup in own.items()}
    return {
        "currency": rates.currency,
        "setups": {name: asdict(one) for name, one in priced.items()},
        "standing": {name: asdict(one) for name, one in standings(quality, prices, latency, sign=decides.sign).items()},
        "training": {"hours": hours, "price": training},
        "payback": [
            asdict(payback(tuned, base, prices, training, gain=gain, wrong_answer=rates.wrong_answer))
            for tuned, base in _matches(quality)
            for gain in (gain_beyond_chance(pairs, tuned, base, decides),)
        ],
        "upkeep": [
            asdict(upkeep(name, "fine-tuned", prices, training))
            for name in ("hybrid", "rag-only")
            if {name, "fine-tuned"} <= quality.keys()
        ],
    }


def answer_cost(records: Sequence[Record], rates: CostSection, at_once: int | None) -> AnswerCost:
    """What a thousand answers like these cost.

    Args:
        records: of one setup, in the order in which they were made; failed ones are left out.
        at_once: questions that were answered at the same time; None: not known.
    """
    prompt = _mean([record.prompt_tokens for record in records])
    answer = _mean([record.answer_tokens for record in records])
    seconds = _machine_seconds(records, at_once)
    n = sum(record.error is None for record in records)
    kwh = None if seconds is None or rates.watts is None else seconds / 3600 * rates.watts
    price, reason = None, ""
    if rates.hour is not None:
        price = None if seconds is None else 1000 * seconds / 3600 * rates.hour
        if price is None:
            reason = "the records do not say how long the machine took (evaluate.cost.at_once)"
    elif rates.prompt_tokens is not None and rates.answer_tokens is not None:
        if prompt is None or answer is None:
            reason = "the records do not say how many tokens were read and written"
        else:
            price = rates.of_tokens(1000 * prompt, 1000 * answer)
    else:
        reason = "evaluate.cost needs prompt_tokens and answer_tokens, or hour"
    return AnswerCost(price, kwh, reason, n, prompt, answer, seconds)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _machine_seconds(records: Sequence[Record], at_once: int | None) -> float | None:
    """Seconds of the machine for one answer: an evaluation asks batch by batch, and each lasts as long as its slowest
    answer. The search is added, which was one for all questions, and each one's share of it.
    """
    answered = [record for record in records if record.error is None]
    if at_once is None or not answered or any(record.total_ms is None for record in answered):
        return None
    times = [record.total_ms or 0.0 for record in records]
    spent = sum(max(times[start : start + at_once]) for start in range(0, len(times), at_once))
    searched = sum(record.retrieval_ms or 0.0 for record in answered)
    return (spent + searched) / 1000 / len(answered)


def standings(
    quality: Mapping[str, float | None], prices: Mapping[str, float | None], latency: Mapping[str, float | None], *,
    sign: int = 1,
) -> dict[str, Standing]:  # fmt: skip
    """Each setup's place; those that none dominates are the frontier. A setup that lacks a figure takes no part.

    Args:
        sign: -1 where less quality is better.
    """
    known = {
        name: (-sign * right, price, time)
        for name in quality
        if (right := quality[name]) is not None
        and (price := prices.get(name)) is not None
        and (time := latency.get(name)) is not None
    }

    def dominated_by(name: str) -> tuple[str, ...] | None:
        if name not in known:
            return None
        return tuple(
            other
            for other in known
            if known[other] != known[name] and all(a <= b for a, b in zip(known[other], known[name], strict=True))
        )

    return {name: Standing(quality[name], prices.get(name), latency.get(name), dominated_by(name)) for name in quality}


def _matches(quality: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Every tuned setup with every one of the base model, of the four."""
    four = [name for name in quality if name in SETUPS]
    return [(tuned, base) for tuned in four if SETUPS[tuned].tuned for base in four if not SETUPS[base].tuned]


def gain_beyond_chance(
    pairs: Sequence[Mapping[str, Any]], tuned: str, base: str, decides: Measure = METRICS["exact_match"]
) -> float:
    """How much better the tuned setup is by what decides; 0 where the interval does not exclude 0.

    Args:
        pairs: as in `Comparison.pairs`.
    """
    for pair in pairs:
        if pair["metric"] == decides.name and {pair["a"], pair["b"]} == {tuned, base}:
            certain = pair["low"] is not None and (pair["low"] > 0 or pair["high"] < 0)
            ahead = pair["difference"] if pair["a"] == tuned else -pair["difference"]
            return float(decides.sign * ahead) if certain else 0.0
    return 0.0


def payback(
    tuned: str, base: str, prices: Mapping[str, float | None], training: float | None, *, gain: float = 0.0,
    wrong_answer: float | None = None,
) -> Payback:  # fmt: skip
    """From how many answers on a tuned setup is cheaper than one of the base model, its training included.

    Args:
        prices: of a thousand answers, by setup.
        training: price of the training.
        gain: how much better it is by what decides.
        wrong_answer: what one costs; None: better answers save nothing.
    """
    dear, cheap = prices.get(base), prices.get(tuned)
    if dear is None or cheap is None:
        return Payback(tuned, base, None, gain, None, "the price of answers is not known")
    saving = dear - cheap + 1000 * gain * (wrong_answer or 0.0)
    if saving <= 0:
        uncounted = ", and evaluate.cost.wrong_answer does not say what better ones are worth"
        reason = f"its answers save nothing{uncounted if gain > 0 and wrong_answer is None else ''}"
        return Payback(tuned, base, saving, gain, None, reason)
    if training is None:
        return Payback(tuned, base, saving, gain, None, "the price of the training is not known")
    return Payback(tuned, base, saving, gain, math.ceil(round(1000 * training / saving, 6)), "")


def upkeep(retrieves: str, trained: str, prices: Mapping[str, float | None], training: float | None) -> Upkeep:
    """How often documents must change for retrieval, whose index is refreshed, to be cheaper than another training.

    What a refresh of the index costs is left out.
    """
    dear, cheap = prices.get(retrieves), prices.get(trained)
    if dear is None or cheap is None:
        return Upkeep(retrieves, trained, None, None, "the price of answers is not known")
    surcharge = dear - cheap
    if surcharge <= 0:
        return Upkeep(retrieves, trained, surcharge, None, "its answers cost no more")
    if training is None:
        return Upkeep(retrieves, trained, surcharge, None, "the price of the training is not known")
    return Upkeep(retrieves, trained, surcharge, math.floor(round(1000 * training / surcharge, 6)), "")


def cost_lines(told: Mapping[str, Any], decides: Measure = METRICS["exact_match"]) -> list[str]:
    """What `costs` returned, for people: a line for each setup, and what `pay_lines` says."""
    if not told:
        return []
    currency = told["currency"]
    lines = []
    for name, one in told["setups"].items():
        said = f"cannot be said: {one['reason']}" if one["price"] is None else f"{money(one['price'])} {currency}"
        energy = "" if one["kwh"] is None else f", {one['kwh']:.3g} kWh"
        rank = standing_line(told["standing"][name])
        lines.append(f"A thousand answers of {name}: {said}{energy}{rank and f'; {rank}'}")
    return lines + pay_lines(told, decides)


def standing_line(standing: Mapping[str, Any]) -> str:
    """Whether a setup is on the frontier, or what beats it; empty where that cannot be said."""
    beaten = standing["dominated_by"]
    if beaten:
        return f"no better, cheaper or faster than {' or '.join(beaten)}"
    return "" if beaten is None else "on the frontier of quality, price and latency"


def pay_lines(told: Mapping[str, Any], decides: Measure = METRICS["exact_match"]) -> list[str]:
    """From which volume training pays, and from which rate of changes retrieval does, a line for each comparison."""
    training, lines = told["training"], []
    if training["hours"] is not None:
        known = training["price"] is not None
        price = f"{money(training['price'])} {told['currency']}" if known else "price cannot be said"
        lines.append(f"Training: {training['hours']:.2g} hours, {price}")
    for one in told["payback"]:
        paid = f"cannot be said: {one['reason']}" if one["volume"] is None else f"from {one['volume']:,} answers on"
        if one["volume"] is None and one["saving"] is not None and one["saving"] <= 0:
            paid = f"never: {one['reason']}"
        elif one["volume"] is not None and one["gain"] < 0:
            paid += f", with {-100 * one['gain']:.1f} points less quality, by {decides.title}"
        lines.append(f"{one['tuned']} pays for its training against {one['base']}: {paid}")
    for one in told.get("upkeep", ()):
        if one["every"] is not None:
            often = f"where documents change at least once in {one['every']:,} answers"
        elif one["surcharge"] is not None and one["surcharge"] <= 0:
            often = f"however seldom documents change: {one['reason']}"
        else:
            often = f"cannot be said: {one['reason']}"
        lines.append(f"{one['retrieves']} costs less than training {one['trained']} anew: {often}")
    return lines


def money(amount: float) -> str:
    """An amount: cents above one, else three digits."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.3g}"
