"""Decisions are only added, are on disk when they are acknowledged, and stay with the content they were made about."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import PYTHONPATH
from support.reviews import ROWS, reviewing, say, write_rows

from ragft.database import DatabaseFault
from ragft.errors import UsageError
from ragft.review.decisions import Decision, ReviewStore

WRITER = """
import sys
from pathlib import Path
from ragft.review.decisions import Decision, ReviewStore

store = ReviewStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    store.add([Decision(reviewer="me", row=str(number), name="", verdict="reject", reason="long " * 500)])
    print(number, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "examples.jsonl")


def test_the_newest_decision_of_each_reviewer_counts_and_undo_brings_the_one_before_back(file: Path) -> None:
    with reviewing(file) as (review, _):
        say(review, "Anna", 0, "accept")
        say(review, "Ben", 0, "accept")
        say(review, "Anna", 0, "reject", reason="The price is old.")
        assert {name: one.verdict for name, one in review.standings()[0].said.items()} == {
            "Anna": "reject", "Ben": "accept"
        }  # fmt: skip
        undone = review.store.undo("Anna")
        assert undone is not None and undone.reason == "The price is old."
        assert review.standings()[0].said["Anna"].verdict == "accept"
        assert review.store.undo("Anna") is not None and list(review.standings()[0].said) == ["Ben"]
        assert review.store.undo("Anna") is None
    with reviewing(file) as (review, _):
        assert list(review.standings()[0].said) == ["Ben"]


def test_a_row_that_was_edited_since_is_undecided_with_the_earlier_decision_noted(file: Path) -> None:
    with reviewing(file) as (review, _):
        for place in range(3):
            say(review, "Anna", place, "accept")
    # One is edited, a line is inserted before all, one goes, and the order of fields changes.
    first = {**ROWS[0], "answer": "13 euros [1]"}
    third = dict(reversed(list(ROWS[2].items())))
    write_rows(file, [{"question": "New?", "answer": "Yes."}, first, third])
    with reviewing(file) as (review, _):
        new, edited, moved = review.standings()
        assert (new.said, new.earlier, edited.said) == ({}, [], {})
        assert [one.verdict for one in edited.earlier] == ["accept"]
        assert moved.said["Anna"].verdict == "accept" and review.gone == 1
    write_rows(file)
    with reviewing(file) as (review, _):
        assert [len(one.said) for one in review.standings()] == [1, 1, 1, 0] and review.gone == 0


def test_decisions_cannot_be_changed_or_deleted(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "a.sqlite") as store:
        store.add([Decision(reviewer="me", row="r", name="", verdict="accept")])
        for statement in ("UPDATE decision SET verdict = 'reject'", "DELETE FROM decision"):
            with pytest.raises(DatabaseFault, match="only added"), store.writing() as file:
                file.execute(statement)
        assert [one.verdict for one in store.decisions()] == ["accept"]


def test_what_is_no_decision_is_refused_in_a_sentence(file: Path) -> None:
    with reviewing(file) as (review, _):
        for place, verdict, more, told in (
            (0, "reject", {"reason": " "}, "line 1: it is rejected without a reason"),
            (0, "edit", {"fields": {"answer": "12 euros [1] "}}, "nothing in it was changed"),
            (0, "accept", {"fields": {"answer": "13"}}, "'answer' was changed"),
            (0, "edit", {"fields": {"price": "13"}}, "no field 'price'"),
            (0, "edit", {"fields": {"answer": "13 euros [2]"}}, "cites \\[2\\]"),
            (0, "edit", {"fields": {"question": " "}}, "is empty"),
        ):
            with pytest.raises(UsageError, match=told):
                say(review, "Anna", place, verdict, **more)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="edited since"):
            review.item("0" * 32)
        assert list(review.store.decisions()) == []


def test_two_reviewers_write_at_once(file: Path) -> None:
    with reviewing(file) as (one, _), reviewing(file) as (other, _):

        def write(name: str, review: object) -> None:
            for number in range(10):
                say(review, name, number % 4, "accept")  # type: ignore[arg-type]

        threads = [threading.Thread(target=write, args=(name, of)) for name, of in (("Anna", one), ("Ben", other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(one.store.decisions())) == 20
        assert all(set(standing.said) == {"Anna", "Ben"} for standing in one.standings())


def test_a_reviewer_who_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "a.sqlite", set[str]()
    for kill in range(2):
        arguments = [sys.executable, "-c", WRITER, str(path), str(kill * 10**6)]
        environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            acknowledged.update(line.strip() for line in itertools.islice(writer.stdout, 10 + 7 * kill))
            writer.send_signal(signal.SIGKILL)
            acknowledged.update(line.strip() for line in writer.stdout if line.endswith("\n"))
        with ReviewStore(path) as store:
            kept = [one.row for one in store.decisions()]
        assert len(kept) == len(set(kept)) and acknowledged <= set(kept)
        assert len(kept) <= len(acknowledged) + kill + 1
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()
