"""Compares the files of a snapshot with the sizes and checksums in its manifest.

A file that passed once in this process and was not touched since is not read again: segments are shared by many
snapshots and never change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from index.store.manifest import FileEntry, hash_file

Check = Literal["auto", "always"]
"""Whose checksums are compared when a snapshot is opened. auto: files below `LARGE`; always: all files."""

LARGE = 256 * 1024 * 1024
"""Bytes from which `auto` does not read a file: float32 vectors of about 170,000 passages of 384 dimensions, or
half-precision ones of twice as many. Smaller files are read at the speed of memory, in some milliseconds."""

_MOST_REMEMBERED = 4096

_passed: dict[tuple[str, FileEntry], tuple[int, ...]] = {}
"""Files that passed, with their state (inode, times, size) at that time."""


def check_files(root: Path, files: Mapping[str, FileEntry], check: Check) -> None:
    """Compare the sizes of files, and their checksums as far as `check` says.

    Raises:
        OSError, ValueError: a file cannot be read, or differs.
    """
    for name, entry in files.items():
        path = f"{root}/{name}"  # a string: this is asked of every file at every refresh
        stat = os.stat(path)  # noqa: PTH116
        if stat.st_size != entry.bytes:
            raise ValueError(f"{name} has {stat.st_size} bytes instead of {entry.bytes}")
        key = (path, entry)
        state = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
        if _passed.get(key) == state or (check == "auto" and stat.st_size >= LARGE):
            continue
        if hash_file(Path(path)) != entry:
            raise ValueError(f"{name} differs from its checksum")
        if len(_passed) >= _MOST_REMEMBERED:
            _passed.clear()
        _passed[key] = state


def damaged_files(root: Path, files: Mapping[str, FileEntry]) -> list[str]:
    """Read every file, also those that passed before, and name those that are missing or differ."""
    return [name for name, entry in files.items() if not _is_right(root / name, entry)]


def _is_right(path: Path, entry: FileEntry) -> bool:
    try:
        return hash_file(path) == entry
    except OSError:
        return False
