"""The log of experiments: a line for what became of each request, in a folder of the workspace for each experiment.

    experiments/LOCK                      held by the server that writes
    experiments/<id>/experiment.json      arms and shares
    experiments/<id>/outcomes.jsonl       one `Outcome` a line

Lines are appended by one thread of one process, which forces them to disk in groups: a server that is killed loses
those of its last moment, and the beginning of a line that it leaves behind is cut off by the next one. No line holds a
question, an answer or a name.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from index.durable import fsync_folder, locked, write_file
from ragft.background import GroupWriter
from ragft.errors import UsageError
from ragft.traffic.experiment import Experiment

log = logging.getLogger("ragft.traffic")

_HEADER, _LINES, _LOCK = "experiment.json", "outcomes.jsonl", "LOCK"


class Outcome(msgspec.Struct, omit_defaults=True):
    """What became of one request.

    Attributes:
        time: when it arrived, in seconds since the epoch.
        id: shared by the lines of an answer that was shown and of the shadows beside it.
        request_id: as the client knows it; what a user says of an answer is found by it.
        unit: see `ragft.traffic.experiment.Unit`.
        shadow: whether nobody saw the answer.
        status: HTTP status; 499: the client was gone before the end.
        interrupted: whether the answer failed after it had begun.
        first_token, seconds: since the arrival, to the first token and to the end; None where not known.
        grounded: `true`, `false` or `unsure`, see `serve.grounding`; None where there was nothing to look up.
        format_valid, refused: None where there is no answer, or no format is declared.
    """

    time: float
    id: str
    request_id: str
    unit: str
    arm: str
    status: int
    seconds: float | None = None
    first_token: float | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0
    refused: bool | None = None
    grounded: str | None = None
    format_valid: bool | None = None
    shadow: bool = False
    interrupted: bool = False
    index_version: str | None = None

    @property
    def failed(self) -> bool:
        """Whether whoever asked got an error, or an answer that broke off."""
        return self.interrupted or (self.status >= 400 and not self.abandoned)

    @property
    def abandoned(self) -> bool:
        """Whether the client was gone before the end."""
        return self.status == 499


Told = Callable[[], Outcome]
"""Makes an outcome of what is known of a request; called in the thread that writes, so that no answer waits for it."""


class Recorder:
    """The one writer of the experiments of a workspace.

    Attributes:
        lost: outcomes that were not recorded: the disk or the log was full, or the outcome could not be told.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """
        Args:
            root: folder of the experiments, made if it is missing.
            max_bytes: of the lines of one experiment.

        Raises:
            UsageError: another process writes there, or the folder cannot be written.
        """
        self.lost = 0
        self._root, self._max_bytes = root, max_bytes
        self._held = contextlib.ExitStack()
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(root / _LOCK))
        except BlockingIOError:
            raise UsageError(
                f"Another server records the experiments in {root}: stop it, or give this one another workspace, or "
                "leave serve.split.arms out."
            ) from None
        except OSError as error:
            raise UsageError(f"The outcomes of serve.split cannot be recorded in {root}: {error}.") from None
        self._files: dict[str, _File] = {}
        self._writer: GroupWriter[tuple[Experiment, Told]] = GroupWriter(self._write, "ragft-outcomes")

    def record(self, experiment: Experiment, told: Told) -> None:
        """Appends an outcome soon; returns at once."""
        self._writer.put((experiment, told))

    def flush(self) -> None:
        """Returns when all that was recorded so far is on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left, and lets another process write."""
        self._writer.close()
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._held.close()

    def _write(self, group: list[tuple[Experiment, Told]]) -> None:
        lines: dict[str, tuple[Experiment, list[bytes]]] = {}
        for experiment, told in group:
            lines.setdefault(experiment.id, (experiment, []))[1].extend(self._line(told))
        for experiment, new in lines.values():
            self._append(experiment, new)

    def _line(self, told: Told) -> list[bytes]:
        try:
            return [msgspec.json.encode(told()) + b"\n"]
        except Exception:
            self.lost += 1
            log.exception("an outcome of an experiment is not recorded")
            return []

    def _append(self, experiment: Experiment, lines: list[bytes]) -> None:
        try:
            file = self._files.get(experiment.id)
            if file is None:
                file = self._files[experiment.id] = _File(self._root / experiment.id, experiment)
            self.lost += file.append(lines, self._max_bytes)
        except OSError as error:
            self.lost += len(lines)
            log.error("outcomes of experiment %s are not recorded: %s", experiment.id, error)


class _File:
    """The lines of one experiment."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        folder.mkdir(exist_ok=True)
        header = folder / _HEADER
        if header.is_file():
            # When it began stays; how it is read may have changed.
            began = msgspec.json.decode(header.read_bytes(), type=Experiment).began
            experiment = msgspec.structs.replace(experiment, began=began)
        write_file(header, msgspec.json.format(msgspec.json.encode(experiment)) + b"\n")
        self._descriptor = os.open(folder / _LINES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = _whole(self._descriptor)
        os.ftruncate(self._descriptor, self._size)
        fsync_folder(folder)
        fsync_folder(folder.parent)
        self._full = False
        self._id = experiment.id

    def append(self, lines: list[bytes], max_bytes: int) -> int:
        """Writes lines and forces them to disk; returns how many had no room.

        Raises:
            OSError: none of them was written.
        """
        kept, size = [], self._size
        for line in lines:
            if size + len(line) > max_bytes:
                break
            kept.append(line)
            size += len(line)
        if len(kept) < len(lines) and not self._full:
            self._full = True
            log.warning("experiment %s has reached serve.split.max_mib: nothing more is recorded of it", self._id)
        data = b"".join(kept)
        try:
            if os.pwrite(self._descriptor, data, self._size) != len(data):
                raise OSError("the disk took only a part of them")
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size = size
        return len(lines) - len(kept)

    def close(self) -> None:
        os.close(self._descriptor)


def _whole(descriptor: int) -> int:
    """Bytes of a file up to the end of its last whole line."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        begin = max(0, end - 65_536)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def experiments(root: Path) -> list[Experiment]:
    """The experiments of a workspace, the one that was recorded last first."""
    found = []
    for header in root.glob(f"*/{_HEADER}"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            lines = header.with_name(_LINES)
            when = lines.stat().st_mtime if lines.is_file() else 0.0
            found.append((when, msgspec.json.decode(header.read_bytes(), type=Experiment)))
    return [experiment for _, experiment in sorted(found, key=lambda item: (item[0], item[1].began), reverse=True)]


def read_outcomes(root: Path, experiment: str) -> tuple[list[Outcome], int]:
    """The outcomes of an experiment in the order of their lines, and how many lines cannot be read.

    The last line may be being written at the moment; where it has no end it does not count.
    """
    path = root / experiment / _LINES
    decode = msgspec.json.Decoder(Outcome).decode
    outcomes, damaged = [], 0
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    outcomes.append(decode(line))
                except msgspec.MsgspecError:
                    damaged += 1
    return outcomes, damaged
