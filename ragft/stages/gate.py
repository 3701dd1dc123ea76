"""The gate: a new snapshot goes live only if the golden questions still find their sources, as users would."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from index.refresh.gate import Gate, Verdict
from index.search.search import Hit
from index.store.snapshot import Snapshot
from ragft.config.index import GateSection
from ragft.data.golden import GoldenQuestion, read_golden
from ragft.data.sources import Source
from ragft.pipeline import Retriever
from ragft.stages.application import Application

LOOK_TO = 50  # how far down the ranking a lost source is looked for: how far it fell says what to correct
TOLD = 20  # lost questions that are told one by one


def gate_of(app: Application) -> Gate | None:
    """The gate that a configuration asks for; None where it asks for none.

    Raises:
        UsageError: the file of golden questions cannot be read.
    """
    settings = app.config.index.refresh.gate
    if settings.questions is None:
        return None
    golden = read_golden(settings.questions)

    def judge(candidate: Snapshot, live: Snapshot | None) -> Verdict:
        # Vectors of another encoder cannot be searched with this one.
        comparable = live is not None and live.encoder_fingerprint == app.encoder.fingerprint
        return _Judgement(
            settings,
            settings.k or app.config.index.search.top_k,
            candidate=app.retriever(candidate),
            live=app.retriever(live) if live and comparable else None,
            before=frozenset(entry.id for entry in live.documents()) if live else None,
        ).of(golden)

    return judge


@dataclass(frozen=True)
class _Judgement:
    """One candidate beside the live snapshot.

    Attributes:
        k: passages among which the sources must be.
        live: None where there is none, or where another encoder built it.
        before: ids of the documents of the live snapshot; None where there is none.
    """

    settings: GateSection
    k: int
    candidate: Retriever
    live: Retriever | None
    before: frozenset[str] | None

    def of(self, golden: Sequence[GoldenQuestion]) -> Verdict:
        """The verdict on these questions."""
        gate = self.settings
        gone = (self.before or frozenset()) - {entry.id for entry in self.candidate.snapshot.documents()}
        asked = [question for question in golden if not _sources_in(gone, question)]
        missing = self._missing(self.candidate, asked)
        lost = missing if self.before is not None else []
        if self.live is not None:
            missed_before = self._missing(self.live, missing)
            lost = [question for question in missing if question not in missed_before]
        recall = 1 - len(missing) / len(asked) if asked else 1.0
        enough = recall >= gate.min_recall
        return Verdict(
            passed=enough and len(lost) <= gate.max_lost,
            summary=f"{len(asked) - len(missing)} of {len(asked)} golden questions find their sources within the first "
            f"{self.k} passages ({recall:.0%}; index.refresh.gate.min_recall asks for {gate.min_recall:.0%}), "
            f"{len(lost)} lost them (index.refresh.gate.max_lost allows {gate.max_lost}).",
            details=self._falls(lost if enough else missing),
            remarks=tuple(
                f"Golden question {_named(question)}: {', '.join(sources)} went with its document; give the question "
                "another source, or delete it."
                for question in golden
                if (sources := _sources_in(gone, question))
            ),
        )

    def _missing(self, retriever: Retriever, questions: Sequence[GoldenQuestion]) -> list[GoldenQuestion]:
        """The questions that do not find all their sources within the first k passages."""
        if not questions:
            return []
        found = retriever.search([question.question for question in questions], self.k)
        return [
            question
            for question, passages in zip(questions, found, strict=True)
            if not all(rank_of(source, passages.hits) for source in question.sources)
        ]

    def _falls(self, questions: Sequence[GoldenQuestion]) -> tuple[str, ...]:
        more = [f"And {len(questions) - TOLD} more golden questions."] if len(questions) > TOLD else []
        return (*(self._fall(question) for question in questions[:TOLD]), *more)

    def _fall(self, question: GoldenQuestion) -> str:
        """Where the sources of a question were, and where they are."""
        then = self._ranks(self.live, question) if self.live else None
        now = self._ranks(self.candidate, question)
        told = [
            f"{source} {f'{_placed(then[source])} before' if then else 'could not be looked for before'} and "
            f"{_placed(now[source])} now"
            for source in question.sources
            if not now[source] or now[source] > self.k
        ]
        # A deeper search may see what a reranker of the first few did not.
        why = "; ".join(told) or f"not all of its sources are within the first {self.k}"
        return f"Golden question {_named(question)}: {why}."

    def _ranks(self, retriever: Retriever, question: GoldenQuestion) -> dict[str, int]:
        """The place of each source, 0 where it is not among the first `LOOK_TO`."""
        (found,) = retriever.search([question.question], max(LOOK_TO, self.k))
        return {source: rank_of(source, found.hits) for source in question.sources}


def _sources_in(documents: Set[str], question: GoldenQuestion) -> list[Source]:
    """Those of a question's sources that stand in one of these documents."""
    return [source for source in question.sources if source.is_in(documents)]


def rank_of(source: Source, hits: Sequence[Hit]) -> int:
    """The place (from 1) of the first passage that is this source; 0 for none."""
    places = enumerate(hits, start=1)
    return next((place for place, hit in places if source.matches(hit.document_id, hit.heading_path, hit.title)), 0)


def _placed(rank: int) -> str:
    return f"at rank {rank}" if rank else f"not among the first {LOOK_TO}"


def _named(question: GoldenQuestion) -> str:
    return f"{question.name} ({question.question})"
