"""A segment: some chunks with their vectors and postings, written once and never changed.

Rows are in the order of document and position. The segment does not know which of them were removed later; the
snapshot does, and passes a mask to the reader.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.documents.chunking import Chunk
from index.encoders.encoder import Progress, Vectors
from index.store.columns import Columns
from index.store.kinds import VectorsEntry, VectorSettings
from index.store.lexical import Postings
from index.store.rows import RowReader
from index.store.terms import TERMS_VERSION, Analysis
from index.store.vectors import Live, open_vectors, write_vectors

VECTORS_FILE = "vectors.faiss"
ROWS_FILE = "rows.arrow"
POSTINGS_FILE = "postings.arrow"
SEGMENT_FILES = (VECTORS_FILE, ROWS_FILE, POSTINGS_FILE)

_SCHEMA = pa.schema([
    ("document_id", pa.string()), ("title", pa.string()), ("heading_path", pa.list_(pa.string())),
    ("start", pa.int64()), ("end", pa.int64()), ("text", pa.large_string()), ("hash", pa.binary(32)),
    ("page", pa.int32()), ("metadata", pa.string()), ("labels", pa.list_(pa.string())), ("lead", pa.string()),
])  # fmt: skip


def write_segment(
    folder: Path,
    rows: pa.Table,
    vectors: Vectors,
    postings: Postings,
    vector_settings: VectorSettings | None = None,
    progress: Progress | None = None,
) -> VectorsEntry:
    """Write the files of a segment into a folder that the caller publishes; see also `write_vectors`.

    Args:
        rows: the chunks, as `rows_of_chunks` gives them.
        vectors: (rows, dimension) float32, rows of unit length.
        postings: those of the rows' passages.
    """
    entry = write_vectors(folder / VECTORS_FILE, vectors, vector_settings, progress)
    postings.write(folder / POSTINGS_FILE)
    write_table(folder / ROWS_FILE, rows)
    return entry


def rows_of_chunks(chunks: Sequence[Chunk]) -> pa.Table:
    """The table of a segment: one row for each chunk, without vectors and terms."""
    metadata = {id(chunk.metadata): chunk.metadata for chunk in chunks}  # the chunks of one document share theirs
    as_json = {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in metadata.items()}
    columns = {name: [getattr(chunk, name) for chunk in chunks] for name in _SCHEMA.names}
    columns["hash"] = [bytes.fromhex(chunk.hash) for chunk in chunks]
    columns["metadata"] = [as_json[id(chunk.metadata)] for chunk in chunks]
    return pa.table(columns, schema=_SCHEMA)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as one Arrow IPC file, so that it can be mapped."""
    with path.open("wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def read_table(path: Path) -> pa.Table:
    """Map a table that `write_table` wrote."""
    table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table


class Segment:
    """A segment on disk under the mask of one snapshot; read-only, safe to use from several threads."""

    def __init__(self, folder: Path, live: Live, analysis: Analysis | None = None) -> None:
        """Map the files.

        Args:
            live: (rows,) bool, False for rows that were removed later.
            analysis: how its passages became terms; None: as they would now, with the default settings.

        Raises:
            ValueError: the files do not agree with each other or with `live`.
            OSError, RuntimeError, KeyError: a file is missing or damaged.
        """
        self.name = folder.name
        self.live = live
        self.analysis = analysis or Analysis()
        self.vectors = open_vectors(folder / VECTORS_FILE, live)
        self.table = read_table(folder / ROWS_FILE)
        is_current = self.analysis.version == TERMS_VERSION
        self._written = Postings.read(folder / POSTINGS_FILE) if is_current else None
        rows = len(live) if self._written is None else len(self._written.lengths)
        if not len(live) == len(self.table) == rows:
            raise ValueError(f"the files of {folder} hold different numbers of rows")

    def __len__(self) -> int:
        return len(self.live)

    @cached_property
    def postings(self) -> Postings:
        """Those of all rows, removed ones too. Terms of an older version are made anew, because queries have others."""
        return self._analysed(self.analysis.language) if self._written is None else self._written

    def postings_in(self, language: str) -> Postings:
        """The postings as they are with this setting of `Analysis.language`."""
        return self.postings if language == self.analysis.language else self._analysed(language)

    def _analysed(self, language: str) -> Postings:
        chunks = [self.reader.chunk(row) for row in range(len(self))]
        return Postings.build([chunk.passage for chunk in chunks], [chunk.document_id for chunk in chunks], language)

    @cached_property
    def reader(self) -> RowReader:
        return RowReader(self.table)

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.table)

    def rows_of(self, documents: set[str]) -> Live:
        """Which rows belong to these documents: (rows,) bool."""
        if not documents:
            return np.zeros(len(self), dtype=np.bool_)
        import pyarrow.compute as pc

        wanted = pa.array(sorted(documents), type=pa.string())
        return np.asarray(pc.is_in(self.table["document_id"], value_set=wanted), dtype=np.bool_)

    def hashes_of(self, documents: set[str]) -> set[str]:
        """The passage hashes of these documents in live rows."""
        rows = pa.array(self.rows_of(documents) & self.live)
        return {item.hex() for item in self.table["hash"].filter(rows).to_pylist()}

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """For each passage hash that occurs here, one row with it; the vectors of removed rows are good, too."""
        if not hashes:
            return {}
        import pyarrow.compute as pc

        wanted = pa.array([bytes.fromhex(item) for item in hashes], type=pa.binary(32))
        place = pc.index_in(self.table["hash"], value_set=wanted)
        rows = np.flatnonzero(np.asarray(place.is_valid()))
        return {hashes[place[row].as_py()]: row for row in rows.tolist()}
