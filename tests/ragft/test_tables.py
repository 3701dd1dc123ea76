"""Tables that came back from a spreadsheet: every text is what it was, whatever it looks like."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from ragft import tables
from ragft.errors import UsageError
from ragft.tables import cell_of, table_bytes, table_rows, text_of_cell

HARD = ["=cmd()", "+1", "-1", "@a", "'", "''", "'=x", "''-", "'n' is", "a\nb", 'a "b", c;d', "ß 漢 \u2028 .", "\tx", ""]


def test_the_examples_in_the_documentation_are_right() -> None:
    assert doctest.testmod(tables).failed == 0 < doctest.testmod(tables).attempted


def test_every_text_comes_back_and_none_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(table_bytes(["n", "text"], [{"n": str(n), "text": text} for n, text in enumerate(HARD)]))
    rows = [row for _, row in table_rows(path, "texts", "here")]
    assert [text_of_cell(row["text"]) for row in rows] == HARD
    assert not any(cell_of(text).startswith(("=", "+", "-", "@", "\t")) for text in HARD)


def test_a_row_of_another_length_is_refused_or_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a;b\n1;2\n1\n3;4\n")
    with pytest.raises(UsageError, match="row 3: 1 cells where the header has 2"):
        list(table_rows(path, "texts", "here"))
    told: list[str] = []
    rows = [row["a"] for _, row in table_rows(path, "texts", "here", fault=told.append)]
    assert rows == ["1", "3"] and len(told) == 1


def test_another_encoding_is_taken_only_where_it_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("a\nGröße €\n".encode("cp1252"))
    with pytest.raises(UsageError, match=r"not UTF-8 text \(byte 4\)"):
        list(table_rows(path, "texts", "here"))
    assert [row["a"] for _, row in table_rows(path, "texts", "here", otherwise="cp1252")] == ["Größe €"]


def test_a_long_cell_comes_back(tmp_path: Path) -> None:
    path, long = tmp_path / "table.csv", "x" * 200_000
    path.write_bytes(table_bytes(["text"], [{"text": long}]))
    assert [row["text"] for _, row in table_rows(path, "texts", "here")] == [long]
