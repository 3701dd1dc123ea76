"""What a person sees while a command works: progress bars on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Advance = Callable[[int, int, str], None]
"""Called with (done, total, note)."""

PLAIN_SECONDS = 15.0  # between two plain lines of progress where there is no terminal


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 document`, `3 documents`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """What says a sentence the first time, and not again."""
    said: set[str] = set()

    def say_once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    return say_once


def some(items: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many more there are: `a, b, c and 4 more`."""
    listed = list(items)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """A time as people say it: `about 40 s`, `about 3 minutes`, `about 5 days`."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours" if seconds < 172_800 else f"about {seconds / 86_400:.0f} days"


class Reporter:
    """Says what happens. Progress and remarks go to stderr, results to stdout, so that pipes get results alone."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """A remark on what begins or was found."""
        self.err.print(line, markup=False, soft_wrap=True)

    def result(self, values: dict[str, Any], *shown: RenderableType | str) -> None:
        """What the command was called for: `values` with --json, else what is shown."""
        if self.as_json:
            sys.stdout.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()  # a command that goes on watching is read line by line
            return
        for item in shown:
            flowing = isinstance(item, str | Text)
            self.out.print(item, markup=False, soft_wrap=True) if flowing else self.out.print(item)

    def findings(self, found: Findings) -> None:
        """What a check found. Ends the command with status 1 where there are errors."""
        self.result(found.to_json(), found.table(), found.summary())
        if found.errors:
            raise SystemExit(1)

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """A bar with count, time and time left; one plain line now and then where stderr is no terminal."""
        if not self.err.is_terminal:
            yield self._plain(title)
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        # Over ten minutes, because one step of training can take longer than the half minute that is the default.
        with Progress(*columns, console=self.err, speed_estimate_period=600) as bars:
            task = bars.add_task(title, total=None, note="")

            def advance(done: int, total: int, note: str = "") -> None:
                bars.update(task, completed=done, total=total, note=note)

            yield advance

    @contextmanager
    def phases(self) -> Iterator[Callable[[str], Advance]]:
        """Progress of work in several phases: what each is called gives its own bar, which ends that of the last."""
        with ExitStack() as stack:
            title = ""
            advance: Advance | None = None

            def phase(named: str) -> Advance:
                nonlocal title, advance
                if advance is None or named != title:
                    stack.close()
                    title, advance = named, stack.enter_context(self.progress(named))
                return advance

            yield phase

    def _plain(self, title: str) -> Advance:
        begin = last = time.monotonic()
        first: tuple[int, float] | None = None

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal last, first
            now = time.monotonic()
            # What was done before, by a run that is resumed, took none of this time.
            first = first or (done, now)
            if done < total and now - last < PLAIN_SECONDS:
                return
            last = now
            counted_since = done - first[0]
            left = f", {duration((now - first[1]) * (total - done) / counted_since)} left" if counted_since else ""
            self.say(f"{title}: {done}/{total} {note} {now - begin:.0f} s{left}".replace("  ", " "))

        return advance


class Silent(Reporter):
    """Says nothing: for work whose results are told elsewhere."""

    def say(self, line: str) -> None: ...

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        def advance(done: int, total: int, note: str = "") -> None: ...

        yield advance


def prepare_process() -> None:
    """Sets what libraries read from the environment when they are imported; called before any heavy import.

    Other libraries' progress bars and greetings are kept off the terminal: ours tell what is going on. OpenMP threads
    sleep while they wait: spinning ones, the default, slow two cores down tenfold as soon as anything else runs. oneDNN
    keeps the kernels of so many shapes: of the 1,024 that are its default, training on rows of ever other lengths fills
    gigabytes, and with much fewer than 256 they are made again in every step (see benchmarks/RESULTS.md).
    """
    wanted = {"OMP_WAIT_POLICY": "passive", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "TRANSFORMERS_VERBOSITY": "error"}
    wanted |= dict.fromkeys(("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "TQDM_DISABLE"), "1")
    for name, value in {**wanted, "TOKENIZERS_PARALLELISM": "false"}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


State = Literal["ok", "note", "warning", "error"]
_STYLE = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: State
    what: str
    detail: str


@dataclass
class Findings:
    """All that a check found."""

    rows: list[Finding] = field(default_factory=list)

    def add(self, state: State, what: str, detail: str) -> None:
        self.rows.append(Finding(state, what, detail))

    @property
    def errors(self) -> list[Finding]:
        """What must be corrected before going on."""
        return [row for row in self.rows if row.state == "error"]

    def to_json(self) -> dict[str, Any]:
        return {"findings": [asdict(row) for row in self.rows], "errors": len(self.errors)}

    def table(self) -> Table:
        table = Table("", "", show_header=False, box=None, padding=(0, 1))
        table.add_column(overflow="fold")  # a path without its end would be worthless
        for row in self.rows:
            table.add_row(Text(row.state, style=_STYLE[row.state]), row.what, row.detail)
        return table

    def summary(self) -> str:
        """One line that counts."""
        warnings = counted(sum(row.state == "warning" for row in self.rows), "warning")
        if self.errors:
            return f"{counted(len(self.errors), 'error')} and {warnings}: correct the errors first."
        return f"No errors, {warnings}."
