"""Rows are read as they were written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from index.documents.chunking import Chunk
from index.store.rows import RowReader
from index.store.segment import rows_of_chunks

PLAIN = Chunk("a.md", "A", ("A",), 0, 5, "text a", "00" * 32)
FULL = Chunk("b.pdf", "Ü", ("Ü", "part"), 3, 9, "text ü", "ab" * 32, 7, {"year": 2026, "tag": "x"}, ("staff", "legal"))
MIXED = [replace(FULL if number % 3 else PLAIN, start=number) for number in range(20)]


@pytest.mark.parametrize("chunks", [[PLAIN] * 3, [FULL] * 3, MIXED], ids=["no pages", "all pages", "some pages"])
@pytest.mark.parametrize("first", [0, 2, 11])
def test_rows_are_read_as_they_were_written(chunks: list[Chunk], first: int) -> None:
    reader = RowReader(rows_of_chunks(chunks).slice(first))
    assert [reader.chunk(row) for row in range(len(chunks) - first)] == chunks[first:]
