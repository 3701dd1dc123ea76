"""A cache of embeddings: vectors that were computed before, by the hash of their passage.

Knows hashes and bytes, nothing of documents or models. One SQLite file per encoder, `cache/<fingerprint>.sqlite` in the
folder of the index, keeps the vectors of older snapshots and of interrupted builds. The cache only saves work: whatever
is wrong with it is logged as a warning, and the vectors are computed again.
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

import numpy as np
from blake3 import blake3

from index.durable import locked
from index.encoders.encoder import Progress, TextEncoder, Vectors

_FOLDER = "cache"
_SCHEMA = 1
_LOCK = "LOCK"
_WRITE_TIMEOUT = 20.0
"""Seconds to wait for another process's write."""
_SECONDS_PER_PART = 3.0
"""About how much encoding an interruption may lose."""
_FIRST_PART = 64
_LARGEST_PART = 8192
_HASHES_PER_QUERY = 500
_KEPT_SHARE = 0.9
"""Share of the limit that eviction leaves in use, so that the next build does not evict again at once."""

_log = logging.getLogger(__name__)


class EmbeddingsCache:
    """The vectors of one encoder, by the hash of their passage; to be used in a `with` statement.

    Several processes may use it, and each may be killed at any time. No method raises for a fault of the disk or of the
    file: the cache then finds nothing and keeps nothing.
    """

    def __init__(self, root: Path, fingerprint: str, dimension: int, limit: int) -> None:
        """Name a cache; `with` opens it. The caches of all encoders may take `limit` bytes; 0 turns the cache off."""
        self._root = root
        self._folder = root / _FOLDER
        self._path = self._folder / f"{fingerprint}.sqlite"
        self._dimension = dimension
        self._limit = limit
        self._lock: int | None = None
        self._file: sqlite3.Connection | None = None
        self._session = 0

    def __enter__(self) -> EmbeddingsCache:
        if self._limit:
            with self._tolerant("opened"):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with self._tolerant("shrunk"):
                self._shrink(self._file)
        self._close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def find(self, hashes: Sequence[str]) -> dict[str, Vectors]:
        """Known vectors by hash: each (dimension,) float32, bit for bit as it was kept."""
        found: dict[str, Vectors] = {}
        if (file := self._file) is None:
            return found
        with self._tolerant("read"):
            for first in range(0, len(hashes), _HASHES_PER_QUERY):
                part = {bytes.fromhex(item): item for item in hashes[first : first + _HASHES_PER_QUERY]}
                marks = ",".join("?" * len(part))
                query = f"SELECT hash, vector, seal FROM vectors WHERE hash IN ({marks})"  # noqa: S608, question marks
                rows = [row for row in file.execute(query, list(part)) if self._is_intact(*row)]
                with file:
                    file.executemany(
                        "UPDATE vectors SET used = ? WHERE hash = ? AND used < ?",
                        [(self._session, key, self._session) for key, _, _ in rows],
                    )
                found.update((part[key], np.frombuffer(data, dtype=np.float32)) for key, data, _ in rows)
        return found

    def keep(self, hashes: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors, (n, dimension) float32; they survive if the process is killed."""
        if (file := self._file) is None:
            return
        pairs = ((bytes.fromhex(item), vector.tobytes()) for item, vector in zip(hashes, vectors, strict=True))
        rows = [(key, data, _seal(key, data), self._session) for key, data in pairs]
        with self._tolerant("written"), file:
            file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)

    def _is_intact(self, key: bytes, data: bytes, seal: bytes) -> bool:
        return len(data) == 4 * self._dimension and seal == _seal(key, data)

    def _open(self) -> None:
        """Open the file, create its table if missing, and number this session."""
        file = self._file = sqlite3.connect(self._path, timeout=_WRITE_TIMEOUT)
        # `_shrink` returns freed pages to the file system; this must be set before the first table is made.
        file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA):
            raise sqlite3.DatabaseError(f"it has version {version}, and this ragft reads version {_SCHEMA}")
        with file:
            file.execute(
                "CREATE TABLE IF NOT EXISTS vectors"
                " (hash BLOB PRIMARY KEY, vector BLOB NOT NULL, seal BLOB NOT NULL, used INTEGER NOT NULL)"
            )
            file.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
            file.execute(f"PRAGMA user_version = {_SCHEMA}")
        # Uses are numbered by session instead of timed, because clocks can be set back.
        (last,) = file.execute("SELECT max(used) FROM vectors").fetchone()
        self._session = (last or 0) + 1

    def _close(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _shrink(self, file: sqlite3.Connection) -> None:
        """Bring the folder below the limit: other encoders' files go first, then the least recently used vectors."""
        if cache_bytes(self._root) <= self._limit:
            return
        others = [path for path in self._folder.glob("*.sqlite*") if not path.name.startswith(self._path.name)]
        if others and self._alone():
            for path in sorted(others, key=lambda path: path.stat().st_mtime):
                if cache_bytes(self._root) > self._limit:
                    path.unlink(missing_ok=True)
        names = ("page_count", "page_size", "freelist_count")
        pages, size, free = (file.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        used = (pages - free) * size
        if used > self._limit:
            (count,) = file.execute("SELECT count(*) FROM vectors").fetchone()
            gone = count - int(count * self._limit * _KEPT_SHARE / used)
            oldest = "SELECT hash FROM vectors ORDER BY used, rowid LIMIT ?"
            with file:
                file.execute(f"DELETE FROM vectors WHERE hash IN ({oldest})", (gone,))  # noqa: S608, a constant
        # As a script, because `execute` takes a single step, which frees a single page.
        file.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    def _alone(self) -> bool:
        """Whether no other process uses the folder; if so, none can start to until this one releases its lock."""
        try:
            fcntl.flock(self._lock or 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # A failed conversion of the lock may have lost the shared one.
            fcntl.flock(self._lock or 0, fcntl.LOCK_SH)
            return False
        return True

    def _set_aside(self) -> None:
        """Move a damaged file out of the way, unless another process has it open: its writes would be lost."""
        if self._lock is None or not self._alone():
            return
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._open()

    @contextmanager
    def _tolerant(self, done: str) -> Iterator[None]:
        """Turn a fault of the cache into a warning, and continue with an empty cache or without one."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            self._close()
            _log.warning("The cache of embeddings %s cannot be %s (%s); going on without it.", self._path, done, error)
        except sqlite3.DatabaseError as error:
            self._close()
            _log.warning(
                "The cache of embeddings %s is damaged (%s); it is set aside, and its passages are encoded again.",
                self._path,
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

    New vectors are kept every few seconds, so that an interrupted build continues where it stopped.

    Args:
        passages: text by hash.
        limit: see `EmbeddingsCache`.
        progress: called with the number of passages done and the total, known ones included.
        note: called with the text of each passage that was not known.

    Returns:
        (n, dimension) float32, in the order of the passages.
    """
    vectors = np.empty((len(passages), encoder.dimension), dtype=np.float32)
    row = {item: number for number, item in enumerate(passages)}
    done = 0

    def advance(count: int, _: int) -> None:
        if progress:
            progress(done + count, len(passages))

    with EmbeddingsCache(root, encoder.fingerprint, encoder.dimension, limit) as cache:
        known = cache.find(list(passages))
        for item, vector in known.items():
            vectors[row[item]] = vector
        new = [item for item in passages if item not in known]
        if known:
            advance(len(known), 0)
        done = len(known)
        for part in _parts(new, _FIRST_PART if limit else len(new)):
            texts = [passages[item] for item in part]
            encoded = encoder.encode_passages(texts, advance)
            vectors[[row[item] for item in part]] = encoded
            cache.keep(part, encoded)
            done += len(part)
            if note:
                for text in texts:
                    note(text)
    return vectors


def cache_bytes(root: Path) -> int:
    """Size of an index's caches in bytes."""
    size = 0
    for path in (root / _FOLDER).glob("*.sqlite*"):
        with suppress(FileNotFoundError):  # deleted by SQLite in the meantime
            size += path.stat().st_size
    return size


def clear(root: Path) -> int:
    """Delete the caches of an index unless a refresh is using them; returns the number of bytes freed.

    Raises:
        OSError: a file cannot be deleted.
    """
    folder = root / _FOLDER
    if not folder.is_dir():
        return 0
    try:
        with locked(folder / _LOCK):
            before = cache_bytes(root)
            for path in folder.glob("*.sqlite*"):
                path.unlink(missing_ok=True)
            return before - cache_bytes(root)
    except BlockingIOError:
        return 0


def _parts(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """Parts that take a few seconds each, judged by the time that the caller spent on the one before."""
    first = 0
    while first < len(items):
        begin = time.monotonic()
        part = list(items[first : first + size])
        yield part
        first += len(part)
        taken = max(time.monotonic() - begin, 1e-6)
        size = min(_LARGEST_PART, max(_FIRST_PART // 4, int(size * min(4.0, _SECONDS_PER_PART / taken))))


def _seal(key: bytes, data: bytes) -> bytes:
    """Checksum of a row: SQLite does not detect flipped bits."""
    return blake3(key + data).digest(8)
