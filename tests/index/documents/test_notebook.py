"""Jupyter notebooks: what a person reads in them, in its order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from index.documents.document import Document
from index.documents.formats import format_of
from index.documents.formats.settings import ReadSettings, Unreadable


def read(content: Any) -> Document:
    kind = format_of("n.ipynb")
    assert kind is not None and kind.is_isolated
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (found,) = kind.read("n.ipynb", data, ReadSettings())
    assert isinstance(found, Document)
    return found


def refusal(content: Any) -> str:
    with pytest.raises(Unreadable) as refused:
        read(content)
    return str(refused.value)


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "metadata": metadata, "cells": list(cells)}


def markdown(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": list(lines)}


def test_markdown_code_and_outputs_stand_in_their_order() -> None:
    outputs = [
        {"output_type": "stream", "text": ["5\n", "6\n"]},
        {"output_type": "execute_result", "data": {"text/html": "<b>7</b>", "text/plain": ["\x1b[31m7\x1b[0m"]}},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no bees", "traceback": ["a long one"]},
    ]
    code = {"cell_type": "code", "source": "# a comment, no heading\nprint(5)", "outputs": outputs}
    found = read(notebook(markdown("# Bees\n", "They fly."), code, markdown("## Ants")))
    assert (found.title, found.is_markdown) == ("Bees", True)
    assert found.text == (
        "# Bees\nThey fly.\n\n```\n# a comment, no heading\nprint(5)\n```\n\n```\n5\n6\n```\n\n```\n7\n```\n\n"
        "```\nValueError: no bees\n```\n\n## Ants"
    )


@pytest.mark.parametrize("kind", ["raw", "markdown"])
def test_front_matter_in_the_first_cell_says_who_may_see_the_notebook(kind: str) -> None:
    first = {"cell_type": kind, "source": "---\ntitle: Pay\nlabels: [board]\nyear: 2024\n---"}
    found = read(notebook(first, markdown("The director earns 9.")))
    assert (found.title, found.labels, found.metadata) == ("Pay", ("board",), {"year": 2024})
    assert found.text == "The director earns 9."


@pytest.mark.parametrize("key", ["labels", "Label"])
def test_labels_in_the_metadata_close_the_notebook(key: str) -> None:
    assert key in refusal(notebook(markdown("The director earns 9."), **{key: ["board"]}))
    assert key in refusal(notebook(markdown(f"---\n{key}:[board]\n---\n"), markdown("The director earns 9.")))


def test_the_metadata_may_name_the_title() -> None:
    assert read(notebook(markdown("Bees fly."), title=" On  bees ")).title == "On bees"
    assert read(notebook(markdown("Bees fly."))).title == "n"


def test_notebooks_of_older_versions_are_read() -> None:
    old = {"cell_type": "code", "input": "print(5)", "outputs": [{"output_type": "pyout", "text": ["5"]}]}
    heading = {"cell_type": "heading", "level": 2, "source": "Bees"}
    assert read({"nbformat": 3, "worksheets": [{"cells": [heading, old]}]}).text == (
        "## Bees\n\n```\nprint(5)\n```\n\n```\n5\n```"
    )


def test_what_is_no_notebook_is_refused() -> None:
    assert "not a readable notebook" in refusal(b"words")
    for content in ([], {}, {"cells": 7}, {"cells": [7]}, {"worksheets": 7}):
        assert "no cells" in refusal(content)
    assert refusal(notebook()) == "no text"
    assert refusal(notebook({"cell_type": "code", "source": [7], "outputs": 7})) == "no text"
