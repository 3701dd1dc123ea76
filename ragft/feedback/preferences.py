"""What votes say: for each two setups how often one is preferred, with an interval.

A vote for one of several answers says that it is better than each of the others, and nothing about these among
themselves. A tie is half a win for each. `none` says that no answer is good, and compares nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from ragft.evaluate.shares import Rate, rate, sign_flip_p
from ragft.evaluate.statistics import holm
from ragft.feedback.votes import Shown, Vote
from ragft.setups import SETUPS

_WORTH = {"a": 1.0, "tie": 0.5, "b": 0.0}


@dataclass(frozen=True)
class Preference:
    """Two setups beside each other.

    Attributes:
        wins, ties, losses: of a.
        rate: wins and half the ties, as a share of the votes that compare the two.
        p, p_holm: two-sided, that neither is preferred; the second corrected for the number of pairs.
    """

    a: str
    b: str
    wins: int
    ties: int
    losses: int
    rate: Rate
    p: float
    p_holm: float = 1.0


@dataclass(frozen=True)
class Preferences:
    """What all votes say.

    Attributes:
        votes: how many count.
        left_out: how many were given with the names in sight, and do not count.
        none: how many say that no answer is good.
        callers: who voted; all people behind one key are one caller.
        first: share of the choices between two answers that are for the one shown first; half is no bias.
    """

    votes: int
    left_out: int
    none: int
    callers: int
    pairs: tuple[Preference, ...]
    first: Rate

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def preferences(votes: Iterable[Vote], *, seed: int, open_ones: bool = False, by_version: bool = False) -> Preferences:
    """What votes say.

    Votes about one question are not independent of each other, and are one cluster where the question was kept; else
    each vote is its own.

    Args:
        open_ones: count votes that were given with the names in sight, too.
        by_version: tell the versions of a setup's model apart.
    """
    name = _versioned if by_version else _setup
    cast, left_out = list[Vote](), 0
    for vote in votes:
        if vote.blind or open_ones:
            cast.append(vote)
        else:
            left_out += 1
    found: dict[tuple[str, str], list[tuple[str, Hashable]]] = defaultdict(list)
    for vote in cast:
        for a, b, side in _compared(vote, name):
            found[a, b].append((side, _cluster(vote)))
    pairs = [_preference(a, b, said, seed) for (a, b), said in sorted(found.items(), key=lambda one: _order(*one[0]))]
    corrected = holm([pair.p for pair in pairs])
    between = [vote for vote in cast if len(vote.shown) == 2 and vote.best is not None]
    return Preferences(
        votes=len(cast), left_out=left_out, none=sum(vote.choice == "none" for vote in cast),
        callers=len({vote.caller for vote in cast}),
        pairs=tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)),
        first=rate([float(vote.choice == 1) for vote in between], [_cluster(vote) for vote in between]),
    )  # fmt: skip


def preference_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What votes say, for the terminal: from the values of `Preferences.to_json`."""
    from ragft.console import counted
    from ragft.evaluate.judges.tables import off_half, share_text
    from ragft.evaluate.verdict import p_text

    none = f"; {told['none']} say that no answer is good" if told["none"] else ""
    yield f"{counted(told['votes'], 'vote')} of {counted(told['callers'], 'caller')}{none}."
    if told["left_out"]:
        yield f"{counted(told['left_out'], 'vote')} more with the names in sight do not count: --open counts them."
    for pair in told["pairs"]:
        apart = "" if off_half(pair["rate"]) else ", which does not tell them apart"
        yield (
            f"{pair['a']} over {pair['b']}: {share_text(pair['rate'])} of {counted(pair['rate']['n'], 'vote')} "
            f"({p_text(pair['p_holm'])}){apart}: {pair['wins']} for {pair['a']}, {pair['ties']} equally good, "
            f"{pair['losses']} for {pair['b']}."
        )
    if off_half(told["first"]):
        yield f"The first of two answers is preferred in {share_text(told['first'])}, wherever it is from."


def _compared(vote: Vote, name: Callable[[Shown], str]) -> Iterator[tuple[str, str, str]]:
    """Each two setups that a vote compares, in the order of `_order`, with the one that it prefers or `tie`."""
    for one, other in combinations(vote.shown, 2):
        a, b = sorted((one, other), key=lambda shown: _order(name(shown)))
        if name(a) == name(b) or (vote.choice != "tie" and vote.best not in (a, b)):
            continue
        yield name(a), name(b), "tie" if vote.choice == "tie" else "a" if vote.best == a else "b"


def _preference(a: str, b: str, said: list[tuple[str, Hashable]], seed: int) -> Preference:
    sides, clusters = [side for side, _ in said], [cluster for _, cluster in said]
    worth = [_WORTH[side] for side in sides]
    return Preference(
        a, b, sides.count("a"), sides.count("tie"), sides.count("b"), rate(worth, clusters),
        sign_flip_p([value - 0.5 for value in worth], clusters, seed=seed),
    )  # fmt: skip


def _cluster(vote: Vote) -> Hashable:
    return vote.id if vote.question is None else vote.question


def _setup(shown: Shown) -> str:
    return shown.setup


def _versioned(shown: Shown) -> str:
    return f"{shown.setup} {shown.model_version}"


def _order(*names: str) -> tuple[tuple[int, str], ...]:
    """The best setup first, as differences in a comparison have their signs; others by their names."""
    known = {name: -place for place, name in enumerate(SETUPS)}
    return tuple((known.get(name.partition(" ")[0], 1), name) for name in names)
