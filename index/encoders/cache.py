"""Vectors that were computed before, by the content of their passage.

Knows hashes and bytes, nothing of documents or models. One SQLite file for each encoder, `cache/<fingerprint>.sqlite`
in the folder of the index, holds what older snapshots held and what an interrupted build had reached. The cache only
saves work: whatever is wrong with it is said in a warning, and the vectors are computed anew.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from blake3 import blake3

from index.encoders.encoder import Progress, TextEncoder, Vectors

FOLDER = "cache"
DAMAGED_SUFFIX = ".damaged"

_SCHEMA = 1
_LOCK = "LOCK"
_PATIENCE = 20.0
"""Seconds to wait for another process's write."""
_SECONDS_PER_PART = 3.0
"""How much embedding an interruption may lose, about."""
_FIRST_PART = 64
_LARGEST_PART = 8192
_VARIABLES = 500
_KEPT_SHARE = 0.9
"""What eviction leaves of the limit, so that it is not needed again at once."""

_log = logging.getLogger(__name__)


class EmbeddingsCache:
    """The vectors of one encoder, by hash of the passage; to be used in a `with` statement.

    Safe when killed at any time, and under several processes. No method raises for a fault of the disk or of
    the file: the cache then finds nothing and keeps nothing.
    """

    def __init__(self, root: Path, fingerprint: str, dimension: int, limit: int) -> None:
        """Name a cache; `with` opens it.

        Args:
            root: Of the index.
            fingerprint: Of the encoder; names the file.
            dimension: Of its vectors.
            limit: Most bytes of the files of the folder; 0 for no cache at all.
        """
        self.folder = root / FOLDER
        self.path = self.folder / f"{fingerprint}.sqlite"
        self._dimension = dimension
        self._limit = limit
        self._lock: int | None = None
        self._file: sqlite3.Connection | None = None
        self._turn = 0

    def __enter__(self) -> EmbeddingsCache:
        if self._limit:
            with self._tolerant("open"):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with self._tolerant("shrink"):
                self._evict()
        self._close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def find(self, hashes: Sequence[str]) -> dict[str, Vectors]:
        """Known vectors by hash: each (dimension,) float32, the very bytes that were kept."""
        found: dict[str, Vectors] = {}
        for first in range(0, len(hashes), _VARIABLES):
            part = {bytes.fromhex(item): item for item in hashes[first : first + _VARIABLES]}
            with self._tolerant("read"):
                found.update(self._find_part(part))
        return found

    def keep(self, hashes: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors, (n, dimension) float32, durably enough to outlive a killed process."""
        rows = []
        for item, vector in zip(hashes, vectors, strict=True):
            key, data = bytes.fromhex(item), vector.tobytes()
            rows.append((key, data, _seal(key, data), self._turn))
        with self._tolerant("written"):
            if self._file is not None:
                with self._file:
                    self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)

    def _find_part(self, part: dict[bytes, str]) -> dict[str, Vectors]:
        if self._file is None:
            return {}
        marks = ",".join("?" * len(part))
        rows = self._file.execute(
            f"SELECT hash, vector, seal FROM vectors WHERE hash IN ({marks})",  # noqa: S608 (question marks only)
            list(part),
        ).fetchall()
        whole = [
            (key, data) for key, data, seal in rows if len(data) == 4 * self._dimension and seal == _seal(key, data)
        ]
        with self._file:
            self._file.executemany(
                "UPDATE vectors SET used = ? WHERE hash = ? AND used < ?",
                [(self._turn, key, self._turn) for key, _ in whole],
            )
        return {part[key]: np.frombuffer(data, dtype=np.float32) for key, data in whole}

    def _open(self) -> None:
        self._file = sqlite3.connect(self.path, timeout=_PATIENCE)
        # Freed pages go back to the file system in `_evict`; must be set before the first table.
        self._file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA):
            raise sqlite3.DatabaseError(f"it is of version {version}, and this ragft reads {_SCHEMA}")
        with self._file:
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS vectors"
                " (hash BLOB PRIMARY KEY, vector BLOB NOT NULL, seal BLOB NOT NULL, used INTEGER NOT NULL)"
            )
            self._file.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
            self._file.execute(f"PRAGMA user_version = {_SCHEMA}")
        # Uses are counted, not timed: clocks are set back.
        (last,) = self._file.execute("SELECT max(used) FROM vectors").fetchone()
        self._turn = (last or 0) + 1

    def _close(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _evict(self) -> None:
        """Delete files of other encoders, then what was not used for longest, until the limit is met."""
        if self._file is None or _size(self.folder) <= self._limit:
            return
        others = [path for path in self.folder.glob("*.sqlite*") if not path.name.startswith(self.path.name)]
        if others and self._alone():
            for path in sorted(others, key=lambda path: path.stat().st_mtime):
                if _size(self.folder) > self._limit:
                    path.unlink(missing_ok=True)
        pages, size, free = (
            self._file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
        )
        used = (pages - free) * size
        if used > self._limit:
            (count,) = self._file.execute("SELECT count(*) FROM vectors").fetchone()
            gone = count - int(count * self._limit * _KEPT_SHARE / used)
            with self._file:
                self._file.execute(
                    "DELETE FROM vectors WHERE hash IN (SELECT hash FROM vectors ORDER BY used, rowid LIMIT ?)", (gone,)
                )
        # As a script, because `execute` takes a single step, which frees a single page.
        self._file.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    def _alone(self) -> bool:
        """Whether no other process uses the folder; while this one is in it, none can begin to."""
        try:
            fcntl.flock(self._lock or 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # A failed change of a lock may have lost the old one.
            fcntl.flock(self._lock or 0, fcntl.LOCK_SH)
            return False
        return True

    def _set_aside(self) -> None:
        """Move a damaged file out of the way; another process that has it open would lose what it writes."""
        if self._lock is None or not self._alone():
            return
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        if self.path.exists():
            self.path.replace(self.path.with_name(self.path.name + DAMAGED_SUFFIX))
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._open()

    @contextmanager
    def _tolerant(self, done: str) -> Iterator[None]:
        """Turn a fault of the cache into a warning, and go on with an empty one or with none."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            self._close()
            _log.warning("The cache of embeddings %s cannot be %s (%s); going on without it.", self.path, done, error)
        except sqlite3.DatabaseError as error:
            self._close()
            _log.warning(
                "The cache of embeddings %s is damaged (%s); it is set aside, and its passages are encoded anew.",
                self.path,
                error,
            )
            try:
                self._set_aside()
            except (sqlite3.Error, OSError):
                self._close()


def encode_with_cache(
    root: Path,
    encoder: TextEncoder,
    passages: dict[str, str],
    limit: int,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Vectors:
    """Vectors of passages, each taken from the cache or encoded and kept.

    What is encoded is kept every few seconds, so that an interrupted build begins again where it was.

    Args:
        root: Of the index.
        encoder: Computes what is not known.
        passages: Text by hash.
        limit: Most bytes of the cache; 0 for none.
        progress: Called with the number of passages done and in all, known ones included.
        note: Called with each passage that was not known.

    Returns:
        (n, dimension) float32, in the order of the passages.
    """
    vectors = np.empty((len(passages), encoder.dimension), dtype=np.float32)
    with EmbeddingsCache(root, encoder.fingerprint, encoder.dimension, limit) as cache:
        known = cache.find(list(passages))
        place = {item: row for row, item in enumerate(passages)}
        for item, vector in known.items():
            vectors[place[item]] = vector
        new = [item for item in passages if item not in known]
        done = len(known)
        if progress and known:
            progress(done, len(passages))
        for part in _parts(new, len(new) if not limit else _FIRST_PART):
            before = done

            def advance(count: int, _: int, before: int = before) -> None:
                if progress:
                    progress(before + count, len(passages))

            encoded = encoder.encode_passages([passages[item] for item in part], advance)
            vectors[[place[item] for item in part]] = encoded
            cache.keep(part, encoded)
            done += len(part)
            if note:
                for item in part:
                    note(passages[item])
    return vectors


def cache_bytes(root: Path) -> int:
    """Size of the caches of an index."""
    return _size(root / FOLDER)


def clear(root: Path) -> int:
    """Delete the caches of an index, unless a refresh is using them; returns how many bytes that freed.

    Raises:
        OSError: a file cannot be deleted.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return 0
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        before = _size(folder)
        for path in folder.glob("*.sqlite*"):
            path.unlink(missing_ok=True)
        return before - _size(folder)
    finally:
        os.close(lock)


def _parts(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """Parts that take a few seconds each, as measured on the one before."""
    first = 0
    while first < len(items):
        begin = time.monotonic()
        part = list(items[first : first + size])
        yield part
        first += len(part)
        taken = max(time.monotonic() - begin, 1e-6)
        size = min(_LARGEST_PART, max(_FIRST_PART // 4, int(size * min(4.0, _SECONDS_PER_PART / taken))))


def _seal(key: bytes, data: bytes) -> bytes:
    """Finds flipped bits, which SQLite does not look for."""
    return blake3(key + data).digest(8)


def _size(folder: Path) -> int:
    return sum(_bytes(path) for path in folder.glob("*.sqlite*"))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # deleted by SQLite in the meantime
        return 0
