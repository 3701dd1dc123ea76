"""Files and folders that are there completely or not at all, whenever the power goes.

Knows nothing of indexes. Readers of a published name see the old content or the new, never a mixture:
content is written beside its final place, forced to disk, and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
"""Marks what is not published yet; a writer that finds such a leftover may delete it."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold the lock that a file stands for; it falls with its process, however that ends.

    Args:
        path: The file, made where it is missing; its folder must be there.
        wait: Until another holder lets go, rather than giving up.
        remove: The file when what it guarded is done; it stays after an error.

    Raises:
        BlockingIOError: another holder has it.
        OSError: the file cannot be made.
    """
    descriptor = _acquire(path, wait)
    try:
        yield
        if remove:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _names(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder before removed the file: its lock guards nothing


def _names(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def write_file(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`, atomically and durably.

    Raises:
        OSError: the disk is full, or the folder cannot be written; `path` is then as it was before.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Force the entries of a folder (names, not contents) to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a finished folder its final name, after everything in it is on disk.

    Both must lie on one file system. `final` must not exist yet, or be an empty folder.

    Raises:
        OSError: the disk is full, or `final` exists; `final` is then as it was before, and `temporary` is left
            to the caller: it may hold hours of work.
    """
    for folder, _, names in os.walk(temporary):
        for name in names:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(folder))
    temporary.replace(final)
    fsync_folder(final.parent)
