"""The processes of an engine: their errors go to a log, so that a person gets a sentence and no traceback, and
Ctrl-C in a terminal is not for them, so that running answers can finish.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

_ERROR_LINE = re.compile(r"(?:^|\s)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)): (\S.*)$")

_WRAPPED = re.compile(r"Value error, (.*?) \[type=")


def new_log() -> Path:
    """An empty log file for the processes of one engine."""
    descriptor, name = tempfile.mkstemp(prefix=f"ragft-engine-{os.getpid()}-", suffix=".log")
    os.close(descriptor)
    return Path(name)


def sweep_logs(older_than: float = 86_400.0) -> list[Path]:
    """Deletes the logs that engines of killed programs left, and returns them.

    Args:
        older_than: seconds since the last line, so that somebody can still read why an engine did not start.
    """
    swept = []
    for path in sorted(Path(tempfile.gettempdir()).glob("ragft-engine-*-*.log")):
        owner = path.name.split("-")[2]
        with contextlib.suppress(OSError):
            if owner.isdecimal() and not _lives(int(owner)) and time.time() - path.stat().st_mtime > older_than:
                path.unlink()
                swept.append(path)
    return swept


def _lives(process: int) -> bool:
    """Whether there is a process of this id, whosever it is."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside by this thread, and by those in turn, never see SIGINT, which a terminal sends to all
    processes at once; the program that started them ends them when it is done.
    """
    # When multiprocessing starts its resource tracker it unblocks SIGINT: hence before the mask, not after it.
    resource_tracker.ensure_running()
    # A mask is inherited, and unlike an ignored signal it outlasts the handlers that they install.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


OWNER = "RAGFT_ENGINE_OWNER"
"""Environment variable with the process id of the program whose children an engine's processes are."""

_watching = threading.Event()


def watch_owner() -> None:
    """In a process of an engine: end when the process that started it is gone, however it went.

    vLLM's own processes outlive a parent that was killed, and keep their memory: one that is still starting waits five
    minutes for it. Hence this is called as soon as such a process imports `ragft`, and again by `end_with_owner` where
    the main module does not import it. Polling the parent's id needs nothing of the operating system.
    """
    if not _is_owned() or _watching.is_set():
        return
    _watching.set()
    parent = os.getppid()
    if parent == 1 != int(os.environ[OWNER]):
        os._exit(1)  # it was gone before this process could look

    def watch() -> None:
        while True:
            # Known a moment after the main module is imported; the parent may have gone, and been replaced, before.
            started_by = multiprocessing.parent_process()
            if os.getppid() != (parent if started_by is None else started_by.pid):
                os._exit(1)
            time.sleep(1.0)

    threading.Thread(target=watch, name="watch-owner", daemon=True).start()


def end_with_owner() -> None:
    """In a process of an engine: watch the owner, and end at once when it is time.

    vLLM calls this in every process that it starts (entry point `vllm.general_plugins`), and in the owner, where it
    does nothing.
    """
    if _is_owned():
        watch_owner()
        atexit.register(_leave_at_once)


def _is_owned() -> bool:
    """Whether this process is one that an engine started, and not the engine's owner."""
    owner = os.environ.get(OWNER)
    return owner is not None and int(owner) != os.getpid()


def _leave_at_once() -> None:
    """Ends this process without freeing its modules and objects one by one, which takes several seconds in each of an
    engine's processes, one after the other.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(0)


_forking = threading.local()
"""`inside`: whether this thread is in `forked_children`."""


@contextlib.contextmanager
def forked_children() -> Iterator[None]:
    """Processes that this thread forks inside are prepared as spawned ones prepare themselves: they write their errors
    to descriptor 2, and end with their owner. The files that this process has open are open in them, too.
    """
    _register()
    _forking.inside = True
    try:
        yield
    finally:
        _forking.inside = False


@functools.cache
def _register() -> None:
    os.register_at_fork(after_in_child=_in_forked_child)


def _in_forked_child() -> None:
    if not getattr(_forking, "inside", False):
        return
    _forking.inside = False
    # That of the owner may be elsewhere by now; see `stderr_of_children`.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    _watching.clear()
    watch_owner()


@contextlib.contextmanager
def stderr_of_children(log: Path) -> Iterator[None]:
    """Processes started inside inherit the log as standard error; this process goes on with its own."""
    before = sys.stderr
    keeper = os.dup(2)
    try:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            if before.fileno() == 2:
                before.flush()
                # Never closed: a logging handler that is made inside keeps hold of it.
                sys.stderr = os.fdopen(os.dup(keeper), "w", buffering=1, errors="backslashreplace")
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        yield
    finally:
        os.dup2(keeper, 2)
        os.close(keeper)
        sys.stderr = before


def cause(log: Path | None, error: BaseException) -> str:
    """The reason that an engine's processes gave, as one sentence.

    Args:
        log: what they wrote; None or unreadable: only `error` is known.
        error: what the engine raised here, which often only says that there is a reason.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    # pydantic wraps what a validator said into a page about its input.
    if wrapped := _WRAPPED.search(text):
        text = wrapped[1]
    if log is not None:
        with contextlib.suppress(OSError):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                found = _ERROR_LINE.search(line)
                # The first error is the cause; later ones are processes that saw another one end.
                if found and "initialization failed" not in line and "EngineDeadError" not in line:
                    text = f"{found[1].rpartition('.')[2]}: {found[2]}"
                    break
    return text[:400].rstrip().rstrip(".") + "."
