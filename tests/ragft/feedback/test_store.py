"""The database of feedback: one word of each caller about each answer, on disk when it is acknowledged."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import PYTHONPATH

from ragft.database import DatabaseFault, DatabaseFull
from ragft.errors import UsageError
from ragft.feedback import database as module
from ragft.feedback.database import FILE, check_store
from ragft.feedback.store import Answered, FeedbackStore, Said

ANSWERED = Answered(
    answer_id="chatcmpl-1", setup="hybrid", model_version="m1", index_version="i1", arm="b", experiment="e",
    question="And on Sundays?", answer="At nine.", passages=("a.md#Hours", "b.md"),
    history=({"role": "user", "content": "When?"}, {"role": "assistant", "content": "At eight."}),
)  # fmt: skip
BAD = Said(thumb="bad", reason="wrong", corrected_answer="At ten.", source="b.md", comment="See the notice.")

WRITER = """
import sys
from pathlib import Path
from ragft.feedback.store import Answered, FeedbackStore, Said

store = FeedbackStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    # Every third one is said twice.
    answered = Answered(answer_id=str(number - number % 3 // 2), setup="hybrid", model_version="m", question="q" * 3000)
    store.add(answered, "me", Said(thumb="good"))
    print(number - number % 3 // 2, flush=True)
"""


def test_what_is_kept_is_what_was_said_with_what_it_is_about(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        kept, replaced = store.add(ANSWERED, "me", BAD)
    assert not replaced and abs(kept.time - time.time()) < 60
    with FeedbackStore(tmp_path) as store:
        assert list(store.each()) == [kept] == [store.of("chatcmpl-1", "me")] == [store.get(kept.id)]
        assert store.of("chatcmpl-1", "you") is None
    assert (kept.question, kept.corrected_answer, kept.history) == ("And on Sundays?", "At ten.", ANSWERED.history)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_last_word_of_a_caller_counts_and_others_have_their_own(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        first, _ = store.add(ANSWERED, "me", BAD)
        store.add(ANSWERED, "you", BAD)
        last, replaced = store.add(ANSWERED, "me", Said(thumb="good"))
        assert replaced and last.id == first.id
        assert [(one.caller, one.thumb, one.reason) for one in store.each()] == [
            ("me", "good", None), ("you", "bad", "wrong")
        ]  # fmt: skip
        assert [one.caller for one in store.each(newest=True)] == ["you", "me"]
        assert [one.caller for one in store.each(thumb="bad")] == ["you"]


def test_what_a_caller_said_is_deleted_from_the_files_too(tmp_path: Path) -> None:
    secret = "a very particular remark"
    with FeedbackStore(tmp_path) as store:
        store.add(ANSWERED, "me", Said(thumb="bad", comment=secret))
        store.add(ANSWERED, "you", BAD)
        assert any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
        assert store.delete("me") == {"feedback": 1, "asked": 0, "vote": 0}
        assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
        assert [one.caller for one in store.each()] == ["you"]


def test_feedback_is_deleted_after_its_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeedbackStore(tmp_path) as store:
        store.add(ANSWERED, "me", BAD)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 2.5 * 86400)
        store.add(ANSWERED, "you", BAD)
        assert store.prune() == 0  # kept for ever
    with FeedbackStore(tmp_path, days=3) as store:
        assert len(list(store.each())) == 2
    with FeedbackStore(tmp_path, days=2) as store:
        assert [one.caller for one in store.each()] == ["you"]


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        store._file.execute("PRAGMA max_page_count = 30")
        kept = []
        with pytest.raises(DatabaseFull, match="no room"):
            for number in itertools.count():
                answered = Answered(answer_id=str(number), setup="hybrid", model_version="m", question="long " * 500)
                kept.append(store.add(answered, "me", BAD)[0])
        assert len(kept) > 3 and list(store.each()) == kept
        store._file.execute("PRAGMA max_page_count = 1000")
        store.add(ANSWERED, "me", BAD)


def test_a_database_of_a_newer_ragft_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    check_store(tmp_path)
    assert not (tmp_path / FILE).exists()
    FeedbackStore(tmp_path).close()
    check_store(tmp_path)
    newer = len(module.MIGRATIONS) + 1
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute(f"PRAGMA user_version = {newer}")
    file.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UsageError, match=f"version {newer}, and this ragft reads up to {newer - 1}"):
        check_store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_an_older_database_is_migrated_with_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeedbackStore(tmp_path) as store:
        kept, _ = store.add(ANSWERED, "me", BAD)
    further = "ALTER TABLE feedback ADD COLUMN further TEXT; CREATE INDEX by_further ON feedback (further);"
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, further))
    for _ in range(2):
        with FeedbackStore(tmp_path) as store:
            assert list(store.each()) == [kept]
            assert store._file.execute("PRAGMA user_version").fetchone() == (len(module.MIGRATIONS),)
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, "CREATE TABLE half (a); NONSENSE"))
    with pytest.raises(DatabaseFault, match="NONSENSE"):
        FeedbackStore(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        assert not file.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()
    file.close()


def test_a_file_that_is_no_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else" * 100)
    with pytest.raises(DatabaseFault, match="cannot be read or written"):
        FeedbackStore(tmp_path)


def test_a_database_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as store:
        store.add(ANSWERED, "me", BAD)
        for file in list(tmp_path.iterdir()):
            file.rename(tmp_path / f"old-{file.name}")
        store.add(ANSWERED, "you", BAD)
    with FeedbackStore(tmp_path) as store:
        assert [one.caller for one in store.each()] == ["you"]


def test_several_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path) as one, FeedbackStore(tmp_path) as other:

        def write(store: FeedbackStore, caller: str) -> None:
            for number in range(5):
                store.add(Answered(answer_id=str(number), setup="hybrid", model_version="m"), caller, BAD)

        threads = [
            threading.Thread(target=write, args=(store, f"{place}{copy}"))
            for copy in range(2)
            for place, store in enumerate((one, other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(one.each())) == 20


def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for kill in range(3):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(kill * 10**6)]
        environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            acknowledged.update(line.strip() for line in itertools.islice(writer.stdout, 20 + 13 * kill))
            writer.send_signal(signal.SIGKILL)
            # What it had told before it died; a last line without an end was not told.
            acknowledged.update(line.strip() for line in writer.stdout if line.endswith("\n"))
        assert writer.returncode == -signal.SIGKILL
        with FeedbackStore(tmp_path) as store:
            ids = [one.answer_id for one in store.each()]
            assert store._file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert len(ids) == len(set(ids)) and acknowledged <= set(ids)
        assert len(ids) <= len(acknowledged) + kill + 1  # of each writer at most one that it could not acknowledge
