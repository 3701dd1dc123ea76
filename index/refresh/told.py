"""Which documents of a snapshot a refresh need not look at, when it is told which files changed."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.documents.files import printable
from index.documents.formats import format_of
from index.store.vectors import Rows


def rows_of_files(documents: pa.Table, names: Collection[str], folder: Path) -> Rows:
    """The rows of the documents that come from these files, or from files in these folders: (n,) int64, ascending.

    Args:
        documents: like `Snapshot.document_table`.
        names: their paths below `folder`, which holds the files that exist.
    """
    ids = documents["id"].combine_chunks()
    found = {row for name in names if printable(name) == name for row in _rows_of(ids, name, folder)}
    return np.array(sorted(found), dtype=np.int64)


def _rows_of(ids: pa.Array, name: str, folder: Path) -> Iterator[int]:
    row = _first(ids, name)
    if row < len(ids) and ids[row].as_py() == name:
        yield row
    yield from range(_first(ids, name + "/"), _first(ids, name + "0"))  # "0" follows "/"
    for row in range(_first(ids, name + "#"), _first(ids, name + "$")):  # "$" follows "#"
        # Part of a file, such as a row of a table; or a file whose own name has this beginning.
        if not any(format_of(part) and os.path.lexists(folder / part) for part in _beyond(ids[row].as_py(), name)):
            yield row


def _beyond(document: str, name: str) -> Iterator[str]:
    """The names of files that a document may come from, besides the file of this name."""
    ends = [place for place in range(len(name) + 1, len(document)) if document[place] in "/#"]
    yield from (document[:end] for end in (*ends, len(document)))


def _first(ids: pa.Array, text: str) -> int:
    """The first row whose id is not below a text."""
    return bisect_left(ids, text, key=lambda value: str(value))
