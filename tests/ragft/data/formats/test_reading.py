"""The files that rows come in: arrays, tables in several encodings, Parquet and Arrow by split."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from ragft.data.formats import reading
from ragft.data.formats.importing import import_rows
from ragft.data.formats.reading import fields_named, rows_in
from ragft.errors import UsageError

PAIR = {"question": "Was?", "answer": "Öl"}


def read(
    path: Path, form: str = "auto", split: str | None = None, names: Mapping[str, str] | None = None
) -> list[tuple[str, Any]]:
    return [(where.rpartition(", ")[2], values) for where, values in rows_in(path, form, split, names or {})]


def test_a_json_array_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    path.write_bytes(b"\xef\xbb\xbf\n " + json.dumps([{"a": 1.5}, {"a": "ö"}, [1]], indent=1).encode())
    assert read(path) == [("row 1", {"a": 1.5}), ("row 2", {"a": "ö"}), ("row 3", "it is no object, but a list")]
    for rest in (', {"a":', "] and more", "]]"):
        path.write_text('[{"a": 1}' + rest)
        with pytest.raises(UsageError, match="no JSON behind row 1"):
            read(path)


def test_an_item_that_is_nested_too_deeply_is_a_reason_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('[{"a": ' + "[" * 100_000 + "]" * 100_000 + '}, {"a": [[1], {}]}, 7]')
    assert read(path) == [
        ("row 1", "it is nested more than 100 levels deep"), ("row 2", {"a": [[1], {}]}),
        ("row 3", "it is no object, but a int"),
    ]  # fmt: skip
    path.write_text('[{"a": ' + "[" * 99 + "]" * 99 + "}]")
    assert isinstance(read(path)[0][1], dict)


@pytest.mark.parametrize(
    ("encoding", "above", "separator"),
    [("utf-8", "", ","), ("utf-8-sig", "", ";"), ("utf-16", "", "\t"), ("cp1252", "sep=;\n", ";")],
)
def test_tables_are_read_in_the_encoding_and_with_the_separator_they_have(
    tmp_path: Path, encoding: str, above: str, separator: str
) -> None:
    rows = [["Frage", "Antwort", "tags", "Nr"],
            ['"Wie viel\nÖl für die Mühle?"', "Zwölf Gläser für die Küche", "a;b", "7"],
            ["zu", "wenig"]]  # fmt: skip
    path = tmp_path / "fragen.csv"
    path.write_bytes((above + "".join(separator.join(row) + "\n" for row in rows)).encode(encoding))
    if separator == ";":
        path.write_bytes(path.read_bytes().replace(b"a;b", b'"a;b"'))
    found = read(path, names={"question": "Frage", "answer": "Antwort"})
    line = 2 + bool(above)
    assert found[0] == (
        f"line {line}",
        {
            "tags": ["a", "b"],
            "Nr": "7",
            "question": "Wie viel\nÖl für die Mühle?",
            "answer": "Zwölf Gläser für die Küche",
        },
    )
    assert found[1] == (f"line {line + 2}", "it has 2 cells, and the first line names 4 columns")


def test_a_table_too_long_to_be_decoded_at_once_must_be_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WHOLE", 8)
    path = tmp_path / "t.csv"
    path.write_text("question,answer\nWas?,Öl\n", encoding="utf-8-sig")
    assert read(path) == [("line 2", PAIR)]
    path.write_bytes("question,answer\nWas?,Öl\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8: save it as UTF-8"):
        read(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no rows"), ("a,a\n1,2\n", "names 'a' twice"), ("a,\n1,2\n", "without a name"),
        ('a,b\n"x,y\n', "line 2: not valid CSV"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=reason):
        read(tmp_path / "t.csv")


def test_columns_are_named_by_field_and_missing_ones_refused(tmp_path: Path) -> None:
    assert fields_named("question=Frage, answer = A") == {"question": "Frage", "answer": "A"}
    for wrong in ("question", "question=", "question=a,question=b"):
        with pytest.raises(UsageError, match="each field once"):
            fields_named(wrong)
    (tmp_path / "t.csv").write_text("Frage,Antwort\nx,y\n")
    with pytest.raises(UsageError, match=r"no column 'Fragen'.*'Frage', 'Antwort'"):
        read(tmp_path / "t.csv", names={"question": "Fragen"})


def test_a_mapped_column_may_be_empty_in_places_and_hold_a_list(tmp_path: Path) -> None:
    names = {"question": "Frage", "sources": "Quelle"}
    (tmp_path / "t.csv").write_text("Frage,question,Quelle\nx,old,\ny,old,a.md;b.md\n")
    (tmp_path / "t.jsonl").write_text('{"Frage": "x"}\n{"Frage": "y", "question": "old", "Quelle": "a.md; b.md"}\n')
    for name in ("t.csv", "t.jsonl"):
        found = [values for _, values in read(tmp_path / name, names=names)]
        assert found == [{"question": "x"}, {"question": "y", "sources": ["a.md", "b.md"]}], name
    (tmp_path / "broken.csv").write_text("Frage\nx,too many\ny\n")
    with pytest.raises(UsageError, match="no column 'Quelle'"):
        read(tmp_path / "broken.csv", names=names)


def test_a_weight_in_a_table_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,answer,weight\nWas?,Öl,0\nWas?,Öl,1.0\nWas?,Öl,0.5\nWas?,Öl,\n")
    assert [values.get("weight") for _, values in read(tmp_path / "t.csv")] == [0, 1, "0.5", None]
    told = import_rows(tmp_path / "t.csv", tmp_path / "e.jsonl")
    assert (told.held, told.weightless, told.unheld) == (3, 1, 1)
    assert "`weight` is '0.5'" in told.first[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"question": "Öl?", "answer": "a"}]'.encode("latin-1"), "not UTF-8"),
        ('{"question": "Öl?", "answer": "a"}'.encode("latin-1"), "line 1: not UTF-8"),
        ('{"question": "Öl?", "answer": "a"}'.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ('[{"question": "Öl?"}]'.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        (b"[]", "holds no rows"), (b"\xef\xbb\xbf", "line 1: no JSON"), (b'"text"', "write an object with fields"),
        (b'{"question": "a?", "answer": "b", "score": 1e999}', "1e999 is not a finite number"),
    ],
)  # fmt: skip
def test_where_no_row_can_be_read_the_first_reason_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        import_rows(tmp_path / "rows.json", tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_a_number_that_is_not_finite_is_not_held(tmp_path: Path) -> None:
    rows = table({"question": "a?", "answer": "b", "score": float("nan")}, {"question": "c?", "answer": "d"})
    parquet.write_table(rows, tmp_path / "rows.parquet")
    told = import_rows(tmp_path / "rows.parquet", tmp_path / "out.jsonl")
    assert (told.held, told.unheld) == (1, 1) and "not finite" in told.first[0]


def test_a_file_that_stands_where_the_unheld_rows_go_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "a?", "answer": "b"}\n{"question": "c?"}\n')
    (tmp_path / "out.unheld.jsonl").write_text("of an earlier import")
    with pytest.raises(UsageError, match=r"out\.unheld\.jsonl exists already"):
        import_rows(tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    assert (tmp_path / "out.unheld.jsonl").read_text() == "of an earlier import"
    assert not (tmp_path / "out.jsonl").exists()


def table(*rows: dict[str, Any]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist(list(rows))


def test_a_hub_folder_names_its_splits_and_is_read_in_batches(tmp_path: Path) -> None:
    rows = [{**PAIR, "id": number, "day": datetime.date(2026, 1, 2), "none": None} for number in range(600)]
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows[:300], rows[300:])):
        parquet.write_table(table(*part), tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    parquet.write_table(table(rows[0]), tmp_path / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="--split: test, train"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no split 'dev': it has test, train"):
        read(tmp_path, split="dev")
    found = read(tmp_path, split="train")
    assert [values["id"] for _, values in found] == list(range(600))
    assert found[0] == ("row 1", {**PAIR, "id": 0, "day": "2026-01-02"}) and found[300][0] == "row 1"
    told = import_rows(tmp_path, tmp_path / "e.jsonl", form="hf", split="test")
    assert (told.format, told.held, dict(told.kept)) == ("ragft", 1, {"day": 1})


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        with pyarrow.ipc.new_stream(tmp_path / split / "data-00000-of-00001.arrow", table(PAIR).schema) as writer:
            writer.write_table(table(PAIR, {**PAIR, "question": split}))
        (tmp_path / split / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
        )
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    assert read(tmp_path, split="validation")[1] == ("row 2", {**PAIR, "question": "validation"})
    assert len(read(tmp_path / "train")) == 2


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a dataset"):
        read(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR0")
    with pytest.raises(UsageError, match=r"x\.parquet cannot be read"):
        read(tmp_path)
    for name in ("none.jsonl", "none.csv", "none.parquet"):
        with pytest.raises(UsageError, match="There is no file"):
            read(tmp_path / name)
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="leave it out"):
        read(tmp_path / "a.jsonl", split="train")
