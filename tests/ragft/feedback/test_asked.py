"""Questions that were answered: kept whole, drawn with a seed, deleted when they should be."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ragft.feedback import database
from ragft.feedback.asked import Asked, AskedStore
from ragft.feedback.store import Answered, FeedbackStore, Said

ASKED = Asked(
    time=1000.0, caller="me", unit="u1", setup="hybrid", model_version="m", index_version="i", encoder="e",
    question="And on Sundays?", query="opening hours and on Sundays?", scores={"dense": 0.25, "rank": 1.5},
    refused=True, grounded="false",
)  # fmt: skip
BARE = Asked(time=2000.0, caller="you", unit="u2", setup="fine-tuned", model_version="m", question="Why?")


def test_what_is_kept_is_what_was_asked(tmp_path: Path) -> None:
    with AskedStore(tmp_path) as store:
        store.add([ASKED, BARE])
    with AskedStore(tmp_path) as store:
        assert store.sample(0, 3000, 10, 0) == ([ASKED, BARE], 2)
        assert store.sample(1000, 2000, 10, 0) == ([ASKED], 1)


def test_of_many_a_seeded_sample_is_drawn(tmp_path: Path) -> None:
    with AskedStore(tmp_path) as store:
        store.add(replace(BARE, question=str(number)) for number in range(1500))
        drawn, count = store.sample(0, 3000, 700, 1)
        assert count == 1500 and len({one.question for one in drawn}) == 700
        assert drawn == sorted(drawn, key=lambda one: int(one.question)) == store.sample(0, 3000, 700, 1)[0]
        assert drawn != store.sample(0, 3000, 700, 2)[0]


def test_a_database_without_questions_is_migrated_with_the_feedback_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = Answered(answer_id="a", setup="hybrid", model_version="m")
    with monkeypatch.context() as earlier:
        earlier.setattr(database, "MIGRATIONS", database.MIGRATIONS[:3])
        earlier.setattr(database, "TABLES", ("feedback",))
        with FeedbackStore(tmp_path) as store:
            kept, _ = store.add(answered, "me", Said(thumb="good"))
            assert store._file.execute("PRAGMA user_version").fetchone() == (3,)
    with AskedStore(tmp_path, days=30) as questions:
        questions.add([replace(ASKED, time=time.time())])
    with FeedbackStore(tmp_path) as store:
        assert list(store.each()) == [kept]
        assert store.delete("me") == {"feedback": 1, "asked": 1, "vote": 0}


def test_questions_are_deleted_after_their_days_and_with_what_their_caller_said(tmp_path: Path) -> None:
    now = time.time()
    with AskedStore(tmp_path) as store:
        store.add([replace(ASKED, time=now - 3 * 86400, question="a very old one"), replace(BARE, time=now - 86400)])
        store.add([replace(ASKED, time=now, question="a very particular one")])
    with AskedStore(tmp_path, days=2) as store:
        assert [one.caller for one in store.sample(0, now + 1, 9, 0)[0]] == ["you", "me"]
        assert not any(b"a very old one" in file.read_bytes() for file in tmp_path.iterdir())
        assert store.delete("me") == {"feedback": 0, "asked": 1, "vote": 0}
        assert not any(b"a very particular one" in file.read_bytes() for file in tmp_path.iterdir())
        assert [one.caller for one in store.sample(0, now + 1, 9, 0)[0]] == ["you"]


def test_old_questions_leave_the_file_even_if_somebody_was_reading_when_they_were_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragft.database._WRITE_TIMEOUT", 0.01)
    log = tmp_path / f"{database.FILE}-wal"
    with AskedStore(tmp_path) as store:
        store.add([replace(ASKED, question="a very old one"), replace(BARE, time=time.time())])
        reader = sqlite3.connect(tmp_path / database.FILE, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM asked").fetchone() == (2,)
        with AskedStore(tmp_path, days=30) as young:  # opens all the same
            reader.execute("ROLLBACK")
            reader.close()
            assert b"a very old one" in log.read_bytes()
            assert young.prune() == 0
            assert b"a very old one" not in log.read_bytes() + (tmp_path / database.FILE).read_bytes()
            assert young.sample(0, 1e12, 10, 0)[1] == 1
