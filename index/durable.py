"""Files and folders that are there completely or not at all, whenever the power goes.

Knows nothing of indexes. Readers of a published name see the old content or the new, never a mixture:
content is written beside its final place, forced to disk, and renamed.
"""

from __future__ import annotations

import os
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
"""Marks what is not published yet; a writer that finds such a leftover may delete it."""


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
