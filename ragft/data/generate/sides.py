"""The two sides that generating fills, examples and questions: what each lacks, and which candidates come next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ragft.config.generate import GenerateSection
from ragft.data.generate.candidates import SHAPES, Candidate, Shape


@dataclass
class Side:
    """The examples, or the questions, as they grow.

    Attributes:
        wanted: how many of each shape.
        found: verified, with whether the retriever misses a source.
    """

    in_questions: bool
    wanted: dict[Shape, int]
    found: list[tuple[Candidate, bool]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.wanted.values())

    @property
    def lacking(self) -> int:
        return max(0, self.total - len(self.found))

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for candidate, _ in self.found]


def sides_of(settings: GenerateSection) -> tuple[Side, Side]:
    """Both sides, the examples first, with nothing found."""

    def wanted(count: int) -> dict[Shape, int]:
        shares: dict[Shape, float] = {
            "comparison": settings.comparison_share, "on-day": settings.day_share,
            "unanswerable": settings.unanswerable_share, "follow-up": settings.follow_up_share,
        }  # fmt: skip
        counts = {shape: round(share * count) for shape, share in shares.items()}
        return {"single": max(0, count - sum(counts.values())), **counts}

    return Side(False, wanted(settings.examples)), Side(True, wanted(settings.questions))


def settled(sides: Sequence[Side]) -> list[Candidate]:
    """What both sides have."""
    return [candidate for side in sides for candidate in side.candidates]


def portions(candidates: Sequence[Candidate], sides: Sequence[Side]) -> Iterator[list[Candidate]]:
    """The candidates, as many at a time as may be enough, until the sides are full."""
    queues = {
        (side.in_questions, shape): in_turn(
            [one for one in candidates if (one.place.in_questions, one.shape) == (side.in_questions, shape)]
        )
        for side in sides
        for shape in SHAPES
    }
    while any(side.lacking for side in sides):
        portion = [
            candidate
            for side in sides
            if side.lacking
            for shape in SHAPES
            for candidate in islice(queues[side.in_questions, shape], 2 * side.wanted[shape])
        ]
        if not portion:
            return
        yield portion


def in_turn(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Candidates in turn from every group, so that a large document does not take all places."""
    before: Counter[str] = Counter()
    turns = []
    for candidate in candidates:
        turns.append(before[candidate.place.group])
        before[candidate.place.group] += 1
    return iter([one for _, one in sorted(zip(turns, candidates, strict=True), key=lambda pair: pair[0])])
