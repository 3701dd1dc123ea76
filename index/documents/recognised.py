"""Caches what character recognition read on pages, because a page takes seconds and a scanned book minutes.

One SQLite file in the index, written page by page, so that what was recognised before an interruption is not lost. It
is keyed by the content of the file and everything else that decides how a page is recognised. Everything in it can be
recognised again, so damage to it costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from index.documents.formats import RECOGNITION_VERSION
from index.documents.formats.settings import OcrSettings

if TYPE_CHECKING:
    from index.documents.formats.pdf.recognition import RecognisedPage

RECOGNISED_FILE = "recognised.sqlite"

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS pages "
    "(file BLOB, page INTEGER, checksum BLOB, content BLOB, seconds REAL, PRIMARY KEY (file, page))"
)
_RECENT = 100
"""Pages by which the time of a page is estimated."""


class RecognisedPages:
    """The cache of one index."""

    def __init__(self, root: Path | None, settings: OcrSettings) -> None:
        """Use the folder of an index, which may not be there yet; None: nothing is remembered."""
        self._path = root / RECOGNISED_FILE if root else None
        self._context = json.dumps([RECOGNITION_VERSION, settings.languages]).encode()
        self._used: set[bytes] = set()

    def of(self, data: bytes) -> dict[int, RecognisedPage]:
        """The pages known of a file of this content, by number."""
        from index.documents.formats.pdf.recognition import RecognisedPage

        key = self._key(data)
        self._used.add(key)
        rows = self._found("SELECT checksum, content FROM pages WHERE file = ?", key)
        pages = [RecognisedPage.from_json(content) for check, content in rows if blake3(content).digest() == check]
        return {page.number: page for page in pages}

    def remember(self, data: bytes, page: RecognisedPage, seconds: float) -> None:
        """Keep a page, which took so long."""
        content = page.to_json()
        row = (self._key(data), page.number, blake3(content).digest(), content, seconds)
        self._change("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?)", [row])

    def forget_others(self) -> None:
        """Forget the pages of all files that were not asked for."""
        known = self._found("SELECT DISTINCT file FROM pages")
        self._change("DELETE FROM pages WHERE file = ?", [(key,) for (key,) in known if key not in self._used])

    def seconds_per_page(self) -> float | None:
        """How long a page took of late on this machine; None if none did."""
        recent = self._found("SELECT seconds FROM pages ORDER BY rowid DESC LIMIT ?", _RECENT)
        return statistics.fmean(seconds for (seconds,) in recent) if recent else None

    def _found(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        if self._path is None:
            return []
        try:
            with contextlib.closing(self._open("ro")) as database:
                return database.execute(question, values).fetchall()
        except sqlite3.Error:
            return []

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Carry out a statement for each row, unless there is no index to keep it in; damage begins a new file."""
        if not rows or self._path is None or not self._path.parent.is_dir():
            return
        # The disk may be full, or another process at work: the page was read all the same.
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            try:
                self._carry_out(statement, rows)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)
                self._carry_out(statement, rows)

    def _carry_out(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with contextlib.closing(self._open("rwc")) as database:
            database.execute(_SCHEMA)
            database.executemany(statement, rows)
            database.commit()

    def _open(self, mode: str) -> sqlite3.Connection:
        assert self._path is not None  # noqa: S101, checked by all who call
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode={mode}", uri=True)

    def _key(self, data: bytes) -> bytes:
        digest: bytes = blake3(blake3(self._context).digest() + blake3(data).digest()).digest()
        return digest
