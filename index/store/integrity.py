"""Whether the files of a snapshot are what its manifest says.

A file that passed once in this process, and has not been touched since, is not read again: segments are shared by many
snapshots and never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from index.store.manifest import FileEntry, hash_file

Check = Literal["auto", "always"]
"""How much is read when a snapshot is opened: the contents of all files that are not very large, or of all."""

LARGE = 256 * 1024 * 1024
"""Bytes from which `auto` leaves the content of a file unread: the vectors of about 170,000 passages of 384 dimensions.
Below that a whole index is read at the speed of memory, in some milliseconds."""

_MOST_REMEMBERED = 4096

_passed: dict[tuple[str, FileEntry], tuple[int, ...]] = {}
"""Files that were right, with the state (inode, times, size) that they were in."""


def check_files(root: Path, files: Mapping[str, FileEntry], check: Check) -> None:
    """Compare sizes, and contents as far as `check` asks for it.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: one differs; named.
    """
    for name, entry in files.items():
        path = root / name
        stat = path.stat()
        if stat.st_size != entry.bytes:
            raise ValueError(f"{name} has {stat.st_size} bytes instead of {entry.bytes}")
        key = (str(path), entry)
        state = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
        if _passed.get(key) == state or (check == "auto" and stat.st_size >= LARGE):
            continue
        if hash_file(path) != entry:
            raise ValueError(f"{name} differs from its checksum")
        if len(_passed) >= _MOST_REMEMBERED:
            _passed.clear()
        _passed[key] = state


def damaged_files(root: Path, files: Mapping[str, FileEntry]) -> list[str]:
    """Read every file anew, and name those that are missing or differ."""
    return [name for name, entry in files.items() if not _is_right(root / name, entry)]


def _is_right(path: Path, entry: FileEntry) -> bool:
    try:
        return hash_file(path) == entry
    except OSError:
        return False
