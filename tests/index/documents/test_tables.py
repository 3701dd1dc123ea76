"""CSV, TSV and JSONL as people have them: any table is useful, and what is not understood stays closed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from index.documents.document import Document, Skipped
from index.documents.folder import read_documents
from index.documents.formats import format_of
from index.documents.formats.settings import Fields, FileFields, ReadSettings, Unreadable

READING = Path(__file__).parents[4] / "shared" / "data" / "reading"
"""Files that were once read wrongly; they are beside a checkout of the project, and not part of it."""


def read(name: str, data: bytes | str, fields: Fields | None = None) -> list[Document | Skipped]:
    kind = format_of(name)
    assert kind is not None
    settings = ReadSettings() if fields is None else ReadSettings(fields=fields)
    return kind.read(name, data.encode() if isinstance(data, str) else data, settings)


def rows(name: str, data: bytes | str, fields: Fields | None = None) -> list[Document]:
    found = read(name, data, fields)
    assert all(isinstance(item, Document) for item in found), found
    return [item for item in found if isinstance(item, Document)]


def refusal(name: str, data: bytes | str, fields: Fields | None = None) -> str:
    with pytest.raises(Unreadable) as refused:
        read(name, data, fields)
    return str(refused.value)


# --- any table is useful

PRICES = "item,size,price\nLamp,small,80\nLamp,large,120\n"


def test_a_table_without_a_text_is_served_as_lines_under_its_name() -> None:
    small, large = rows("shop/prices.csv", PRICES)
    assert (small.id, small.title, small.is_markdown) == ("shop/prices.csv#1", "prices", False)
    assert small.text == "item: Lamp\nsize: small\nprice: 80"
    assert large.text == "item: Lamp\nsize: large\nprice: 120"
    assert small.metadata == {"item": "Lamp", "size": "small", "price": "80"}


def test_a_row_without_a_text_among_rows_that_have_one_is_a_fault() -> None:
    good, bad = read("a.csv", "id,text\n1,Bees fly.\n2,\n")
    assert isinstance(good, Document) and good.text == "Bees fly."
    assert isinstance(bad, Skipped) and bad.reason == "1 of 2 rows (line 3: no text in the field 'text')"


def test_names_of_fields_are_found_in_another_case() -> None:
    (row,) = rows("a.csv", "ID,Text,Title\n7,Bees fly.,Bees\n")
    assert (row.id, row.text, row.title) == ("a.csv#7", "Bees fly.", "Bees")


def test_rows_keep_their_ids_when_one_is_inserted_if_a_column_identifies_them() -> None:
    head, old, new = "id,item\n", "7,Lamp\n9,Chair\n", "8,Table\n"
    before = {row.id: row.text for row in rows("a.csv", head + old)}
    after = {row.id: row.text for row in rows("a.csv", head + new + old)}
    assert before.items() <= after.items() and set(after) - set(before) == {"a.csv#8"}


@pytest.mark.parametrize("ids", [("1", "1"), ("1", ""), ("x" * 600, "2")])
def test_rows_are_numbered_if_a_column_named_id_does_not_identify_them(ids: tuple[str, str]) -> None:
    found = rows("orders.csv", "id,item\n" + "".join(f"{identity},Lamp {identity[:1]}\n" for identity in ids))
    assert [row.id for row in found] == ["orders.csv#1", "orders.csv#2"]


def test_values_of_tables_are_metadata_unless_they_are_long_or_others_are_chosen() -> None:
    data = f"id,text,year,note\n1,Bees fly.,2024,{'n' * 257}\n"
    assert rows("a.csv", data)[0].metadata == {"year": "2024"}
    assert rows("a.csv", data, Fields(metadata=("note",)))[0].metadata == {"note": "n" * 257}
    assert rows("a.csv", data, Fields(metadata=()))[0].metadata == {}


def test_what_stands_above_a_table_is_its_caption() -> None:
    (row,) = rows("a.csv", "Sales report 2024,,\n\nregion,amount,change\nNorth,5,+1\n")
    assert (row.id, row.title) == ("a.csv#1", "a > Sales report 2024")
    assert row.text == "region: North\namount: 5\nchange: +1"


def test_a_table_whose_first_line_holds_numbers_has_no_names() -> None:
    first, second = rows("a.csv", "1.5,2\n3,4\n")
    assert (first.id, first.text) == ("a.csv#1", "column 1: 1.5\ncolumn 2: 2")
    assert (second.id, second.text) == ("a.csv#2", "column 1: 3\ncolumn 2: 4")


# --- files as programs write them


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "sep=;\r\nid;text\r\n1;Bees, and ants.\r\n"),
        ("a.csv", '\ufeff"sep=;"\nid;text\n1;"Bees, and ants."\n'),
        ("a.csv", "sep=\t\nid\ttext\n1\tBees, and ants.\n"),
        ("a.csv", '"id";"text"\n"1";"Bees, and ants."\n'),
        ("a.csv", 'id;"text";"a,b,c,d"\n1;Bees, and ants.;\n'),
        ("a.csv", 'id,text,,\n1,"Bees, and ants.",,\n'),
        ("a.csv", 'id,text\n1,"Bees, and ants.",,\n'),
        ("a.csv", "id|text\n1|Bees, and ants.\n"),
        ("a.csv", '\n\nid,text\n\n1,"Bees, and ants."\n,\n'),
        ("a.tsv", "id\ttext\n1\tBees, and ants.\n"),
    ],
)
def test_separators_marks_and_empty_columns_are_seen_through(name: str, data: str) -> None:
    (row,) = rows(name, data)
    assert (row.id, row.text, row.metadata) == (f"{name}#1", "Bees, and ants.", {})


def test_semicolons_in_quoted_names_separate_nothing() -> None:
    (row,) = rows("a.csv", '"name; first";"name; last";age\nAnn;Lee;7\n')
    assert row.text == "name; first: Ann\nname; last: Lee\nage: 7"


def test_columns_without_a_name_keep_their_values() -> None:
    (row,) = rows("a.csv", ",item,price,\n0,Lamp,80,x\n")
    assert row.text == "column 1: 0\nitem: Lamp\nprice: 80\ncolumn 4: x"
    assert [row.text for row in rows("a.csv", ",item\n0,Lamp\n1,Chair\n")] == [
        "column 1: 0\nitem: Lamp",
        "column 1: 1\nitem: Chair",
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (r'"say \"hi\", ok"', 'say "hi", ok'),
        (r'"\"hi\""', '"hi"'),
        (r'"C:\\dir\\, \"x\""', 'C:\\dir\\, "x"'),
        (r'"C:\new, \"x\""', 'C:\\new, "x"'),
        (r'"C:\dir\"', "C:\\dir\\"),
        (r"C:\dir", "C:\\dir"),
        ('"say ""hi"", ok"', 'say "hi", ok'),
        ('"one\n\n# two\n""three"" end"', 'one\n\n# two\n"three" end'),
    ],
)
def test_quotes_are_doubled_or_escaped_and_other_backslashes_stay(cell: str, text: str) -> None:
    first, second = rows("a.csv", f"id,text,note\n1,{cell},x\n2,plain,y\n")
    assert (first.text, first.metadata, second.text) == (text, {"note": "x"}, "plain")


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n",;\\'), max_size=12)


@given(
    table=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_what_the_csv_module_writes_is_read_back(
    table: list[tuple[str, str]], separator: str, quoting: Any, mark: str
) -> None:
    assume(any(text.strip() for text, _ in table))
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator="\n")
    writer.writerow(["nr", "text", "note"])
    for number, (text, note) in enumerate(table):
        writer.writerow([f"n{number}", text, note])
    found = [item for item in read("a.csv", mark + file.getvalue()) if isinstance(item, Document)]
    expected = [(f"n{number}", text, note) for number, (text, note) in enumerate(table) if text.strip()]
    assert [(row.metadata["nr"], row.text, row.metadata.get("note", "")) for row in found] == [
        (nr, text, note.strip()) for nr, text, note in expected
    ]


def test_names_that_occur_twice_are_told_where_they_matter() -> None:
    assert "two columns are named 'text'" in refusal("a.csv", "id,text,text\n1,a,b\n")
    assert "two columns are named 'year'" in refusal("a.csv", "id,year,year\n1,a,b\n", Fields(metadata=("year",)))
    (row,) = rows("a.csv", "item,amount,amount\nLamp,5,6\n")
    assert (row.text, row.metadata) == ("item: Lamp\namount: 5\namount: 6", {"item": "Lamp"})


# --- JSONL


def test_nested_fields_are_named_by_their_path() -> None:
    line = {
        "meta": {"title": "Bees", "year": 2024, "tags": ["x", 1]},
        "body": {"text": "They fly."},
        "who": {"may": "a"},
    }
    fields = Fields(text="body.text", title="meta.title", labels="who.may", metadata=("meta.year", "meta.tags"))
    (row,) = rows("a.jsonl", json.dumps(line), fields)
    assert (row.text, row.title, row.labels) == ("They fly.", "Bees", ("a",))
    assert row.metadata == {"meta.year": 2024, "meta.tags": ["x", 1]}
    (row,) = rows("a.jsonl", json.dumps(line), Fields(text="body.text", labels="who.may", metadata=("meta",)))
    assert row.metadata == {"meta.title": "Bees", "meta.year": 2024, "meta.tags": ["x", 1]}


def test_objects_without_a_text_are_served_as_lines() -> None:
    (row,) = rows("list.jsonl", '{"name": "Bees", "facts": {"legs": 6, "wings": [2, 2], "stings": true}, "none": null}')
    assert (row.title, row.text) == ("list", "name: Bees\nfacts.legs: 6\nfacts.wings: 2, 2\nfacts.stings: true")
    assert row.metadata["facts.legs"] == 6 and row.metadata["facts.stings"] is True


def test_a_key_that_occurs_twice_is_a_fault() -> None:
    reason = refusal("a.jsonl", '{"text": "x", "labels": ["board"], "labels": []}')
    assert "duplicate key 'labels'" in reason


# --- maps of fields for certain files


def test_each_file_has_the_map_of_the_first_pattern_that_matches_it(tmp_path: Path) -> None:
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "a.csv").write_text("nr,answer,question\n1,They fly.,What do bees do?\n")
    (tmp_path / "b.csv").write_text("nr,text\n1,Ants walk.\n")
    (tmp_path / "c.tsv").write_text("id\tbody\n1\tMoths hide.\n")
    settings = ReadSettings(
        fields=Fields(text="body"),
        fields_by_file=(
            FileFields("faq/*.csv", Fields(text="answer", title="question", id="nr")),
            FileFields("*.csv", Fields(id="nr")),
        ),
    )
    documents, skipped = read_documents(tmp_path, settings)
    assert not skipped
    assert [(found.id, found.title, found.text) for found in documents] == [
        ("b.csv#1", "b.csv#1", "Ants walk."),
        ("c.tsv#1", "c.tsv#1", "Moths hide."),
        ("faq/a.csv#1", "What do bees do?", "They fly."),
    ]


# --- access


@pytest.mark.parametrize("name", ["Labels", "label", "LABELS", "labels:", "lables", "access"])
def test_a_column_that_looks_like_labels_closes_the_table(name: str) -> None:
    assert name in refusal("a.csv", f"id,text,{name}\n1,The director earns 9.,board\n")
    assert name in refusal("a.jsonl", json.dumps({"text": "The director earns 9.", name: ["board"]}))


@pytest.mark.parametrize(
    "row",
    [
        {"text": "x", "meta": {"labels": ["board"]}},
        {"text": "x", "labels": {"read": ["board"]}},
        {"text": "x", "rules": [{"label": "board"}]},
        {"text": "x", "labels": 7},
    ],
    ids=json.dumps,
)
def test_labels_in_another_place_or_of_another_kind_close_the_row(row: dict[str, Any]) -> None:
    good, bad = read("a.jsonl", '{"text": "open"}\n' + json.dumps(row))
    assert isinstance(good, Document) and good.text == "open" and isinstance(bad, Skipped)
    assert "labels" in bad.reason


def test_the_column_of_labels_may_have_any_name_but_only_exactly_that() -> None:
    data = "id,text,Label\n1,The director earns 9.,board\n"
    (row,) = rows("a.csv", data, Fields(labels="Label"))
    assert row.labels == ("board",) and row.metadata == {}
    assert "'Teams'" in refusal("a.csv", "text,Teams\nx,board\n", Fields(labels="teams"))


def test_labels_are_not_served_as_text() -> None:
    (row,) = rows("pay.csv", "name,pay,labels\nAnn,9,board\n")
    assert (row.text, row.labels, row.metadata) == ("name: Ann\npay: 9", ("board",), {"name": "Ann", "pay": "9"})


def test_a_row_that_ends_before_its_labels_is_not_open() -> None:
    first, second, fault = read("a.csv", "text,labels\nThe director earns 9.\nopen,\nclosed,board\n")
    assert isinstance(first, Document) and isinstance(second, Document) and isinstance(fault, Skipped)
    assert (first.text, first.labels, second.labels) == ("open", (), ("board",))
    assert "line 2: it ends before the column of labels" in fault.reason


@pytest.mark.parametrize(
    "data",
    [
        "id;text;labels\n" + "1;Hello, world\n" * 5,
        "# labels: board\nid,text\n1,The director earns 9.\n",
        "labels: board,\n,\nid,text\n1,The director earns 9.\n",
        "sep=|\nid;text;labels\n1;The director earns 9.;board\n",
        "Salaries,2024,\nname,pay,labels\nAnn,9,board\n",
        "Salaries,confidential\nname,labels\nThe director earns 9.,board\n",
        "1,2\ntext,labels\nThe director earns 9.,board\n",
    ],
)
def test_labels_are_never_lost_by_a_guess(data: str) -> None:
    try:
        found = read("a.csv", data)
    except Unreadable:
        return
    assert all(item.labels for item in found if isinstance(item, Document))


SECRET = "The director earns 9"
CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n",;|\\'), max_size=8)


@given(data=st.data())
def test_no_row_whose_author_gave_it_a_label_is_open(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["id", "text", "item", "", "note"]), min_size=1, max_size=4))
    label = data.draw(st.sampled_from(["labels", "Labels", "label", " labels ", "LABEL", '"labels"', "lables"]))
    place = data.draw(st.integers(0, len(names)))
    names.insert(place, label)
    separator = data.draw(st.sampled_from(",;\t|"))
    lines = [data.draw(st.lists(CELLS, min_size=len(names), max_size=len(names))) for _ in range(3)]
    for line in lines:
        line[place] = "board"
        line[data.draw(st.sampled_from([other for other in range(len(names) + 1) if other != place])) :][:1] = [SECRET]
        line[:] = [*line[: len(names) - data.draw(st.integers(0, 1))]]
    captions = data.draw(st.lists(st.lists(CELLS, max_size=2), max_size=2))
    file = io.StringIO()
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(file, delimiter=separator, quoting=quoting).writerows([*captions, names, *lines])
    text = data.draw(st.sampled_from(["", "\ufeff", f"sep={separator}\n"])) + file.getvalue()
    try:
        found = read("a.csv", text)
    except Unreadable:
        return
    assert not [item for item in found if isinstance(item, Document) and not item.labels and "board" in item.text]
    assert not [item for item in found if isinstance(item, Document) and not item.labels and SECRET in item.text]


@given(
    name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]),
    data=st.one_of(st.text(max_size=60), st.binary(max_size=60), st.text('{}[]":,;\n\t\\ a1', max_size=60)),
)
def test_a_table_is_read_or_named_whatever_it_holds(name: str, data: str | bytes) -> None:
    try:
        read(name, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    except Unreadable as error:
        assert str(error)


@pytest.mark.parametrize("depth", [50, 300, 600, 900, 990, 5_000])
def test_nesting_without_end_is_named(depth: int) -> None:
    for inner in ('{"a": ' * depth + "1" + "}" * depth, '{"a": ' + "[" * depth + "]" * depth + "}"):
        try:
            read("a.jsonl", f'{{"b": {inner}}}')
        except Unreadable as error:
            assert "line 1" in str(error)


# --- files that were once read wrongly

RIGHT = {
    "55-csv-trailing-empty-columns/t.csv": [("t.csv#1", "Bees", "Bees fly."), ("t.csv#2", "Ants", "Ants walk.")],
    "56-csv-excel-sep-line/t.csv": [("t.csv#1", "t.csv#1", "Bees fly.")],
    "59-csv-multi-column/prices.csv": [
        ("prices.csv#1", "prices", "item: Lamp\nsize: small\nprice: 80"),
        ("prices.csv#2", "prices", "item: Lamp\nsize: large\nprice: 120"),
    ],
    "60-csv-two-tables-two-schemas/faq.csv": [("faq.csv#1", "faq.csv#1", "Bees fly.")],
    "60-csv-two-tables-two-schemas/people.csv": [("people.csv#1", "people", "id: 1\nanswer: Ann\nquestion: who")],
    "61-csv-types/t.csv": [("t.csv#1", "t.csv#1", "Old."), ("t.csv#2", "t.csv#2", "New.")],
    "63-csv-row-long-text-quoted-newlines/t.csv": [
        ("t.csv#1", "t.csv#1", 'line one\n\n# not a heading\n"quoted" end'),
    ],
}


@pytest.mark.skipif(not READING.is_dir(), reason=f"needs the files in {READING}")
@pytest.mark.parametrize("path", RIGHT)
def test_files_that_were_once_read_wrongly(path: str) -> None:
    file = READING / path
    found = rows(file.name, file.read_bytes())
    assert [(row.id, row.title, row.text) for row in found] == RIGHT[path]
    if path.startswith("61"):
        assert [row.metadata["year"] for row in found] == ["2019", "2024"]
