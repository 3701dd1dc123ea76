"""Where sources of questions stand in an index, by the whole path of headings."""

from __future__ import annotations

import pytest
from support.evaluation import passage, question, record, value

from index.documents.chunking import Chunk
from ragft.data.gold import located
from ragft.evaluate.records import PassageRef


def chunk(*path: str, document: str = "a.md", text: str = "text") -> Chunk:
    return Chunk(document, path[0], path, 0, len(text), text, "")


def shown(*path: str, document: str = "a.md") -> PassageRef:
    return PassageRef("id", document, path[-1], 0.5, path[0], (), path)


CHUNKS = [chunk("Support", text="Right."), chunk("Old", "Support", text="Other."), chunk("New", document="b.md")]


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("a.md#Support", [("a.md", ("Support",))]),  # named in full, before the longer path that ends in the same way
        ("a.md#Old > Support", [("a.md", ("Old", "Support"))]),
        ("b.md", [("b.md", ())]),
        ("a.md#Gone", []),
    ],
)
def test_a_source_stands_where_its_path_says(source: str, meant: list[object]) -> None:
    where = located([question(sources=[source])], CHUNKS)
    assert where.questions[0].places == (tuple(meant),)
    assert bool(where.absent) is not bool(meant) and not where.unclear


def test_a_section_of_the_same_name_is_not_the_source() -> None:
    (asked,) = located([question(sources=["a.md#Support"])], CHUNKS).questions
    assert value("retrieval_hit", asked, record("", passages=(shown("Support"),))) == 1.0
    assert value("retrieval_hit", asked, record("", passages=(shown("Old", "Support"),))) == 0.0
    # Without an index, the last headings are all there is to go by.
    assert value("retrieval_hit", question(), record("", passages=(passage("Django 4.2"),))) == 1.0


def test_the_passages_of_a_source_are_those_of_its_section() -> None:
    where = located([question(id="q", sources=["a.md#Support", "b.md"])], CHUNKS)
    assert where.passages["q"] == (("Support\nRight.",), ("New\ntext",))


def test_a_source_that_may_mean_two_sections_is_told() -> None:
    chunks = [chunk("A", "Support"), chunk("B", "Support")]
    where = located([question(sources=["a.md#Support"])], chunks)
    assert where.unclear == {"a.md#Support": ["a.md#A > Support", "a.md#B > Support"]}
