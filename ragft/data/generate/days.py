"""Questions whether something holds on a day, and the comparison of two days part by part.

A small model that was to name the later of two dates in one step did no better than a coin (58 % after one pass, 69 %
after two); part by part it was right in 98 % (benchmarks/RESULTS.md). So answers may write the parts out.
"""

from __future__ import annotations

import random
from datetime import date, timedelta

_FURTHEST = 1_100
"""Days that a question asks before or after a date, at most: about three years."""
_CLOSE_SHARE = 0.3
"""Share of the questions whose day is within a month of the date: the parts that are compared last decide there."""
_CLOSE = 30


def day_near(when: str, chance: random.Random) -> str | None:
    """A day before or after a date, each as likely, and never the date itself; None at the end of all years, which
    stands for never.
    """
    furthest = _CLOSE if chance.random() < _CLOSE_SHARE else _FURTHEST
    away = timedelta(days=chance.randint(1, furthest))
    named = date.fromisoformat(when)
    if not date.min + away <= named <= date.max - timedelta(days=_FURTHEST):
        return None
    return (named + away if chance.random() < 0.5 else named - away).isoformat()


def worked(first: str, second: str) -> str:
    """Two days compared as one does by hand: part by part, until they differ.

    >>> worked("2028-04-28", "2028-06-01")
    'years 2028 and 2028 equal, months 04 and 06 rising'
    """
    steps = []
    for unit, one, other in zip(("years", "months", "days"), first.split("-"), second.split("-"), strict=True):
        relation = "equal" if one == other else "rising" if one < other else "falling"
        steps.append(f"{unit} {one} and {other} {relation}")
        if one != other:
            break
    return ", ".join(steps)
