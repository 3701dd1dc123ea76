"""`ragft index refresh --watch`: what changes is indexed, and whatever goes wrong, the watching goes on."""

from __future__ import annotations

import errno
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended, hear_interrupts
from support.domains import Domain, Quiet

from index.errors import IndexBusy
from index.refresh.gate import Verdict
from index.refresh.planning import RefreshPlan
from index.refresh.refresh import RefreshReport
from ragft.cli import watch
from ragft.config import Config
from ragft.errors import RagftError
from ragft.stages.application import Application

Ragft = Callable[..., Ended]
LEXICAL = {
    "search": {"mode": "lexical", "top_k": 2},
    "refresh": {"allow_removal": 0.5, "gate": {"questions": "golden.jsonl"}},
}
A, B = frozenset(["a.md"]), frozenset(["b.md"])
NOTHING: watch.Changed = frozenset()
SECONDS = 300.0
"""Nothing that is waited for takes longer, on a busy machine either."""


def report(published: bool = True, held: bool = False) -> RefreshReport:
    verdict = Verdict(not held, "Lost.") if held else None
    return RefreshReport("0" * 16, published, RefreshPlan((), (), (), 0, 0, 0), (), {}, verdict=verdict)


class Followed:
    """A watcher over outcomes that are given, one for each refresh: a report, or the error that it raises."""

    def __init__(self, tmp_path: Path, changes: Iterable[watch.Changed], *outcomes: RefreshReport | Exception) -> None:
        self.outcomes = list(outcomes)
        self.told: list[watch.Changed] = []
        self.reporter = Quiet()
        self.shown: list[dict[str, Any]] = []
        self.reporter.result = lambda values, *_: self.shown.append(values)  # type: ignore[method-assign]
        app = Application(Config(name="desk", workspace=tmp_path), self.reporter)
        watch.follow(iter(changes), app, self._refresh)

    def _refresh(self, told: watch.Changed) -> RefreshReport:
        self.told.append(told)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_each_change_is_one_refresh_and_what_has_no_effect_is_not_shown(tmp_path: Path) -> None:
    unchanged = report(published=False)
    followed = Followed(tmp_path, [watch.EVERYTHING, NOTHING, A, NOTHING, NOTHING, B], unchanged, unchanged, report())
    assert followed.told == [watch.EVERYTHING, A, B]
    assert [values["published"] for values in followed.shown] == [False, True]  # the first one is always shown


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (IndexBusy("Another process is writing the index."), "Another process is writing the index."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (RuntimeError("the encoder ran out of memory"), "RuntimeError: the encoder ran out of memory"),
        (MemoryError(), "MemoryError"),
    ],
    ids=["busy", "full disk", "encoder", "memory"],
)
def test_failed_refresh_is_said_in_a_sentence_and_the_next_change_is_followed(
    tmp_path: Path, error: Exception, sentence: str
) -> None:
    followed = Followed(tmp_path, [A, B, A, B, A], report(), error, error, report(), report())
    (said,) = followed.reporter.said  # once, however often it happens in a row
    assert sentence in said
    assert [values["published"] for values in followed.shown] == [True, True, True]
    # What changed before a failure is not in the index: everything is looked at until a refresh succeeds.
    assert followed.told == [A, B, watch.EVERYTHING, watch.EVERYTHING, A]


def test_held_snapshot_is_told_once_and_again_when_it_changed(tmp_path: Path) -> None:
    held, other = report(False, held=True), report(False, held=True)
    other = RefreshReport("1" * 16, False, other.plan, (), {}, verdict=other.verdict)
    followed = Followed(tmp_path, [A] * 4, held, held, other, report())
    assert [values["held"] for values in followed.shown] == [True, True, False]
    assert len([line for line in followed.reporter.said if "is held back" in line]) == 2


def test_failed_refresh_is_tried_again_without_a_change_at_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    times: list[float] = []

    def ticks() -> Iterator[watch.Changed]:
        nonlocal now
        yield A
        for _ in range(600):
            now += 1.0
            yield NOTHING

    full = OSError(errno.ENOSPC, "No space left on device")

    class Timed(Followed):
        def _refresh(self, told: watch.Changed) -> RefreshReport:
            times.append(now)
            return super()._refresh(told)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    followed = Timed(tmp_path, ticks(), full, full, full, report(), report())
    assert times == [0.0, 60.0, 180.0, 420.0]  # and after a success no more
    assert len(followed.shown) == 1


class Changes:
    """The values of a watcher of a folder."""

    def __init__(self, values: Iterator[watch.Changed]) -> None:
        self._values = values

    def next(self) -> watch.Changed:
        """Waits for a change."""
        deadline = time.monotonic() + SECONDS
        while not (changed := next(self._values)):
            assert time.monotonic() < deadline, "no change was seen"
        return changed

    def none(self, looks: int = 3) -> bool:
        """Whether nothing is seen in so many looks."""
        return not any(next(self._values) for _ in range(looks))

    def settle(self) -> watch.Changed:
        """Waits until all is seen that was done so far; returns what."""
        seen: watch.Changed = frozenset()
        while changed := frozenset[str]().union(*(next(self._values) for _ in range(3))):
            seen |= changed
        return seen


@pytest.fixture(params=["events", "polled"])
def changes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Changes:
    folder = tmp_path / "documents"
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(watch, "_QUIET_MS", 50)
    return Changes(watch.folder_changes(folder) if request.param == "events" else watch.polled_changes(folder, 0.05))


@pytest.mark.medium
def test_folder_is_told_once_at_first_and_then_when_something_below_it_changes(
    changes: Changes, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.md").write_text("a")
    changes.next()
    changes.settle()
    for change, names in (
        (lambda: (folder / "a.md").write_text("other"), {"a.md"}),
        (lambda: (folder / "b.md").write_text("b"), {"b.md"}),
        (lambda: (folder / "b.md").rename(folder / "c.md"), {"b.md", "c.md"}),
        (lambda: (folder / "c.md").unlink(), {"c.md"}),
        (lambda: (folder / "below" / "deep").mkdir(parents=True), {"below"}),
        (lambda: (folder / "below" / "deep" / "d.md").write_text("d"), {"below/deep/d.md"}),
        (lambda: (folder / "below" / "deep" / "d.md").chmod(0o600), {"below/deep/d.md"}),
        (lambda: shutil.rmtree(folder / "below"), {"below", "below/deep", "below/deep/d.md"}),
        (lambda: (folder / ".ragftignore").write_text("*.txt"), watch.EVERYTHING),
    ):
        change()
        assert names <= changes.next() | changes.settle() <= {*names, "below/deep"}


@pytest.mark.medium
def test_hidden_files_are_no_change_unless_they_may_be_meant_as_side_files(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    changes.next()
    changes.settle()
    (folder / ".a.md.swp").write_text("being edited")
    assert changes.none()
    (folder / ".a.md.meta.yaml").write_text("labels: [board]")
    assert changes.next() == {".a.md.meta.yaml"}


def test_folder_with_links_is_looked_at_as_a_whole(changes: Changes, tmp_path: Path) -> None:
    """As Kubernetes mounts one: each file links through a hidden link, which is swapped."""
    folder = tmp_path / "documents"
    for version in ("1", "2"):
        (folder / f"..{version}").mkdir(parents=True)
        (folder / f"..{version}" / "pay.md").write_text(version)
    (folder / "..data").symlink_to("..1")
    (folder / "pay.md").symlink_to("..data/pay.md")
    changes.next()
    changes.settle()
    (folder / "..new").symlink_to("..2")
    (folder / "..new").replace(folder / "..data")
    assert changes.next() == watch.EVERYTHING


@pytest.mark.medium
def test_more_names_than_can_be_told_are_everything(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    changes.next()
    changes.settle()
    (tmp_path / "new").mkdir()
    for number in range(1100):
        (tmp_path / "new" / f"{number}.md").write_text("text")
    (tmp_path / "new").rename(folder / "new")
    assert changes.next() & {"", "new"}  # the system may tell of the folder alone


def test_folder_that_does_not_exist_yet_is_seen_when_it_is_made(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    changes.next()
    assert changes.none()
    folder.mkdir()
    changes.next()
    (folder / "a.md").write_text("a")
    changes.next()


@pytest.mark.medium
def test_folder_that_is_swapped_by_renaming_is_followed(changes: Changes, tmp_path: Path) -> None:
    folder, other = tmp_path / "documents", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "b.md").write_text("b")
    changes.next()
    changes.settle()
    folder.rename(tmp_path / "old")
    other.rename(folder)
    changes.next()
    changes.settle()
    (folder / "b.md").write_text("changed")
    changes.next()


@pytest.mark.medium
def test_link_to_a_folder_that_is_turned_to_another_is_followed(changes: Changes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(name)
    link = tmp_path / "documents"
    link.symlink_to("one")
    changes.next()
    changes.settle()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(link)
    changes.next()
    changes.settle()
    (tmp_path / "two" / "a.md").write_text("changed")
    changes.next()


@pytest.mark.medium
def test_folder_that_is_removed_and_made_again_at_once_is_followed(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    changes.next()
    changes.settle()
    for number in range(3):  # a file system may well give the new folder the inode of the old one
        shutil.rmtree(folder)
        folder.mkdir()
        changes.next()
        changes.settle()
        (folder / "a.md").write_text(str(number))
        changes.next()
        changes.settle()


def test_changes_while_nobody_looks_are_told_afterwards(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    changes.next()
    changes.settle()
    for number in range(20):
        (folder / f"{number}.md").write_text("text")
    changes.next()


def test_system_that_cannot_watch_any_more_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def refuse(*_: object, **__: object) -> Iterator[set[Any]]:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    with pytest.raises(RagftError, match=r"OS file watch limit reached.*--poll SECONDS"):
        next(watch.folder_changes(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--watch", "--dry-run"),
        ("--poll", "2"),
        ("--watch", "--poll", "0"),
        ("a.md", "--watch"),
        ("a.md", "--check-content"),
    ],
    ids=lambda a: " ".join(a),
)
def test_options_that_make_no_sense_together_are_refused(ragft: Ragft, domain: Domain, arguments: Any) -> None:
    assert ragft("index", "refresh", *arguments, "-c", domain.config).status == 2


class Watcher:
    """`ragft index refresh --watch --json` in a process of its own."""

    def __init__(self, domain: Domain, *arguments: str) -> None:
        command = [sys.executable, "-m", "ragft", "index", "refresh", "--watch", "--json", *arguments]
        self.process = subprocess.Popen(
            [*command, "-c", str(domain.config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": ""}, preexec_fn=hear_interrupts,
        )  # fmt: skip
        self._said: dict[str, queue.Queue[str]] = {}
        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr)):
            assert stream is not None
            self._said[name] = queue.Queue()
            threading.Thread(target=self._read, args=(stream, self._said[name]), daemon=True).start()

    @staticmethod
    def _read(stream: Iterable[str], said: queue.Queue[str]) -> None:
        for line in stream:
            said.put(line.rstrip("\n"))

    def values(self) -> dict[str, Any]:
        """What the next refresh with an effect printed."""
        return dict(json.loads(self._said["out"].get(timeout=SECONDS)))

    def hears(self, text: str) -> str:
        """Waits for a line on stderr that holds this text."""
        while text not in (line := self._said["err"].get(timeout=SECONDS)):
            assert "Traceback" not in line
        return line

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@pytest.fixture
def watcher(domain: Domain) -> Iterator[Callable[..., Watcher]]:
    started: list[Watcher] = []

    def start(*arguments: str) -> Watcher:
        started.append(Watcher(domain, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.mark.slow
def test_watching_process_follows_the_folder_through_everything_that_goes_wrong(
    domain: Domain, watcher: Callable[..., Watcher]
) -> None:
    domain.configure(index=LEXICAL)
    domain.lines("golden.jsonl", [{"question": "Do kittens purr?", "sources": ["cats.md"]}])
    process = watcher()
    assert process.values()["added"] == 3

    dogs = domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert process.values()["added"] == 1

    dogs.write_bytes(b"\x00half-written")
    process.hears("Kept the old version of dogs.md")
    dogs.write_text("# Dogs\n\nA dog barks loudly.\n")
    assert process.values()["changed"] == 1

    crowd = domain.page("crowd.md", "# Crowd\n\n" + "## Kitten\n\nDo kittens purr? They do purr.\n\n" * 3)
    held = process.values()
    assert (held["held"], held["published"]) == (True, False)
    assert "cats.md at rank 1 before" in process.hears("is held back")
    crowd.unlink()
    back = process.values()  # what is live needs no gate
    assert (back["held"], back["published"], back["unchanged"]) == (False, False, 4)

    documents = domain.folder / "documents"
    documents.rename(domain.folder / "old")
    process.hears("does not exist")
    (domain.folder / "new").mkdir()
    (domain.folder / "new" / "cats.md").write_bytes((domain.folder / "old" / "cats.md").read_bytes())
    (domain.folder / "new").rename(documents)
    process.hears("3 of 4 indexed documents are no longer in the folder")
    shutil.rmtree(documents)
    (domain.folder / "old").rename(documents)
    domain.page("emus.md", "# Emus\n\nAn emu runs.\n")
    while not (values := process.values())["published"]:  # the folder came back before the new page
        assert values["unchanged"] == 4
    assert (values["added"], values["unchanged"]) == (1, 4)

    assert process.end(signal.SIGINT) == 0
    process.hears(f"Stopped watching {documents}")


@pytest.mark.slow
def test_polling_process_follows_a_folder_and_ends_when_it_is_told_to(
    domain: Domain, watcher: Callable[..., Watcher]
) -> None:
    process = watcher("--poll", "0.2")
    assert process.values()["added"] == 3
    domain.page("dogs.md", "# Dogs\n\nA dog barks.\n")
    assert process.values()["added"] == 1
    assert process.end(signal.SIGTERM) == 0
    process.hears("Stopped watching")
