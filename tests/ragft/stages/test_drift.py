"""What drift gathers of the evaluation: its questions as they are found now, its answers as they were last."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.domains import Domain
from support.fakes import HITS, FakeRetriever, WordsEncoder

from ragft.artifacts import build
from ragft.drift.comparison import Compared, Drift
from ragft.evaluate.records import PassageRef, Record, append_records
from ragft.feedback.asked import Asked, AskedStore
from ragft.stages import drift as stage
from ragft.stages.drift import drift

NOW, DAY = time.time(), 86_400.0
QUESTIONS = [
    f"How much is a ticket to {place} by {how}?" for place in "abcdef" for how in ("train", "bus", "boat", "foot")
]


def found(drift: Drift, what: str, against: str) -> Compared:
    (one,) = [one for one in drift.compared if (one.what, one.against) == (what, against)]
    return one


def ask(domain: Domain, count: int, days_ago: float, **values: Any) -> None:
    with AskedStore(domain.workspace) as store:
        store.add(
            Asked(**{
                "time": NOW - days_ago * DAY, "caller": "me", "unit": f"{days_ago} {number}", "setup": "hybrid",
                "model_version": "m", "encoder": "words", "question": QUESTIONS[number % len(QUESTIONS)],
                "scores": {"dense": 0.5}, "grounded": "true", **values,
            })
            for number in range(count)
        )  # fmt: skip


def records(domain: Domain, number: int, answers: dict[str, str], setup: str = "hybrid") -> None:
    passage = PassageRef("c", "tickets.md", "Prices", 0.5, text=HITS[0].passage)

    def work(folder: Path) -> dict[str, Any]:
        rows = [Record(id, setup, answer, passages=(passage,)) for id, answer in answers.items()]  # noqa: A001
        append_records(folder / "records.jsonl", rows)
        return {}

    build(domain.workspace / "records", "records", {"setup": setup, "number": number}, work)


def test_shares_of_the_evaluation_are_those_of_its_last_answers_without_what_has_none(domain: Domain) -> None:
    rows = [{"id": f"q{at}", "question": text, "answers": ["12"]} for at, text in enumerate(QUESTIONS)]
    rows += [
        {"id": f"n{at}", "question": f"Who rows boat {at}?", "answers": [], "answerable": False} for at in range(9)
    ]
    domain.lines("questions.jsonl", rows)
    domain.configure(serve={"log_questions": True})
    answers = {f"q{at}": "It costs 12 euros [1]." for at in range(18)}
    answers |= {f"q{at}": "It costs 99 euros [1]." for at in range(18, 22)}
    answers |= {f"q{at}": "I do not know." for at in (22, 23)}
    records(domain, 1, answers | {f"n{at}": "I do not know." for at in range(9)})
    records(domain, 2, dict.fromkeys(answers, "I do not know."), setup="rag-only")
    ask(domain, 30, 1)
    ask(domain, 10, 2, refused=True, grounded=None)
    ask(domain, 25, 20)
    ask(domain, 5, 3, setup="rag-only", refused=True)  # another setup's answers
    ask(domain, 50, 40)  # too old
    retriever: Any = FakeRetriever(encoder=WordsEncoder())
    told = drift(domain.application(), retriever=retriever, now=NOW)
    assert (told.asked, told.asked_before, told.evaluated, told.setup) == (45, 25, 33, "hybrid")
    refused = found(told, "refused", "evaluation")
    assert (refused.recent, refused.n, refused.reference, refused.n_reference) == (10 / 40, 40, 2 / 24, 24)
    ungrounded = found(told, "ungrounded", "evaluation")
    assert (ungrounded.recent, ungrounded.n, ungrounded.reference, ungrounded.n_reference) == (0.0, 30, 4 / 22, 22)
    retrieval = found(told, "retrieval", "evaluation")
    assert (retrieval.recent, retrieval.reference, retrieval.n_reference) == (0.5, 0.5, 33)
    assert found(told, "refused", "before").reference == 0.0 and told.signal == "dense" and not told.notes
    assert {question for question, _ in retriever.asked} == {str(row["question"]) for row in rows}
    assert sum(kind.count for kind in told.failing) == 10


def test_a_follow_up_is_compared_by_what_was_searched_for(domain: Domain) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": f"q{at}", "question": "And by boat?", "answers": ["12"],
            "history": [{"role": "user", "content": text}, {"role": "assistant", "content": "12."}],
        }
        for at, text in enumerate(QUESTIONS)
    ]  # fmt: skip
    domain.lines("questions.jsonl", rows)
    ask(domain, 30, 1, question="And by train?", query="How much is a ticket to a by boat? And by boat?")
    retriever: Any = FakeRetriever(encoder=WordsEncoder())
    told = drift(domain.application(), retriever=retriever, now=NOW)
    near = found(told, "questions", "evaluation")
    assert near.recent == 0.0 and not near.has_moved and not told.far
    (without,) = [
        one for one in drift(domain.application(), retriever=retriever, now=NOW + 8 * DAY).notes if "off" in one
    ]
    assert "log_questions is off" in without


def test_no_more_than_a_sample_is_looked_at(domain: Domain, monkeypatch: Any) -> None:
    monkeypatch.setattr(stage, "MOST", 30)
    ask(domain, 80, 1)
    told = drift(domain.application(), retriever=FakeRetriever(encoder=WordsEncoder()), now=NOW)  # type: ignore[arg-type]
    assert (told.asked, told.looked_at, told.units) == (80, 30, 30)
