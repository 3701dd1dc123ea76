"""Where the sources of golden questions rank now, and where they ranked in the snapshot before: for people to look at.

The gate decides by the same searches (`ragft.stages.gate`); nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from index.errors import IndexFault
from index.store.snapshot import Snapshot, list_snapshots
from ragft.data.golden import GoldenQuestion, read_golden
from ragft.errors import UsageError
from ragft.pipeline import Retriever
from ragft.stages.application import Application
from ragft.stages.gate import LOOK_TO, rank_of

MOST = 200
"""Questions that are asked; the first of the file. Each takes two searches of each snapshot."""


@dataclass(frozen=True)
class RankedSource:
    """A source of a golden question.

    Attributes:
        rank: place of its first passage, from 1; None if it is not among the first `LOOK_TO`.
        before: the same in the snapshot before; None also where there is none to compare with.
    """

    source: str
    rank: int | None
    before: int | None


@dataclass(frozen=True)
class RankedQuestion:
    """A golden question.

    Attributes:
        found: whether all its sources are within the first `k` passages, as the gate asks.
    """

    name: str
    question: str
    found: bool
    sources: tuple[RankedSource, ...]


@dataclass(frozen=True)
class GoldenRanks:
    """All golden questions over one snapshot.

    Attributes:
        k: passages among which the sources should be.
        before: id of the snapshot before; None where there is none that can be searched.
        left_out: questions beyond `MOST`, which were not asked.
    """

    index_version: str
    before: str | None
    k: int
    looked_to: int
    questions: tuple[RankedQuestion, ...]
    left_out: int


def golden_ranks(app: Application, live: Retriever) -> GoldenRanks:
    """Asks the golden questions of the configuration.

    Raises:
        UsageError: `index.refresh.gate.questions` names no file, or one that cannot be read.
    """
    settings = app.config.index.refresh.gate
    if settings.questions is None:
        raise UsageError("There are no golden questions: name a file of them in index.refresh.gate.questions.")
    golden = read_golden(settings.questions)
    live = replace(live)  # one snapshot for all questions, whatever is refreshed meanwhile
    asked, k = golden[:MOST], settings.k or app.config.index.search.top_k
    before = _before(app, live.snapshot)
    now, then = _ranks(live, asked, k), _ranks(before, asked, k) if before else None
    near = live.search([one.question for one in asked], k)
    questions = tuple(
        RankedQuestion(
            one.name, one.question, all(rank_of(source, found.hits) for source in one.sources),
            tuple(
                RankedSource(str(source), now[at][place] or None, (then[at][place] or None) if then else None)
                for place, source in enumerate(one.sources)
            ),
        )
        for at, (one, found) in enumerate(zip(asked, near, strict=True))
    )  # fmt: skip
    return GoldenRanks(
        live.index_version, before.index_version if before else None, k, max(LOOK_TO, k), questions,
        len(golden) - len(asked),
    )  # fmt: skip


def _ranks(retriever: Retriever, questions: tuple[GoldenQuestion, ...], k: int) -> list[list[int]]:
    """For each question the place of each of its sources; 0 for one that is not among the first ones."""
    found = retriever.search([one.question for one in questions], max(LOOK_TO, k))
    return [
        [rank_of(source, passages.hits) for source in one.sources]
        for one, passages in zip(questions, found, strict=True)
    ]


def _before(app: Application, live: Snapshot) -> Retriever | None:
    """Search over the snapshot that was live before; None where it cannot be searched with the encoder of today."""
    try:
        earlier = [one for one in list_snapshots(app.index_root) if not one.held]
        places = [place for place, one in enumerate(earlier) if one.id == live.id]
        if not places or places[0] == 0:
            return None
        return app.retriever(Snapshot.open(app.index_root, earlier[places[0] - 1].id))
    except IndexFault:
        return None
