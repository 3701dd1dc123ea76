"""The language of filters: what each form means, what is refused, and which rows are selected."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.documents.document import Document
from index.documents.formats import delimited
from index.documents.formats.settings import ReadSettings
from index.store.columns import Columns
from index.store.filters import Filter, FilterError, both, parse_filter, parse_labels, parse_where

ROW = {
    "product": "nginx",
    "year": 2024,
    "version": "1.10",
    "draft": False,
    "tags": ["web", "proxy"],
    "and": "also",
    "title": "of the metadata",
}


def table(rows: list[dict[str, Any]], labels: list[list[str]] | None = None) -> pa.Table:
    """The columns of a segment that filters look at; `_document`, `_title` and `_page` of a row are no metadata."""
    metadata = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
    return pa.table(
        {
            "document_id": pa.array([row.get("_document", "guides/a.md") for row in rows], pa.string()),
            "title": pa.array([row.get("_title", "Guide") for row in rows], pa.string()),
            "page": pa.array([row.get("_page") for row in rows], pa.int32()),
            "metadata": pa.array([json.dumps(content, sort_keys=True) for content in metadata], pa.string()),
            "labels": pa.array(labels or [[] for _ in rows], pa.list_(pa.string())),
        }
    )


def holds(value: Filter | None, row: dict[str, Any]) -> bool:
    assert value is not None
    (selected,) = Columns(table([row])).select(value.expression)
    return bool(selected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        ({"product": "nginx"}, True),
        ({"product": "apache"}, False),
        ({"product": "nginx", "year": 2023}, False),
        ({"product": {"in": ["apache", "nginx"]}}, True),
        ({"product": {"in": []}}, False),
        ({"year": {"gte": 2024, "lt": 2025}}, True),
        ({"year": {"gt": 2024}}, False),
        ({"year": {"lte": 2024.0}}, True),
        ({"year": 2024.0}, True),
        ({"version": {"gt": "1.0"}}, True),
        ({"not": {"product": "nginx"}}, False),
        ({"or": [{"product": "apache"}, {"year": 2024}]}, True),
        ({"or": []}, False),
        ({"and": [{"product": "nginx"}, {"not": {"draft": True}}]}, True),
        ({"and": []}, True),
        ({"document": {"glob": "guides/*"}}, True),
        ({"document": "guides/b.md"}, False),
        ({"title": "Guide"}, True),
        ({"metadata.title": {"glob": "of the*"}}, True),
        ({"metadata.and": "also"}, True),
        ({"page": {"gte": 7}}, True),
        ({"page": 8}, False),
    ],
    ids=json.dumps,
)
def test_each_form_means_what_it_says(value: dict[str, Any], expected: bool) -> None:
    assert holds(parse_filter(value), {**ROW, "_page": 7}) == expected


@pytest.mark.parametrize("value", ["web", {"glob": "pro*"}, {"gt": "v"}, {"in": ["db", "proxy"]}])
def test_a_list_passes_if_any_of_its_entries_does(value: Any) -> None:
    assert holds(parse_filter({"tags": value}), ROW)
    assert not holds(parse_filter({"tags": value}), {**ROW, "tags": []})


@pytest.mark.parametrize(
    "value",
    [{"year": "2024"}, {"draft": 0}, {"year": {"gte": "0"}}, {"product": {"lt": 2}}, {"year": {"glob": "*"}}],
    ids=json.dumps,
)
def test_values_of_another_type_never_pass(value: dict[str, Any]) -> None:
    assert not holds(parse_filter(value), ROW)
    assert holds(parse_filter({"not": value}), ROW)


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ("2024", 2024),
        ("2024", {"gte": 2023}),
        ("2024", {"in": [2023, 2024.0]}),
        ("-3.5", {"lt": -3}),
        ("-3.5", -3.5),
        ("0", 0),
        (["2023", "2024"], {"gt": 2023}),
        ([2023, 2024], {"gt": 2023}),
        ("9007199254740993", 9007199254740993),
        ("80.00", 80),
        ("80.00", {"gte": 80}),
        ("80.00", {"lt": 80.5}),
        ("19.90", {"gt": 19.5, "lt": 20}),
        ("1.10", {"gt": 1, "lt": 2}),
        ("1.9", {"gt": 1.5}),
        ("true", True),
        ("FALSE", False),
    ],
    ids=str,
)
def test_a_number_or_truth_finds_text_that_is_nothing_else(found: Any, value: Any) -> None:
    assert holds(parse_filter({"x": value}), {"x": found})


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ("01234", 1234),
        ("01234", {"gt": 0}),
        ("+5", 5),
        ("1e3", 1000),
        ("1,234", {"gt": 0}),
        ("12:30", {"gt": 0}),
        (" 5", 5),
        ("5\n", 5),
        ("٥", 5),
        ("", {"lte": 0}),
        ("1.10", 1.1),
        ("1.10", {"gt": 1.5}),
        ("1.10", {"lt": 1.5}),
        ("NO", False),
        ("no", False),
        ("1", True),
        ("true", 1),
        (2024, "2024"),
        ("9" * 400, {"gt": 0}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_text_that_may_be_something_else_keeps_its_letters(found: Any, value: Any) -> None:
    assert not holds(parse_filter({"x": value}), {"x": found})
    if isinstance(found, str):
        assert holds(parse_filter({"x": found}), {"x": found})


@pytest.mark.parametrize(
    ("found", "value", "expected"),
    [
        ("2024-05-01", {"gte": "2024-05-01", "lt": "2024-05-02"}, True),
        ("2024-05-01T10:30:00", {"lte": "2024-05-01"}, True),  # an hour of that day
        ("2024-05-01 10:30", {"gt": "2024-05-01"}, False),
        ("2024-05-31", {"lte": "2024-05"}, True),
        ("2024-05-01", {"gt": "2024-05-01T10:00"}, False),
        ("2024-05-01T12:00+02:00", {"lte": "2024-05-01T10:00Z"}, True),
        ("2024-05-01T12:00:00.250Z", {"gt": "2024-05-01T12:00:00Z"}, True),
        ("2024-05-01T99:00", {"gt": "2024-05-01T12:00:00Z"}, False),
        ("unknown", {"gte": "2024-01-01"}, False),
        ("01.05.2025", {"lt": "2024-01-01"}, False),
        ("2024-13-01", {"gte": "2024-01-01"}, False),
    ],
    ids=str,
)
def test_dates_are_compared_as_dates(found: str, value: Any, expected: bool) -> None:
    assert holds(parse_filter({"x": value}), {"x": found}) == expected


def test_columns_of_a_csv_file_are_compared_as_what_they_hold() -> None:
    data = (
        b"id,text,year,version,active,zip,day\n"
        b"1,Old.,2019,1.10,true,01234,2019-03-01\n"
        b"2,New.,2024,1.9,NO,99,2024-03-01\n"
    )
    documents = delimited.read("t.csv", data, ReadSettings())
    rows = [dict(found.metadata) for found in documents if isinstance(found, Document)]

    def found(value: dict[str, Any]) -> list[bool]:
        return Columns(table(rows)).select(parse_filter(value).expression).tolist()

    assert found({"year": {"gte": 2023}}) == [False, True]
    assert found({"day": {"lt": "2024-01-01"}}) == [True, False]
    assert found({"active": True}) == [True, False] and found({"active": "NO"}) == [False, True]
    assert found({"version": "1.10"}) == [True, False] and found({"version": 1.1}) == [False, False]
    assert found({"zip": {"gt": 0}}) == [False, True] and found({"zip": "01234"}) == [True, False]


def test_truth_is_not_the_number_one_even_among_remembered_filters() -> None:
    assert parse_filter({"draft": True}) != parse_filter({"draft": 1})
    assert holds(parse_filter({"draft": True}), {"draft": True})
    assert not holds(parse_filter({"draft": 1}), {"draft": True})


def test_a_missing_field_passes_nothing_but_the_question_whether_it_is_there() -> None:
    for value in ("x", {"gte": 0}, {"in": ["x"]}, {"glob": "*"}, {"exists": True}):
        assert not holds(parse_filter({"owner": value}), ROW)
    assert holds(parse_filter({"owner": {"exists": False}}), ROW)
    assert holds(parse_filter({"year": {"exists": True}}), ROW)
    assert not holds(parse_filter({"page": {"exists": True}}), ROW)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (7, "object"),
        ([{"year": 1}], "object"),
        ({"year": {"newer": 1}}, "'newer'"),
        ({"year": {}}, "'year'"),
        ({"year": {"gte": True}}, "number or a text"),
        ({"year": {"gte": [1]}}, "number or a text"),
        ({"year": float("nan")}, "'year'"),
        ({"year": {"in": 2024}}, "list"),
        ({"year": {"in": [[1]]}}, "'year'"),
        ({"year": None}, "exists"),
        ({"year": {"exists": "yes"}}, "true or false"),
        ({"document": {"glob": 7}}, "text"),
        ({"and": {"year": 1}}, "list"),
        ({"or": [7]}, "object"),
        ({"not": [{"year": 1}]}, "object"),
        ({7: 1}, "text"),
        ({"year": {"in": list(range(10_001))}}, "10001"),
        ({"or": [{"year": number} for number in range(101)]}, "100"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_understood_is_refused_in_a_sentence(value: Any, named: str) -> None:
    with pytest.raises(FilterError, match="ilter") as refused:
        parse_filter(value)
    assert named in str(refused.value)
    assert str(refused.value).endswith(".") and len(str(refused.value)) < 250


def test_endless_nesting_is_refused() -> None:
    value: dict[str, Any] = {"year": 1}
    for _ in range(10_000):
        value = {"not": value}
    with pytest.raises(FilterError, match="16 deep"):
        parse_filter(value)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["year>=2024"], True),
        (["year > 2024"], False),
        (["year<2025", "product=nginx"], True),
        (["year<=2023"], False),
        (["product!=nginx"], False),
        (["version=1.10"], True),  # the text 1.10, not the number 1.1
        (["version=1.1"], False),
        (["year=2024"], True),
        (["draft=false"], True),
        (["document~guides/*"], True),
        (['{"tags": {"in": ["web"]}}', "year=2024"], True),
        (["owner=a=b"], False),
    ],
    ids=str,
)
def test_conditions_of_the_command_line(conditions: list[str], expected: bool) -> None:
    assert holds(parse_where(conditions), ROW) == expected


@pytest.mark.parametrize("condition", ["year", "=2024", "", "{year: 1}", '{"year": {"newer": 1}}'])
def test_a_condition_that_cannot_be_understood_is_refused(condition: str) -> None:
    with pytest.raises(FilterError):
        parse_where([condition])


def test_no_condition_is_no_filter() -> None:
    assert parse_where([]) is None


def test_both_filters_must_hold_and_stand_in_one_json() -> None:
    nginx, new = parse_filter({"product": "nginx"}), parse_filter({"year": {"gte": 2025}})
    together = both(nginx, new)
    assert together is not None and together == parse_filter(together.to_json())
    assert not holds(together, ROW) and holds(together, {**ROW, "year": 2025})
    assert (both(nginx, None), both(None, new), both(None, None)) == (nginx, new, None)


def test_labels_are_named_or_all_or_none() -> None:
    assert parse_labels("staff, finance") == {"staff", "finance"}
    assert parse_labels("staff,*") is None
    assert parse_labels(" ") == frozenset()
    assert parse_labels("human  resources; board") == {"human resources", "board"}
    for text in ("staff,,finance", "a=b", "[staff]", "-staff", "sta\u200bff", ","):
        with pytest.raises(FilterError, match="label"):
            parse_labels(text)


SCALARS = st.one_of(
    st.sampled_from(["", "a", "b", "ab", "2024", "A", "1", "01", "-2", "0.5", "True"]),
    st.integers(-2, 2),
    st.booleans(),
    st.sampled_from([0.5, 1.0]),
)
VALUES = st.one_of(SCALARS, st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3))
FIELDS = st.sampled_from(["x", "y", "document", "title", "page", "metadata.title"])
ROWS = st.fixed_dictionaries(
    {"_document": st.sampled_from(["a", "ab", "a/b"]), "_title": st.sampled_from(["a", "B"])},
    optional={"_page": st.integers(1, 3), "x": VALUES, "y": VALUES, "title": VALUES},
)
TESTS = st.one_of(
    SCALARS,
    st.builds(lambda value: {"eq": value}, SCALARS),
    st.builds(lambda values: {"in": values}, st.lists(SCALARS, max_size=3)),
    st.builds(lambda truth: {"exists": truth}, st.booleans()),
    st.builds(lambda pattern: {"glob": pattern}, st.sampled_from(["*", "a*", "?", "[ab]", ""])),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([0, 1.0, "a", "b"]), min_size=1),
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, TESTS, max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda kind, parts: {kind: parts}, st.sampled_from(["and", "or"]), st.lists(inner, max_size=3)),
    ),
    max_leaves=5,
)


def passes(value: dict[str, Any], row: dict[str, Any]) -> bool:
    """A second implementation of the language, row by row and as plain as possible."""
    for key, content in value.items():
        if key == "not":
            good = not passes(content, row)
        elif key == "and":
            good = all(passes(part, row) for part in content)
        elif key == "or":
            good = any(passes(part, row) for part in content)
        else:
            name = f"_{key}" if key in ("document", "title", "page") else key.removeprefix("metadata.")
            tests = content if isinstance(content, dict) else {"eq": content}
            good = all(_passes(kind, wanted, row.get(name)) for kind, wanted in tests.items())
        if not good:
            return False
    return True


def _passes(kind: str, wanted: Any, found: Any) -> bool:
    if kind == "exists":
        return bool((found is not None) == wanted)
    if isinstance(found, list):
        return any(_passes(kind, wanted, entry) for entry in found)
    if found is None:
        return False
    if kind == "in":
        return any(_passes("eq", one, found) for one in wanted)
    if kind == "glob":
        return isinstance(found, str) and fnmatch.fnmatchcase(found, wanted)
    if isinstance(found, str) and not isinstance(wanted, str):
        read = {"2024": 2024, "1": 1, "-2": -2, "0.5": 0.5, "True": True}.get(found)
        found = read if read is not None and isinstance(read, bool) == isinstance(wanted, bool) else found
    comparable = isinstance(found, str) == isinstance(wanted, str) and isinstance(found, bool) == isinstance(
        wanted, bool
    )
    if kind == "eq":
        return comparable and bool(found == wanted)
    if not comparable or isinstance(found, bool):
        return False
    return bool({"gt": found > wanted, "gte": found >= wanted, "lt": found < wanted, "lte": found <= wanted}[kind])


@pytest.mark.medium
@settings(max_examples=300, deadline=None)
@given(value=FILTERS, rows=st.lists(ROWS, max_size=6))
def test_selected_rows_are_those_that_pass_one_by_one(value: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    selected = Columns(table(rows)).select(parse_filter(value).expression)
    assert selected.tolist() == [passes(value, row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.lists(st.sampled_from("abc"), max_size=3, unique=True), max_size=8),
    callers=st.sets(st.sampled_from("abcd")),
)
def test_rows_are_open_to_those_who_share_a_label_and_without_labels_to_all(
    labels: list[list[str]], callers: set[str]
) -> None:
    columns = Columns(table([{}] * len(labels), labels))
    assert columns.open_to(frozenset(callers)).tolist() == [not own or bool(callers & set(own)) for own in labels]
