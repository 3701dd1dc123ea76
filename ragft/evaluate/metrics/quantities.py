"""Numbers with units and dates, compared by what they say: 1.5 km is 1,500 m, and 4.20 euros are 4.2 euros."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import regex

from ragft.data.questions import Question
from ragft.evaluate.metrics.base import NOT_APPLICABLE, Rules, Score, answerable, is_cut_off, metric
from ragft.evaluate.metrics.reading import value_of
from ragft.evaluate.metrics.refusals import outcome_of
from ragft.evaluate.records import Record
from ragft.tokens import tokens

_NUMBER = regex.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_POWER = regex.compile(r"(-?\d+(?:\.\d+)?)\^(-?\d{1,3})")
_DATE = regex.compile(r"\d{4}-\d\d-\d\d")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "millions": 6, "bn": 9, "billion": 9, "trillion": 12}
_PREFIXES = {"n": -9, "μ": -6, "m": -3, "c": -2, "d": -1, "h": 2, "k": 3, "mega": 6, "g": 9, "t": 12}
_SI = {"m": "m", "g": "g", "l": "l", "w": "w", "wh": "wh", "hz": "hz", "pa": "pa", "j": "j", "v": "v", "a": "a"}
_UNITS: dict[str, tuple[str, Fraction]] = {
    **{p + u: (base, Fraction(10) ** e) for p, e in _PREFIXES.items() for u, base in _SI.items()},
    **{u: (base, Fraction(1)) for u, base in _SI.items()},
    # "5 mhz" is never a thousandth of a hertz, and a mebibyte is no megabyte.
    "mhz": ("hz", Fraction(10**6)),
    **{f"{p}b": ("byte", Fraction(1000) ** e) for e, p in enumerate("kmgtp", 1)},
    **{f"{p}ib": ("byte", Fraction(1024) ** e) for e, p in enumerate("kmgtp", 1)},
    **{f"{p}bit": ("bit", Fraction(1000) ** e) for e, p in enumerate("kmgt", 1)},
    **{name: ("byte", Fraction(1)) for name in ("b", "byte", "bytes")},
    **{name: ("bit", Fraction(1)) for name in ("bit", "bits")},
    **{name: ("s", Fraction(1, 1000)) for name in ("ms", "millisecond", "milliseconds")},
    **{name: ("s", Fraction(1)) for name in ("s", "sec", "secs", "second", "seconds")},
    **{name: ("s", Fraction(60)) for name in ("min", "mins", "minute", "minutes")},
    **{name: ("s", Fraction(3600)) for name in ("h", "hr", "hrs", "hour", "hours")},
    **{name: ("s", Fraction(86_400)) for name in ("d", "day", "days")},
    **{name: ("s", Fraction(604_800)) for name in ("week", "weeks", "wk")},
    # A month and a year have no fixed number of days.
    **{name: ("month", Fraction(1)) for name in ("month", "months")},
    **{name: ("month", Fraction(12)) for name in ("year", "years", "yr", "yrs")},
    **{name: ("m", Fraction(1)) for name in ("metre", "metres", "meter", "meters")},
    **{name: ("m", Fraction(1000)) for name in ("kilometre", "kilometres", "kilometer", "kilometers")},
    **{name: ("g", Fraction(1000)) for name in ("kilogram", "kilograms", "kilo", "kilos")},
    **{name: ("g", Fraction(1)) for name in ("gram", "grams")},
    "tonne": ("g", Fraction(10**6)), "tonnes": ("g", Fraction(10**6)),
    "%": ("%", Fraction(1)), "$": ("$", Fraction(1)), "usd": ("$", Fraction(1)), "dollars": ("$", Fraction(1)),
    "dollar": ("$", Fraction(1)), "eur": ("eur", Fraction(1)), "£": ("gbp", Fraction(1)), "gbp": ("gbp", Fraction(1)),
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A number with its unit in the basic unit of its kind; a unit that is not known stands as it is, or is empty."""

    number: Fraction
    unit: str = ""


def quantities_in(text: str) -> list[Quantity]:
    """The quantities in a text, in order; dates, versions and times are none.

    >>> quantities_in("1.5 km, then 20 min") == [Quantity(Fraction(1500), "m"), Quantity(Fraction(1200), "s")]
    True
    """
    said = tokens(text)
    found = []
    for at, token in enumerate(said):
        power = _POWER.fullmatch(token)
        if power is None and not _NUMBER.fullmatch(token):
            continue
        number = (
            Fraction(power[1]) ** int(power[2])
            if power and Fraction(power[1])
            else Fraction(power[1] if power else token)
        )
        following = said[at + 1 : at + 3]
        if following and following[0] in _SCALES:
            number *= 10 ** _SCALES[following[0]]
            following = following[1:]
        if len(following) == 2 and following[0] == "°":
            found.append(Quantity(number, "°" + following[1]))
        elif following and following[0] in _UNITS:
            unit, factor = _UNITS[following[0]]
            found.append(Quantity(number * factor, unit))
        else:
            found.append(Quantity(number, following[0] if following and following[0].isalpha() else ""))
    return found


@metric("number_match", axis="facts", title="right number and unit", applies=answerable, default=False, version=2)
def number_match(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the value holds the number of a gold answer in a unit that says the same, and no other number.

    Does not apply where no gold answer is one number with at most a unit. A gold answer without a unit accepts any word
    behind the number but a known unit.

    >>> tried("number_match", "1,500 m", "1.5 km"), tried("number_match", "1.5 m", "1.5 km")
    (1.0, 0.0)
    """
    golds = [only for gold in question.answers if (only := _only_quantity(gold))]
    if not golds:
        return NOT_APPLICABLE
    if outcome_of(question, record, rules) in ("refused", "hedged"):
        return Score(0.0, "refused")
    said = set(quantities_in(value_of(record.answer, rules, cut_off=is_cut_off(record))))
    if len(said) != 1:
        return Score(0.0, "several numbers" if said else "no number")
    (one,) = said
    return Score(float(any(_same(one, gold) for gold in golds)))


@metric("date_match", axis="facts", title="right date", applies=answerable, default=False, version=2)
def date_match(question: Question, record: Record, rules: Rules) -> Score:
    """1 where the value holds the date of a gold answer, and no other; does not apply where no gold answer is a date.

    >>> tried("date_match", "It ends on Thursday, 30 April 2026, at noon.", "2026-04-30")
    1.0
    """
    golds = {said[0] for gold in question.answers if len(said := tokens(gold)) == 1 and _DATE.fullmatch(said[0])}
    if not golds:
        return NOT_APPLICABLE
    if outcome_of(question, record, rules) in ("refused", "hedged"):
        return Score(0.0, "refused")
    value = value_of(record.answer, rules, cut_off=is_cut_off(record))
    dates = {token for token in tokens(value) if _DATE.fullmatch(token)}
    return Score(float(len(dates) == 1 and dates <= golds), "; ".join(sorted(dates)))


def _only_quantity(gold: str) -> Quantity | None:
    """The quantity that a gold answer is: one number, and at most two words for its unit."""
    found = quantities_in(gold)
    return found[0] if len(found) == 1 and len(tokens(gold)) <= 3 and _NUMBER.match(tokens(gold)[0]) else None


def _same(said: Quantity, gold: Quantity) -> bool:
    known = {unit for unit, _ in _UNITS.values()}
    if said.unit == gold.unit:
        return said.number == gold.number
    return not gold.unit and said.unit not in known and said.number == gold.number
