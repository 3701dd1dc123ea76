"""The life-cycle example in small, and `ragft` as a process: shared by these tests and `benchmarks/kill.py`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from support import ROOT
from support.commands import Ended, hear_interrupts

EXAMPLE = ROOT / "examples" / "lifecycle"
OLD, NEW = "documents-2025-06-01", "documents-2026-08-22"
SECONDS = 1500.0
"""No command of these tests takes longer, on a busy machine either."""

Row = dict[str, Any]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would change a configuration or a key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAGFT__", "RAGFT_API_KEY"))}
    return {**kept, **extra}


def start(*arguments: object, cwd: Path, **extra: str) -> subprocess.Popen[str]:
    """`ragft ARGUMENTS` as the leader of a process group of its own, in the session of the tests.

    Linux shares a processor between sessions (autogroups), and its kernel 6.18 can leave a session without any of a
    core that another one keeps busy: `import torch`, which binds itself to each core in turn, then never ends.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "ragft", *map(str, arguments)],
        cwd=cwd, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        process_group=0, preexec_fn=hear_interrupts,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = SECONDS) -> Ended:
    """Waits for the end; what takes longer is killed with all its processes, and a failure."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise
    return Ended(process.returncode, out, err)


def ragft(*arguments: object, cwd: Path, **extra: str) -> Ended:
    """Runs `ragft ARGUMENTS` and tells how it ended."""
    return finish(start(*arguments, cwd=cwd, **extra))


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process and to all those of its group, as if the machine went down."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Waits for a condition; fails where it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Small:
    """A few products of the life-cycle desk, with the configuration of the whole.

    Attributes:
        added: a page that only the new documents have.
        removed: a page that only the old ones have.
    """

    folder: Path
    added: str
    removed: str

    @property
    def config(self) -> Path:
        return self.folder / "ragft.yaml"

    @property
    def workspace(self) -> Path:
        return self.folder / "out"

    def rows(self, name: str) -> list[Row]:
        """The lines of `examples.jsonl` or `questions.jsonl`."""
        return read_lines(self.folder / name)

    def copy_to(self, folder: Path) -> Small:
        """The same inputs in another folder, without what was made of them."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(self.workspace.name))
        return replace(self, folder=folder)

    def ragft(self, *arguments: object, **extra: str) -> Ended:
        return ragft(*arguments, "-c", self.config, cwd=self.folder, **extra)


def make_small(
    folder: Path, *, products: int, examples: int, questions: int, settings: Mapping[str, Any] | None = None
) -> Small:
    """Makes a small desk: its examples are about the first `products` products, its questions about as many others.

    Args:
        settings: configuration keys, as in `--set`, that differ from `configs/lifecycle.yaml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taught, asked = (read_lines(EXAMPLE / name) for name in ("examples.jsonl", "questions.jsonl"))
    taught_pages, asked_pages = _pages(taught), _pages(asked)
    kept = {*taught_pages[:products], *asked_pages[:products]}
    removed, added = taught_pages[products : products + 2]
    for day, names in ((OLD, kept | {removed}), (NEW, kept | {added})):
        (folder / day).mkdir()
        for name in names:
            (folder / day / name).write_bytes((EXAMPLE / day / name).read_bytes())
    write_lines(folder / "examples.jsonl", _about(taught, kept, examples))
    # Changed facts first: they are what a refresh is for.
    changed_first = sorted(asked, key=lambda row: "changed" not in row["tags"])
    write_lines(folder / "questions.jsonl", _about(changed_first, kept, questions))

    config = yaml.safe_load((ROOT / "configs" / "lifecycle.yaml").read_text(encoding="utf-8"))
    own = {
        "workspace": "out",
        "index.documents.folder": NEW,
        "data.documents": OLD,
        "data.examples": "examples.jsonl",
        "data.questions": "questions.jsonl",
        "finetune.method": "qlora",  # the default, whose merge has more to prove
    }
    for key, value in {**own, **(settings or {})}.items():
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    (folder / "ragft.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return Small(folder, added, removed)


# A model of nine steps has no form that a merge could lose, and nothing to say at length.
BUILT = {
    "data.mix.repeats": 1,
    "finetune.batch_size": 4,
    "data.split.validation_share": 0.15,
    "merge.prompts": 4,
    "merge.max_format_loss": 1.0,
    "engine.max_tokens": 32,
    "engine.kv_cache_mib": 128,
    "evaluate.resamples": 200,
    "serve.port": 0,
}

# Index, data and adapter in one command: five steps, a checkpoint after each of them, and no early end.
TRAINED = {
    "index.documents.folder": OLD,
    "data.documents": None,
    "data.mix.passages": 2,
    "data.mix.repeats": 1,
    "data.split.validation_share": 0.2,
    "finetune.batch_size": 2,
    "finetune.eval_count": 5,
    "finetune.patience": 9,
}


def make_trained(folder: Path) -> Small:
    """A still smaller desk, of which `ragft finetune` makes everything up to the adapter."""
    return make_small(folder, products=3, examples=12, questions=4, settings=TRAINED)


@dataclass(frozen=True)
class Built:
    """The small desk after `ragft run`, which ended as `run` says."""

    small: Small
    run: Ended

    @property
    def workspace(self) -> Path:
        return self.small.workspace


@dataclass(frozen=True)
class Undisturbed:
    """The still smaller desk after a `ragft finetune` that took so many seconds."""

    small: Small
    seconds: float


@dataclass
class Server:
    """`ragft serve` in a process of its own; `lines` are what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Keeps what the server says, until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def url(self) -> str:
        (line,) = [line for line in self.lines if line.startswith("Listening on ")]
        return line.split()[2].rstrip(",")


def _pages(rows: Iterable[Row]) -> list[str]:
    """The pages that rows are about, those with the least text first: they are quick to encode and to read."""
    names = {source.partition("#")[0] for row in rows for source in row["sources"]}
    return sorted(names, key=lambda name: ((EXAMPLE / NEW / name).stat().st_size, name))


def _about(rows: Sequence[Row], pages: set[str], count: int) -> list[Row]:
    """`count` rows about these pages, one in eight of them a question that no page answers."""
    fitting = [row for row in rows if {source.partition("#")[0] for source in row["sources"]} <= pages]
    refused = [row for row in fitting if not row["sources"]][: count // 8]
    chosen = [row for row in fitting if row["sources"]][: count - len(refused)] + refused
    assert len(chosen) == count
    return chosen


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def files_in(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with its inode, size and time of change; locks left out."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "LOCK"
    }
