"""Votes: one of each caller for the same answers, kept and deleted as feedback is, and what they say of setups."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ragft.feedback.database import FILE
from ragft.feedback.preferences import preference_lines, preferences
from ragft.feedback.store import Answered, FeedbackStore, Said
from ragft.feedback.votes import Ballot, Shown, Vote

HYBRID = Shown(answer_id="a", setup="hybrid", model_version="m1", index_version="i1", answer="At nine [1].")
TUNED = Shown(answer_id="b", setup="fine-tuned", model_version="m1", answer="At eight.")
RAG = Shown(answer_id="c", setup="rag-only", model_version="m0", index_version="i1")
BALLOT = Ballot(
    shown=(TUNED, HYBRID), choice=2, blind=True, question="When?", history=({"role": "user", "content": "Hello"},),
    comment="It says where.",
)  # fmt: skip


def test_a_vote_is_kept_with_what_was_shown_where(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        kept, replaced = store.vote(BALLOT, "me")
        assert not replaced and kept.best == HYBRID and kept.caller == "me"
    with FeedbackStore(tmp_path) as store:
        assert list(store.votes()) == [kept] and list(store.votes(caller="you")) == []
        # The same answers in another order: the last word counts.
        turned = replace(BALLOT, shown=(HYBRID, TUNED), choice="tie", comment=None)
        again, replaced = store.vote(turned, "me")
        assert replaced and again.id == kept.id and list(store.votes()) == [again] and again.best is None
        assert not store.vote(turned, "you")[1] and not store.vote(replace(turned, shown=(HYBRID, RAG)), "me")[1]


def test_votes_are_deleted_with_what_their_caller_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeedbackStore(tmp_path) as store:
        store.add(Answered(answer_id="a", setup="hybrid", model_version="m"), "me", Said(thumb="good"))
        store.vote(BALLOT, "me")
        store.vote(BALLOT, "you")
        assert sum(store.delete("me").values()) == 2 and [one.caller for one in store.votes()] == ["you"]
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 2.5 * 86400)
    with FeedbackStore(tmp_path, days=2) as store:
        assert list(store.votes()) == []
    assert not any(b"It says where." in file.read_bytes() for file in tmp_path.iterdir())


def test_a_database_from_before_votes_gets_them_and_keeps_its_feedback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragft.feedback import database as module

    with monkeypatch.context() as before:
        before.setattr(module, "MIGRATIONS", module.MIGRATIONS[:4])
        before.setattr(module, "TABLES", ("feedback", "asked"))
        with FeedbackStore(tmp_path) as store:
            kept, _ = store.add(Answered(answer_id="a", setup="hybrid", model_version="m"), "me", Said(thumb="good"))
    with FeedbackStore(tmp_path) as store:
        assert list(store.each()) == [kept] and list(store.votes()) == []
        store.vote(BALLOT, "me")
    assert (tmp_path / FILE).exists()


def votes(*given: tuple[tuple[Shown, ...], int | str], blind: bool = True) -> list[Vote]:
    return [
        Vote(shown=shown, choice=choice, blind=blind, id=str(number), time=0.0, caller=f"c{number % 2}")  # type: ignore[arg-type]
        for number, (shown, choice) in enumerate(given)
    ]


def test_the_chosen_one_wins_against_each_other_and_these_are_not_compared() -> None:
    told = preferences(votes(((TUNED, HYBRID, RAG), 2), ((RAG, TUNED, HYBRID), "none")), seed=1)
    assert {(one.a, one.b): (one.wins, one.ties, one.losses) for one in told.pairs} == {
        ("hybrid", "fine-tuned"): (1, 0, 0), ("hybrid", "rag-only"): (1, 0, 0),
    }  # fmt: skip
    assert (told.votes, told.none, told.callers, told.first.n) == (2, 1, 2, 0)


def test_a_tie_is_half_a_win_and_the_rate_has_its_interval() -> None:
    # Worked out by hand: 6 wins, 2 ties, 2 losses of 10 are 0.7.
    given = [((TUNED, HYBRID), 2)] * 6 + [((HYBRID, TUNED), "tie")] * 2 + [((HYBRID, TUNED), 2)] * 2
    (pair,) = preferences(votes(*given), seed=1).pairs
    assert (pair.wins, pair.ties, pair.losses, pair.rate.mean) == (6, 2, 2, pytest.approx(0.7))
    assert pair.rate.low is not None and pair.rate.high is not None and pair.rate.low < 0.5 < pair.rate.high
    # Eight choices without the ties, of which 8 of 8 are for the second: a habit that is told.
    told = preferences(votes(*given), seed=1)
    assert told.first.mean == 0.0 and told.first.n == 8
    lines = list(preference_lines(told.to_json()))
    assert lines[0] == "10 votes of 2 callers." and "which does not tell them apart" in lines[1]
    assert lines[1].startswith("hybrid over fine-tuned: 70 % (") and lines[2].startswith("The first of two answers")


def test_votes_with_names_in_sight_count_only_where_that_is_wanted() -> None:
    both = [*votes(((TUNED, HYBRID), 2)), *votes(((TUNED, HYBRID), 1), blind=False)]
    told = preferences(both, seed=1)
    assert (told.votes, told.left_out, told.pairs[0].wins, told.pairs[0].losses) == (1, 1, 1, 0)
    assert "--open" in list(preference_lines(told.to_json()))[1]
    assert preferences(both, seed=1, open_ones=True).pairs[0].losses == 1


def test_two_versions_of_a_setup_are_compared_by_their_versions() -> None:
    newer = replace(HYBRID, answer_id="d", model_version="m2")
    given = votes(((newer, HYBRID), 1))
    assert preferences(given, seed=1).pairs == ()
    (pair,) = preferences(given, seed=1, by_version=True).pairs
    assert (pair.a, pair.b, pair.losses) == ("hybrid m1", "hybrid m2", 1)


def test_votes_about_one_question_are_one_cluster() -> None:
    given = votes(*[((TUNED, HYBRID), 2)] * 6)
    same = [replace(vote, question="When?") for vote in given]
    assert preferences(given, seed=1).pairs[0].rate.clusters == 6
    assert preferences(same, seed=1).pairs[0].rate.clusters == 1
