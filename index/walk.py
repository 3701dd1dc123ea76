"""Walks a folder of documents, at the cost of one system call for each file and folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

FileState = tuple[int, ...]
"""What changes when a file is changed; see `file_state`."""


def file_state(stat: os.stat_result) -> FileState:
    """Times, size and place of a file; where several files decide what is read, their states one after the other.

    The time of its last change of any kind tells a file whose other time was set back.
    """
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def visible_files(folder: Path, unreadable: Callable[[OSError], None]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every visible file below `folder`, with its name there (with forward slashes); folders in no order.

    Args:
        folder: Where to.
        unreadable: Called for each folder that cannot be read.

    Links to folders are yielded, not followed.
    """
    waiting = [("", str(folder))]
    while waiting:
        prefix, parent = waiting.pop()
        try:
            with os.scandir(parent) as entries:
                found = list(entries)
        except OSError as error:
            unreadable(error)
            continue
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", entry.path))
            else:
                yield prefix + entry.name, entry
