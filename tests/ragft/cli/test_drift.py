"""`ragft drift` over what an endpoint would have kept: table, JSON, advice and exit status."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.commands import Ended
from support.domains import Domain
from support.fakes import WordsEncoder
from test_readme import RAGFT

from ragft.feedback.asked import Asked, AskedStore
from ragft.stages.application import Application

Ragft = Callable[..., Ended]
SHOWN = sorted({shown.words for shown in RAGFT if shown.words[1] == "drift"})
DAY = 86_400.0
CATS = [f"Does a {kind} cat {verb}?" for kind in ("small", "grey", "young", "tired", "wild") for verb in
        ("purr", "sleep at night", "eat fish", "like milk", "climb")]  # fmt: skip
TAXES = [f"How is {what} taxed in {where}?" for what in ("income", "land", "gold", "interest", "rent") for where
         in ("Spain", "Peru", "Japan", "Canada", "Kenya")]  # fmt: skip


def keep(
    domain: Domain,
    questions: list[str],
    days_ago: float,
    *,
    dense: float,
    refused: bool = False,
    encoder: str = "words",
) -> None:
    with AskedStore(domain.workspace) as store:
        store.add(
            Asked(
                time=time.time() - days_ago * DAY, caller="me", unit=f"{days_ago} {number}", setup="hybrid",
                model_version="m", index_version="i", encoder=encoder, question=question,
                scores={"dense": dense + 0.001 * (number % 10)}, refused=refused and number % 2 == 0,
            )
            for number, question in enumerate(questions)
        )  # fmt: skip


@pytest.fixture(autouse=True)
def desk(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Application, "encoder", WordsEncoder())
    rows = [{"id": f"q{number}", "question": text, "answers": ["yes"]} for number, text in enumerate(CATS)]
    domain.lines("questions.jsonl", rows)
    domain.configure(serve={"log_questions": True})


def test_what_moved_is_told_with_the_questions_to_begin_with(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(domain.folder)
    keep(domain, CATS, 20, dense=0.7)
    keep(domain, TAXES, 1, dense=0.2, refused=True)
    values = ragft("drift", "--json", "-c", domain.config).values
    assert [one["do"] for one in values["advice"]][:2] == ["documents", "questions"]
    moved = {(one["what"], one["against"]) for one in values["compared"] if one["moved"]}
    assert moved >= {("questions", "evaluation"), *((what, "before") for what in ("questions", "retrieval", "refused"))}
    assert {one["question"] for one in values["far"]} <= set(TAXES) and values["far"][0]["count"] >= 1
    refused = {question for number, question in enumerate(TAXES) if number % 2 == 0}
    assert {one["question"] for one in values["advice"][0]["begin"]} <= refused
    assert any("no evaluated answers of hybrid" in note for note in values["notes"])
    for words in SHOWN:
        told = ragft(*words[1:], "-c", domain.config)
        assert told.status == ("--fail-on-drift" in words), told.err
        assert all(text in told.out for text in ("Documents are missing or stale", "taxed in"))
        if "--json" in words:
            continue
        assert "25 questions of 25 users or conversations in the last" in told.out
        assert "refused *" in told.out
    assert len(SHOWN) >= 2


def test_what_stayed_is_told_and_fails_nothing(ragft: Ragft, domain: Domain) -> None:
    keep(domain, CATS, 20, dense=0.7)
    keep(domain, CATS[::-1], 1, dense=0.7)
    told = ragft("drift", "--fail-on-drift", "-c", domain.config)
    assert told.status == 0, told.err
    assert "Nothing has moved." in told.out


def test_too_few_questions_say_so_and_another_encoders_scores_are_not_compared(ragft: Ragft, domain: Domain) -> None:
    assert "There are too few questions to tell: 0 users" in ragft("drift", "-c", domain.config).out
    keep(domain, CATS[:5], 1, dense=0.7)
    told = ragft("drift", "--fail-on-drift", "-c", domain.config)
    assert told.status == 0 and "5 users or conversations" in told.out and "20 are needed" in told.out
    keep(domain, CATS, 20, dense=0.7)
    keep(domain, CATS, 2, dense=0.1, encoder="another")
    values = ragft("drift", "--json", "-c", domain.config).values
    assert "questions" in {one["what"] for one in values["compared"]}
    assert "retrieval" not in {one["what"] for one in values["compared"]}
