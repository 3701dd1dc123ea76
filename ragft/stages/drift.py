"""`ragft drift`: what was asked lately, beside the evaluation's questions and those of the weeks before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from index.errors import NoSnapshot
from ragft.artifacts import artifacts_in
from ragft.data.questions import Question, read_questions, sample
from ragft.drift.beginning import Kind, kinds, nearness
from ragft.drift.comparison import LEAST_UNITS, Against, Drift, compare
from ragft.drift.sample import Floats, Sample
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.grounding import ground
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.evaluate.records import Record, read_answers
from ragft.evaluate.suites.abstention import best_scores
from ragft.feedback.asked import Asked, AskedStore
from ragft.feedback.database import FILE
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.inputs import RECORDS

if TYPE_CHECKING:
    from ragft.pipeline import Retriever

MOST = 1000
"""Questions of a group that are looked at; of more, a seeded sample. All of them are embedded, and their distances
compared pair by pair."""
WEEKS_BEFORE = 4
"""How many times as long as the recent time the one before it is."""
BEGIN_WITH = 10
"""Questions that are named to begin with."""
_SECONDS_PER_DAY = 86_400.0


def drift(
    app: Application, days: float = 7.0, *, retriever: Retriever | None = None, now: float | None = None
) -> Drift:
    """Compares recent questions with the evaluation's and with those of the weeks before.

    Takes seconds: questions are embedded, and the evaluation's are searched for.

    Args:
        days: how long ago recent questions were asked at most.
        retriever: search over the live index; None: it is opened, if there is one.
        now: seconds since the epoch; None: now.

    Raises:
        UsageError: the evaluation questions cannot be read.
        DatabaseFault: the questions that were asked cannot be.
        IndexFault: the index is damaged, or another encoder built it.
    """
    now = time.time() if now is None else now
    recent, asked, before, asked_before = _asked(app, days, now)
    notes = []
    if not app.config.serve.log_questions:
        notes.append("serve.log_questions is off, so that no question is kept: turn it on and serve.")
    if not recent:
        return Drift(
            days, WEEKS_BEFORE * days, 0, 0, asked_before, 0, len({one.unit for one in before}), 0, "", "", (),
            tuple(notes), (), (),
        )  # fmt: skip
    retriever = retriever or _opened(app)
    encoder = app.encoder if retriever is None else retriever.encoder
    questions = _evaluated(app, notes)
    setup = Counter(one.setup for one in recent).most_common(1)[0][0]
    signal = _signal(recent, setup)

    def of_traffic(rows: Sequence[Asked]) -> Sample:
        own = [one.setup == setup for one in rows]
        units = tuple(one.unit for one in rows)
        return Sample(
            tuple(one.question for one in rows), units, units,
            _vectors(encoder, [one.query or one.question for one in rows]),
            _column(
                one.scores.get(signal) if mine and (signal != "dense" or one.encoder == encoder.fingerprint) else None
                for one, mine in zip(rows, own, strict=True)
            ),
            _column(one.refused if mine else None for one, mine in zip(rows, own, strict=True)),
            _column(_is_ungrounded(one.grounded) if mine else None for one, mine in zip(rows, own, strict=True)),
        )  # fmt: skip

    others: dict[Against, Sample] = {}
    if questions:
        others["evaluation"] = _of_evaluation(app, questions, setup, signal, retriever, encoder, notes)
    others["before"] = of_traffic(before)
    latest = of_traffic(recent)
    for against, other in others.items():
        if other.unit_count < LEAST_UNITS <= latest.unit_count:
            notes.append(_too_few(against, other.unit_count))
    compared = compare(latest, others, seed=app.fixed_seed)
    far, failing = _beginnings(latest, others.get("evaluation", others["before"]))
    return Drift(
        days, WEEKS_BEFORE * days, asked, len(recent), asked_before, latest.unit_count, others["before"].unit_count,
        len(questions), setup, signal, tuple(compared), tuple(notes), far, failing,
    )  # fmt: skip


def _asked(app: Application, days: float, now: float) -> tuple[list[Asked], int, list[Asked], int]:
    """The questions of the recent time and of the one before it, and how many of each there are."""
    if not (app.workspace / FILE).exists():
        return [], 0, [], 0
    since = now - days * _SECONDS_PER_DAY
    with AskedStore(app.workspace, app.config.serve.feedback_days) as store:
        recent, count = store.sample(since, now, MOST, app.fixed_seed)
        before, count_before = store.sample(since - WEEKS_BEFORE * (now - since), since, MOST, app.fixed_seed)
    return recent, count, before, count_before


def _opened(app: Application) -> Retriever | None:
    """Search over the live index; None where no deployed setup searches, or there is no index yet."""
    from index.store.snapshot import Snapshot

    if not any(SETUPS[name].retrieval for name in app.config.serve.setups):
        return None
    try:
        return app.retriever(Snapshot.open(app.index_root, check=app.config.index.refresh.verify_on_open))
    except NoSnapshot:
        return None


def _evaluated(app: Application, notes: list[str]) -> tuple[Question, ...]:
    """The evaluation questions, read anew: a server that runs for weeks must see what was added."""
    path = app.config.data.questions
    if not path.is_file():
        notes.append(f"There are no evaluation questions to compare with: {path.name} is missing (data.questions).")
        return ()
    return sample(read_questions(path), MOST, app.fixed_seed)


def _of_evaluation(
    app: Application, questions: Sequence[Question], setup: str, signal: str, retriever: Retriever | None,
    encoder: Any, notes: list[str],
) -> Sample:  # fmt: skip
    """The evaluation questions as they are found now, and as they were answered last."""
    condense = app.config.serve.condense
    if retriever is None:
        queries = [one.standalone or one.spoken for one in questions]
        scores = _column(None for _ in questions)
    else:
        queries = [retriever.query(one.question, one.history, condense, app.labels) for one in questions]
        found = retriever.search(queries, labels=app.labels) if signal else []
        best = [best_scores(one.hits).get(signal) for one in found] or [None] * len(questions)
        scores = _column(best)
    records = _records(app, questions, setup)
    if not records:
        notes.append(
            f"There are no evaluated answers of {setup} to compare refusals and grounding with: run `ragft evaluate`."
        )
    rules = Rules.of(app.config.answer)
    refused, ungrounded = list[bool | None](), list[bool | None]()
    for question in questions:
        record = records.get(question.id)
        # How many questions without an answer there are is what whoever wrote the evaluation chose.
        if record is None or record.error is not None or not question.answerable:
            refused.append(None)
            ungrounded.append(None)
            continue
        refused.append(is_refusal(record.answer, rules, asked=question.question))
        passages = [passage.text for passage in record.passages]
        grounding = ground(record.answer, question.question, passages, rules) if any(passages) else None
        ungrounded.append(None if grounding is None else _is_ungrounded(grounding.grounded))
    return Sample(
        tuple(one.question for one in questions), tuple(range(len(questions))),
        tuple(one.id if one.group is None else ("group", one.group) for one in questions),
        _vectors(encoder, queries), scores, _column(refused), _column(ungrounded),
    )  # fmt: skip


def _records(app: Application, questions: Sequence[Question], setup: str) -> Mapping[str, Record]:
    """The last answers of a setup to enough of the questions, by their ids; empty where there are none.

    They need not be of the index and the model that serve now: those are what changed.
    """
    ids = {one.id for one in questions}
    for artifact in artifacts_in(app.workspace / RECORDS.folder):
        if artifact.manifest["inputs"].get("setup") == setup:
            found = {record.question_id: record for record in read_answers(artifact.folder)}
            if len(ids & found.keys()) >= min(LEAST_UNITS, len(ids)):
                return found
    return {}


def _signal(rows: Sequence[Asked], setup: str) -> str:
    """The score of retrieval to compare: the cosine, where there is one."""
    known = Counter(name for one in rows if one.setup == setup for name in one.scores)
    return next((name for name in ("dense", "lexical", "rank") if known[name]), "")


def _is_ungrounded(grounded: str | None) -> bool | None:
    """Whether an answer does not stand on what it cites; None where that was not looked up, or words cannot tell."""
    return {"true": False, "false": True}.get(grounded or "")


def _column(values: Any) -> Floats:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def _vectors(encoder: Any, texts: Sequence[str]) -> Floats:
    if not texts:
        return np.zeros((0, encoder.dimension))
    return np.asarray(encoder.encode_queries(texts), dtype=np.float64)


def _beginnings(recent: Sample, group: Sample) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
    """The recent questions far from a group, and those whose answers failed: one of each kind."""
    near = nearness(recent, group)
    nearest = np.zeros(len(recent)) if near is None else near.nearest
    least = 1.0 if near is None else near.least  # each but those that are the same is a kind of its own

    def of(places: Any) -> tuple[Kind, ...]:
        # Among those that stand for as many, the farthest comes first.
        order = sorted(np.flatnonzero(places).tolist(), key=lambda at: float(nearest[at]))
        return tuple(kinds([recent.questions[at] for at in order], recent.vectors[order], least, BEGIN_WITH))

    failing = (np.nan_to_num(recent.refused) > 0) | (np.nan_to_num(recent.ungrounded) > 0)
    return (() if near is None else of(near.is_far)), of(failing)


def _too_few(against: Against, count: int) -> str:
    if against == "evaluation":
        return f"{count} evaluation questions are too few to compare with: {LEAST_UNITS} are needed (data.questions)."
    return f"{count} users or conversations before that are too few to compare with: {LEAST_UNITS} are needed."
