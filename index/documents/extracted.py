"""Caches the text extracted from HTML, PDF and DOCX files, so that a refresh extracts only files that changed.

One SQLite file in the index, keyed by everything the text depends on: the file's name and bytes, the settings and the
version of the readers. Everything in it can be extracted again, so damage to it costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from blake3 import blake3

from index.documents.document import Document, Skipped, from_json, to_json
from index.documents.formats import EXTRACTION_VERSION
from index.documents.formats.settings import ReadSettings

EXTRACTED_FILE = "extracted.sqlite"

_SCHEMA = "CREATE TABLE IF NOT EXISTS extracted (key BLOB PRIMARY KEY, checksum BLOB, items BLOB) WITHOUT ROWID"


class ExtractedTexts:
    """The cache during one reading of a folder; nothing is written before `save`."""

    def __init__(self, root: Path, settings: ReadSettings) -> None:
        self._path = root / EXTRACTED_FILE
        self._settings = settings
        self._used: set[bytes] = set()
        self._new: dict[bytes, list[Document | Skipped]] = {}

    def recall(self, name: str, data: bytes, recognised: str = "") -> list[Document | Skipped] | None:
        """What was extracted from a file of this name and content; None if that is not known.

        Args:
            recognised: how its scanned pages were recognised; empty if they were not.
        """
        key = self._key(name, data, recognised)
        try:
            with contextlib.closing(self._open("ro")) as database:
                row = database.execute("SELECT checksum, items FROM extracted WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:
            return None
        if row is None or blake3(row[1]).digest() != row[0]:
            return None
        self._used.add(key)
        return from_json(row[1])

    def remember(self, name: str, data: bytes, items: list[Document | Skipped], recognised: str = "") -> None:
        """Note what was extracted from a file, for `save` to write."""
        self._new[self._key(name, data, recognised)] = items

    def save(self, forget: bool = True) -> None:
        """Write what is new, under the writer's lock, and `forget` what was not recalled, if all files were read."""
        if not self._new and not self._path.exists():
            return
        try:
            with contextlib.closing(self._open("rwc")) as database:
                self._write(database, forget)
        except sqlite3.Error:
            # Damaged, or the disk is full: the index is published already, and the next refresh can do without.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, database: sqlite3.Connection, forget: bool) -> None:
        database.execute(_SCHEMA)
        known = {key for (key,) in database.execute("SELECT key FROM extracted")}
        stale = known - self._used - self._new.keys() if forget else set()
        if not stale and not self._new:
            return
        new = ((key, to_json(items)) for key, items in self._new.items())
        rows = ((key, blake3(content).digest(), content) for key, content in new)
        database.executemany("DELETE FROM extracted WHERE key = ?", [(key,) for key in stale])
        database.executemany("INSERT OR REPLACE INTO extracted VALUES (?, ?, ?)", rows)
        database.commit()

    def _open(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode={mode}", uri=True)

    @cached_property
    def _context(self) -> bytes:
        read_with = asdict(self._settings)
        context = [EXTRACTION_VERSION, *(read_with[name] for name in ("fields", "fields_by_file", "limits"))]
        return json.dumps(context, sort_keys=True).encode()

    def _key(self, name: str, data: bytes, recognised: str) -> bytes:
        parts = (self._context, name.encode(), data, recognised.encode())
        digest: bytes = blake3(b"".join(blake3(part).digest() for part in parts)).digest()
        return digest
