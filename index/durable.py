"""Writes files and folders that are complete or not there at all, even after a loss of power.

Knows nothing of indexes. Readers of a published name see the old content or the new, never a mixture: content is
written beside its final place, forced to disk, and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of what is not published yet; the next writer may delete it."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file, made if it is missing; the lock ends with its process, however that ends.

    Args:
        path: the file, in a folder that exists.
        wait: wait until the lock is free instead of failing.
        remove: delete the file at the end of the block; it stays if the block raises.

    Raises:
        BlockingIOError: somebody else holds the lock.
        OSError: the file cannot be made.
    """
    descriptor = _acquire(path, wait)
    try:
        yield
        if remove:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _acquire(path: Path, wait: bool, mode: int = 0o644) -> int:
    """The descriptor of a locked file, made with `mode` if it is missing; see `locked`."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the previous holder removed the file, so that its lock guards nothing


def write_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace the file at `path` by `data`, atomically and durably; arguments and errors as for `replacing`."""
    with replacing(path, private=private) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which replaces the one at `path`, atomically and durably, when the block ends well.

    Who writes to the same path meanwhile waits until the block has ended.

    Args:
        private: only its owner may read and write it; who owned the file before goes on to own it.

    Raises:
        OSError: the disk is full or the folder not writable; `path` is then as it was before.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    descriptor = _acquire(temporary, wait=True, mode=0o666)
    try:
        os.truncate(descriptor, 0)  # what a writer left that was killed
        with open(descriptor, "wb", closefd=False) as file:
            if private:
                os.fchmod(file.fileno(), 0o600)
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    before = path.stat()
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Force the entries of a folder to disk: names, not contents."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(temporary: Path, final: Path) -> None:
    """Rename a finished folder to `final`, missing or an empty folder so far, once everything in it is on disk.

    Raises:
        OSError: the disk is full, or `final` exists. `final` is then as it was before, and `temporary` is left to the
            caller, because it may hold hours of work.
    """
    for folder, _, names in os.walk(temporary):
        for name in names:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(folder))
    temporary.replace(final)
    fsync_folder(final.parent)
