"""Workbooks are read as a person sees them, sheet by sheet."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from openpyxl.workbook import Workbook
from support.books import saved, workbook

from index.documents.document import Document, Skipped
from index.documents.extracted import ExtractedTexts
from index.documents.formats import format_of
from index.documents.formats.number_formats import shown_number
from index.documents.formats.process import ReaderProcess
from index.documents.formats.settings import Fields, FileFields, Limits, ReadSettings, Unreadable


def read(book: Workbook | bytes, settings: ReadSettings | None = None) -> list[Document | Skipped]:
    kind = format_of("b.xlsx")
    assert kind is not None and kind.is_isolated
    return kind.read("b.xlsx", book if isinstance(book, bytes) else saved(book), settings or ReadSettings())


def texts(book: Workbook) -> dict[str, str]:
    return {row.id.removeprefix("b.xlsx#"): row.text for row in read(book) if isinstance(row, Document)}


def refusal(book: Workbook | bytes, settings: ReadSettings | None = None) -> str:
    with pytest.raises(Unreadable) as refused:
        read(book, settings)
    return str(refused.value)


def test_every_sheet_is_a_table_and_rows_have_the_numbers_that_a_person_sees() -> None:
    book = workbook({"Prices": [["item", "price"], ["Lamp", 80], [], ["Chair", 9]], "People": [["name"], ["Ann"]]})
    book.create_sheet("Empty")
    found = read(book)
    assert [(row.id, row.title, row.text) for row in found if isinstance(row, Document)] == [
        ("b.xlsx#Prices!2", "b > Prices", "item: Lamp\nprice: 80"),
        ("b.xlsx#Prices!4", "b > Prices", "item: Chair\nprice: 9"),
        ("b.xlsx#People!2", "b > People", "name: Ann"),
    ]


def test_columns_of_text_title_id_and_labels_are_used() -> None:
    book = workbook({"S": [["id", "text", "title", "labels", "year"], [7, "Bees fly.", "Bees", "board; staff", 2024]]})
    (row,) = read(book)
    assert isinstance(row, Document)
    assert (row.id, row.text, row.title, row.labels) == ("b.xlsx#S!7", "Bees fly.", "Bees", ("board", "staff"))
    assert row.metadata == {"year": 2024}


def test_values_are_typed_for_filters_and_shown_as_a_person_sees_them() -> None:
    moment = datetime.datetime(2024, 5, 1, 10, 30)
    book = workbook(
        {
            "S": [
                ["whole", "half", "share", "code", "day", "moment", "time", "truth", "error", "amount"],
                [3.0, 2.5, 0.125, 1234, datetime.date(2024, 5, 1), moment, moment.time(), True, "#N/A", 80],
            ]
        }
    )
    sheet = book["S"]
    for place, number_format in {"C2": "0.0%", "D2": "000000", "J2": '#,##0.00\\ "€"'}.items():
        sheet[place].number_format = number_format
    (row,) = read(book)
    assert isinstance(row, Document)
    assert row.text.split("\n") == [
        "whole: 3",
        "half: 2.5",
        "share: 12.5%",
        "code: 001234",
        "day: 2024-05-01",
        "moment: 2024-05-01T10:30",
        "time: 10:30",
        "truth: TRUE",
        "amount: 80.00 €",
    ]
    assert row.metadata == {
        "whole": 3, "half": 2.5, "share": 0.125, "code": "001234", "day": "2024-05-01", "moment": "2024-05-01T10:30",
        "time": "10:30", "truth": True, "amount": 80,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        (3, "General", "3"),
        (0.1 + 0.2, "General", "0.3"),
        (1e20, "General", "100000000000000000000"),
        (1234567.891, "#,##0.00", "1234567.89"),
        (-0.5, "0%", "-50%"),
        (0.305, "0.0 %", "30.5 %"),
        (5, '0" kg"', "5 kg"),
        (5, "[Red]0.0;[Blue]-0.0", "5.0"),
        (5.25, "0.0##", "5.25"),
        (9.5, "[$€-407] 0.00", "€ 9.50"),
        (-9.5, '"€"0.00_);("€"0.00)', "-€9.50"),
        (0.5, "# ?/?", "0.5"),
        (12345, "0.00E+00", "12345"),
        (7, "@", "7"),
        (-0.001, "0.00", "0.00"),
    ],
)
def test_numbers_are_shown_in_their_format(value: Any, number_format: str, shown: str) -> None:
    assert shown_number(value, number_format)[1] == shown


def test_results_of_formulas_are_read_as_they_were_saved() -> None:
    book = workbook({"S": [["item", "sum"], ["Lamp", "=1+2"]]})
    with zipfile.ZipFile(io.BytesIO(saved(book))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    parts["xl/worksheets/sheet1.xml"], count = re.subn(rb"</f><v ?(/>|></v>)", b"</f><v>3</v>", sheet)
    assert count == 1
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    (row,) = read(file.getvalue())
    assert isinstance(row, Document) and row.text == "item: Lamp\nsum: 3"


def test_merged_cells_stand_in_every_place_and_heads_of_several_rows_are_joined() -> None:
    book = workbook(
        {
            "S": [
                ["Price list"],
                [],
                ["item", 2023, None, "note"],
                [None, "Q1", "Q2"],
                ["Lamp", 1, 2, "x"],
                [None, 3, 4, "y"],
            ]
        }
    )
    for merged in ("A1:D1", "A3:A4", "B3:C3", "D3:D4", "A5:A6"):
        book["S"].merge_cells(merged)
    first, second = read(book)
    assert isinstance(first, Document) and isinstance(second, Document)
    assert first.title == "b > S > Price list"
    assert first.text == "item: Lamp\n2023 / Q1: 1\n2023 / Q2: 2\nnote: x"
    assert second.text == "item: Lamp\n2023 / Q1: 3\n2023 / Q2: 4\nnote: y"


def test_hidden_sheets_rows_and_columns_are_not_served() -> None:
    book = workbook({"S": [["item", "cost", "price"], ["Lamp", 1, 80], ["Gun", 2, 9]], "H": [["a"], ["secret"]]})
    book["S"].row_dimensions[3].hidden = True
    book["S"].column_dimensions["B"].hidden = True
    book["H"].sheet_state = "hidden"
    (row,) = read(book)
    assert isinstance(row, Document)
    assert (row.text, row.metadata) == ("item: Lamp\nprice: 80", {"item": "Lamp", "price": 80})


def test_a_hidden_column_of_labels_still_closes_its_rows() -> None:
    book = workbook({"S": [["item", "labels"], ["Lamp", "board"]]})
    book["S"].column_dimensions["B"].hidden = True
    (row,) = read(book)
    assert isinstance(row, Document) and row.labels == ("board",) and row.text == "item: Lamp"


@pytest.mark.parametrize("name", ["Labels", "label"])
def test_a_column_that_looks_like_labels_closes_the_workbook(name: str) -> None:
    assert name in refusal(workbook({"A": [["x"], ["open"]], "B": [["item", name], ["Lamp", "board"]]}))


def test_the_strict_variant_is_read() -> None:
    usual, strict = b"http://schemas.openxmlformats.org/%s/2006/", b"http://purl.oclc.org/ooxml/%s/"
    file = io.BytesIO()
    data = io.BytesIO(saved(workbook({"S": [["item"], ["Lamp"]]})))
    with zipfile.ZipFile(data) as archive, zipfile.ZipFile(file, "w") as rewritten:
        for name in archive.namelist():
            content = archive.read(name)
            for part in (b"spreadsheetml", b"officeDocument"):
                content = content.replace(usual % part, strict % part)
            rewritten.writestr(name, content)
    (row,) = read(file.getvalue())
    assert isinstance(row, Document) and row.text == "item: Lamp"


def test_a_sheet_of_one_line_is_served() -> None:
    assert texts(workbook({"S": [[None, "Closed on Sunday."]]})) == {"S!1": "column 2: Closed on Sunday."}


@pytest.mark.medium
def test_a_cell_far_below_costs_nothing() -> None:
    book = workbook({"S": [["item"], ["Lamp"]]})
    book["S"]["A1048576"] = "Last"
    assert texts(book) == {"S!2": "item: Lamp", "S!1048576": "item: Last"}


def test_the_map_of_fields_reaches_the_process_that_reads_workbooks() -> None:
    data = saved(workbook({"S": [["key", "answer"], ["a", "They fly."]]}))
    by_file = (FileFields("*.xlsx", Fields(text="answer", id="key", metadata=())),)
    with ReaderProcess(ReadSettings(fields_by_file=by_file)) as process:
        (row,) = process.read("b.xlsx", data)
    assert isinstance(row, Document) and (row.id, row.text) == ("b.xlsx#S!a", "They fly.")


def test_a_cached_text_is_not_used_with_another_map_of_fields(tmp_path: Path) -> None:
    by_file = (FileFields("*.xlsx", Fields(text="answer")),)
    first, other = ReadSettings(), ReadSettings(fields_by_file=by_file)
    memory = ExtractedTexts(tmp_path, first)
    memory.remember("b.xlsx", b"x", [Skipped("b.xlsx", "a reason")])
    memory.save()
    assert ExtractedTexts(tmp_path, first).recall("b.xlsx", b"x")
    assert ExtractedTexts(tmp_path, other).recall("b.xlsx", b"x") is None


@pytest.mark.medium
def test_bombs_other_files_and_blank_workbooks_are_refused() -> None:
    data = saved(workbook({"S": [["x" * 100]] * 50_000}))
    assert "times its size" in refusal(data, ReadSettings(limits=Limits(expansion_ratio=2)))
    assert "password" in refusal(b"\xd0\xcf\x11\xe0" + b"x" * 600)
    assert "not a readable XLSX file" in refusal(b"words")
    assert "not a readable XLSX file" in refusal(b"PK\x05\x06" + b"\0" * 18)
    assert "there are none" in refusal(workbook({"S": []}))
