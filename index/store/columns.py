"""Selects rows of one segment by filters and labels.

A filter tests each distinct value once, so each column is decoded to its distinct values and one code for each row.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index.documents.document import Value
from index.store.filters import Expression, FieldTest

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

_COLUMNS = {"document": "document_id", "title": "title", "page": "page"}


class Columns:
    """The columns of a segment that filters and labels look at, each decoded once, at its first use."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._decoded: dict[str, tuple[list[Value | None], Codes]] = {}

    def select(self, expression: Expression) -> Mask:
        """The rows that pass a filter: (rows,) bool."""
        if isinstance(expression, FieldTest):
            values, codes = self._column(expression)
            return np.array([expression.passes(value) for value in values], dtype=np.bool_)[codes]
        masks = [self.select(part) for part in expression.parts]
        if expression.kind == "not":
            return np.asarray(~masks[0])
        start = np.full(len(self._table), expression.kind == "and", dtype=np.bool_)
        join = np.logical_and if expression.kind == "and" else np.logical_or
        return np.asarray(join.reduce([start, *masks]))

    def open_to(self, labels: frozenset[str]) -> Mask:
        """The rows that a caller with these labels may see: (rows,) bool; rows without labels are open to all."""
        names, places, open_to_all = self._labels
        shared = np.array([name in labels for name, _ in names], dtype=np.bool_)
        mask = open_to_all.copy()
        mask[places[np.repeat(shared, [count for _, count in names])]] = True
        return mask

    @cached_property
    def known_labels(self) -> frozenset[str]:
        return frozenset(name for name, _ in self._labels[0])

    def _column(self, test: FieldTest) -> tuple[list[Value | None], Codes]:
        """The distinct values of a field, and for each row the number of its value."""
        if not test.pseudo:
            contents, codes = self._metadata
            return [content.get(test.field) for content in contents], codes
        if test.field not in self._decoded:
            self._decoded[test.field] = _encoded(self._table[_COLUMNS[test.field]])
        return self._decoded[test.field]

    @cached_property
    def _metadata(self) -> tuple[list[dict[str, Any]], Codes]:
        """Metadata belongs to documents, so few rows differ in it, and each distinct text is decoded once."""
        texts, codes = _encoded(self._table["metadata"])
        return [json.loads(str(text)) for text in texts], codes

    @cached_property
    def _labels(self) -> tuple[list[tuple[str, int]], npt.NDArray[np.int64], Mask]:
        """Each label with the number of its rows; these rows, label after label; and which rows have no label."""
        column = self._table["labels"].combine_chunks()
        lengths = np.asarray(column.value_lengths().fill_null(0), dtype=np.int64)
        values, codes = _encoded(column.flatten())
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(values)).tolist()
        rows = np.repeat(np.arange(len(lengths)), lengths)[order]
        return [(str(name), count) for name, count in zip(values, counts, strict=True)], rows, lengths == 0


def _encoded(column: pa.Array | pa.ChunkedArray) -> tuple[list[Value | None], Codes]:
    """The distinct values of a column, and for each row the number of its value."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array.dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int32)
