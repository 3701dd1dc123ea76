"""A source names a document, or a section of one, as its author would write it."""

from __future__ import annotations

import pytest

from ragft.data.sources import Source


@pytest.mark.parametrize(
    ("source", "heading", "title", "matches"),
    [
        ("django.md#4.2", "4.2", "Django", True),
        ("django.md#4.2", "Django 4.2", "Django", True),
        ("django.md#4.2", "DJANGO   4.2", "Django", True),
        ("django.md#Django 4.2", "Django 4.2", "Django", True),
        ("django.md#4.2", "Django: 4.2", "Django", True),
        ("django.md#4.2", "Django 4.2.1", "Django", False),
        ("django.md#4.2", "Django 14.2", "Django", False),
        ("django.md#4.2", "Django4.2", "Django", False),
        ("django.md#4.2", "Django 4.2", "", False),
        ("django.md", "anything", "Django", True),
        ("django.md#", "anything", "Django", True),
        ("other.md#4.2", "4.2", "Django", False),
        ("django.mdx#4.2", "4.2", "Django", False),
    ],
)
def test_a_passage_matches_the_section_that_a_source_names(
    source: str, heading: str, title: str, matches: bool
) -> None:
    assert Source(source).matches("django.md", (title, heading), title) is matches


def test_a_document_may_have_a_hash_in_its_name() -> None:
    assert Source("c#.md#8.0").matches("c#.md", ("C# 8.0",), "C#")
    assert not Source("c#.md#8.0").matches("c", ("8.0",), "C")


@pytest.mark.parametrize(
    ("source", "matches"),
    [
        ("node.md", True),
        ("node.md#Node.js 22", True),
        ("node.md#22", True),
        ("node.md#node.js  22", True),
        ("node.md#2", False),
        ("node.md#24", False),
        ("mysql.md#22", False),
        ("ode.md#22", False),
    ],
)
def test_source_names_its_passage(source: str, matches: bool) -> None:
    assert Source(source).matches("node.md", ("Node.js", "Node.js 22"), "Node.js") is matches


def test_only_the_documents_that_there_are_tell_where_an_id_ends() -> None:
    source = Source("c#.md#8.0")
    assert source.documents == ("c", "c#.md", "c#.md#8.0")
    assert source.is_in({"c#.md"}) and not source.is_in({"c#"})
