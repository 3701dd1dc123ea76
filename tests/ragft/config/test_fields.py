"""How tables are read and filtered: maps of fields for all files or for some, and dates in filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.documents.formats.settings import Fields
from ragft.config.loading import load_config, load_with_sources
from ragft.errors import UsageError


def config(folder: Path, fields: str) -> Path:
    path = folder / "ragft.yaml"
    path.write_text(f"name: desk\nmodel: {{base: tiny}}\nindex:\n  documents:\n    fields: {fields}\n")
    return path


def test_one_map_holds_for_all_files(tmp_path: Path) -> None:
    reading = load_config(config(tmp_path, "{text: answer, metadata: [year]}")).index.documents.settings()
    assert reading.fields_of("any/where.csv") == Fields(text="answer", metadata=("year",))


@pytest.mark.parametrize("form", ["[{}]", "{{by_file: [{}], id: key}}"])
def test_a_list_has_a_map_for_each_pattern_of_files(tmp_path: Path, form: str) -> None:
    path = config(tmp_path, form.format("{files: 'faq/*.csv', text: answer}, {files: '*.csv', title: name}"))
    reading = load_config(path).index.documents.settings()
    assert reading.fields_of("faq/a.csv") == Fields(text="answer")
    assert reading.fields_of("other/a.csv") == Fields(title="name")
    assert reading.fields_of("a.jsonl") == (Fields() if form.startswith("[") else Fields(id="key"))


def test_a_map_can_be_overridden_on_the_command_line(tmp_path: Path) -> None:
    loaded = load_with_sources(config(tmp_path, "{text: answer}"), ["index.documents.fields.text=body"])
    assert loaded.values()["index.documents.fields.text"] == "body"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ("[{files: '*.csv', txet: answer}]", "did you mean 'text'"),
        ("[{text: answer}]", "'index.documents.fields.by_file.0.files' is missing"),
        ("[{files: '!'}]", "is not a pattern"),
        ("7", "index.documents.fields"),
    ],
)
def test_mistakes_in_maps_are_named(tmp_path: Path, fields: str, named: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(config(tmp_path, fields))
    assert named in str(refused.value)


def test_dates_in_a_filter_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "ragft.yaml"
    path.write_text(
        "name: desk\nmodel: {base: tiny}\nindex:\n  search:\n"
        "    filter: {or: [{day: {gte: 2024-05-01}}, {year: 2024}]}\n"
    )
    found = load_config(path).index.search
    assert found.filter == {"or": [{"day": {"gte": "2024-05-01"}}, {"year": 2024}]}
    assert found.settings().filter is not None
