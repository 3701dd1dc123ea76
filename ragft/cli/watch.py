"""Keeps the index fresh while documents change: one refresh at a time, and one more if they changed meanwhile.

Whatever goes wrong with a refresh is said in a sentence, and the watching goes on: the index is then as it was.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from index.documents.folder import IGNORE_FILE, is_hidden
from ragft.cli.refusals import refusal
from ragft.cli.results import show_refresh
from ragft.errors import RagftError

if TYPE_CHECKING:
    from index.refresh.refresh import RefreshReport
    from ragft.stages.application import Application

Changed = frozenset[str]
"""Names of the files and folders below the documents' that changed since the last look; empty if none did."""

EVERYTHING: Changed = frozenset([""])
"""The folder itself: what changed in it is not known."""

_MOST_NAMES = 1000
"""More names than this are not told one by one: the system may have dropped some, and looking at all costs no more."""

States = dict[str, tuple[int, ...]]
"""Inode, mode, size and time of the last change of files and folders, by path."""
_GONE = (0, 0)

_LOOK_SECONDS = 0.5  # between two looks whether the folder is still the same one
# A refresh begins when nothing has changed for the one, or when changes have gone on for the other.
_QUIET_MS, _PATIENCE_MS = 300, 5000
# A refresh that failed is tried again without a change: a disk may have been freed. The pause doubles each time.
_RETRY_SECONDS, _MAX_RETRY_SECONDS = 60.0, 3600.0


def keep_fresh(app: Application, refresh: Callable[[Changed], RefreshReport], poll: float | None) -> None:
    """Refreshes now and whenever documents change, until SIGINT (Ctrl-C) or SIGTERM.

    Args:
        refresh: brings the live index up to date with what changed.
        poll: seconds between two looks at the folder; None: the operating system reports changes.

    Raises:
        RagftError: the folder cannot be watched.
    """
    folder = app.config.index.documents.folder
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app.encoder  # noqa: B018  (loaded once, for all refreshes)
        app.reporter.say(f"Watching {folder}; Ctrl-C ends it")
        changes = folder_changes(folder) if poll is None else polled_changes(folder, poll)
        follow(changes, app, refresh)
    except KeyboardInterrupt:
        app.reporter.say(f"Stopped watching {folder}; the index is as the last finished refresh left it.")


def follow(changes: Iterator[Changed], app: Application, refresh: Callable[[Changed], RefreshReport]) -> None:
    """Refreshes at every change, and after a failure once in a while; says what had an effect, and each fault once.

    After a failure the whole folder is looked at, because what changed before it is not in the index either.
    """
    from ragft.stages.refresh_report import held_sentence

    first, fault, pause, retry_at = True, "", _RETRY_SECONDS, math.inf
    for changed in changes:
        if not changed and time.monotonic() < retry_at:
            continue
        before = fault
        try:
            report = refresh(EVERYTHING if fault else changed)
        except Exception as error:
            fault = (
                refusal(error)[1] or f"The refresh failed ({type(error).__name__}: {error}); the index is as it was."
            )
            if fault != before:
                app.reporter.say(fault)
        else:
            fault = held_sentence(report) if report.held else ""
            if first or report.published or fault != before:
                show_refresh(app, report)
            first = False
        pause = _RETRY_SECONDS if changed else min(2 * pause, _MAX_RETRY_SECONDS)
        retry_at = time.monotonic() + pause if fault else math.inf


def folder_changes(folder: Path) -> Iterator[Changed]:
    """Tells some times a second what changed below a folder, as the operating system reports it.

    The first value is `EVERYTHING`, and so is the first one after the folder was made, removed or replaced by another.
    Changes are kept while the caller is busy.

    Raises:
        RagftError: the operating system cannot watch the folder.
    """
    from watchfiles import watch

    while True:
        held = _opened(folder)
        if held is None:
            yield EVERYTHING
            while (held := _opened(folder)) is None:
                time.sleep(_LOOK_SECONDS)
                yield frozenset()
        try:
            pending = True
            for batch in watch(
                folder, watch_filter=None, debounce=_PATIENCE_MS, step=_QUIET_MS, yield_on_timeout=True,
                rust_timeout=int(1000 * _LOOK_SECONDS), ignore_permission_denied=True,
            ):  # fmt: skip
                if not _is_still(folder, held):
                    break
                yield EVERYTHING if pending else _told(folder, (path for _, path in batch))
                pending = False
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RagftError(
                f"Changes below {folder} cannot be watched ({error}): look for them with `--poll SECONDS`, or raise "
                "the system's limit (fs.inotify.max_user_watches)."
            ) from error
        finally:
            os.close(held)


def _told(folder: Path, paths: Iterable[str]) -> Changed:
    """What a refresh is to be told of changed paths: neither hidden files, which are no documents, nor too many.

    Where there are links, any path may be what one of them leads to.
    """
    paths = list(paths)
    if paths and _has_links(folder):
        return EVERYTHING
    bases = [os.path.abspath(folder), os.path.realpath(folder)]  # noqa: PTH100, one is what the system reports
    names: set[str] = set()
    for path in paths:
        base = next((base for base in bases if path == base or path.startswith(base + os.sep)), None)
        name = None if base is None else path[len(base) + 1 :]
        if not name or name == IGNORE_FILE or len(names) == _MOST_NAMES:
            return EVERYTHING
        if not is_hidden(name) or "meta" in name.lower():
            names.add(name)
    return frozenset(names)


def _has_links(folder: Path) -> bool:
    """Whether there is a link below a folder, as in one that Kubernetes mounts; hidden ones count."""
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return False


def _opened(folder: Path) -> int | None:
    """A descriptor of the folder, None if there is none to read; while it is open, no other gets its inode number."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None


def _is_still(folder: Path, held: int) -> bool:
    """Whether the folder of this name is the one that was opened."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(held))
    except OSError:
        return False


def polled_changes(folder: Path, seconds: float) -> Iterator[Changed]:
    """Tells every so many seconds what is other below a folder than the last time; at first `EVERYTHING`."""
    seen = None
    while True:
        now = _states(folder)
        yield EVERYTHING if seen is None else _told(folder, _changed(seen, now))
        seen = now
        time.sleep(seconds)


def _changed(seen: States, now: States) -> set[str]:
    """The paths whose states differ, without the folders that differ only because what is in them does."""
    changed = {path for path in seen.keys() | now.keys() if seen.get(path) != now.get(path)}
    containing = {os.path.dirname(path) for path in changed}  # noqa: PTH120
    return {
        path for path in changed
        if path not in containing or seen.get(path, _GONE)[:2] != now.get(path, _GONE)[:2]
    }  # fmt: skip


def _states(folder: Path) -> States:
    """The state of each file below a folder, of the folders in it and of itself, by path."""
    states: States = {}
    for parent, _, names in os.walk(os.path.abspath(folder)):  # noqa: PTH100
        for path in (parent, *(f"{parent}/{name}" for name in names)):
            with suppress(OSError):
                found = os.stat(path)  # noqa: PTH116
                states[path] = (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns)
    return states
