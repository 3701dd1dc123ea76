"""Chunks are slices, fit into the window, and leave nothing out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.documents.chunking import chunk_document
from index.documents.document import Document

CYCLES = """# Node

Releases of Node.

## 22

- Support ended: 2027-04-30

## 24

- Support ended: 2028-04-30
"""


def passages(text: str, tokenizer: Any, max_tokens: int = 64, name: str = "a.md") -> list[str]:
    return [chunk.passage for chunk in chunk_document(Document.of(name, text), tokenizer, max_tokens)]


def test_every_section_is_one_chunk_under_its_heading_path(tokenizer: Any) -> None:
    assert passages(CYCLES, tokenizer) == [
        "Node\nReleases of Node.",
        "Node > 22\n- Support ended: 2027-04-30",
        "Node > 24\n- Support ended: 2028-04-30",
    ]


def test_heading_without_body_gives_no_chunk_but_names_its_children(tokenizer: Any) -> None:
    assert passages("# A\n\n## B\n\n### C\n\nbody\n\n## End\n", tokenizer) == ["A > B > C\nbody\n\n## End"]


def test_document_of_headings_alone_is_one_chunk(tokenizer: Any) -> None:
    assert passages("# A\n\n## B\n", tokenizer) == ["A > B"]


def test_comment_in_a_code_block_is_not_a_heading(tokenizer: Any) -> None:
    assert passages("# A\n\n```sh\n# install\npip\n```\n", tokenizer) == ["A\n```sh\n# install\npip\n```"]


def test_text_file_has_no_headings(tokenizer: Any) -> None:
    assert passages("# one\ntwo\n# three\n", tokenizer, name="n.txt") == ["n\n# one\ntwo\n# three"]


def test_long_section_is_split_between_paragraphs_then_sentences(tokenizer: Any) -> None:
    paragraph = " ".join(["One two three four five."] * 6)
    found = passages(f"# A\n\n{paragraph}\n\n{paragraph}\n", tokenizer, max_tokens=48)
    assert found == [f"A\n{paragraph}"] * 2
    assert all(piece.endswith("five.") for piece in passages(f"# A\n\n{paragraph * 3}", tokenizer, 48))


def test_long_table_is_split_between_rows(tokenizer: Any) -> None:
    rows = "\n".join(f"| release {number} | date {number} |" for number in range(30))
    for piece in passages(f"# A\n\n{rows}\n", tokenizer):
        assert all(line.startswith("| ") and line.endswith(" |") for line in piece.split("\n")[1:])


def test_overlap_repeats_the_end_of_the_chunk_before(tokenizer: Any) -> None:
    document = Document.of("a.txt", " ".join(f"word{number}" for number in range(200)))
    chunks = chunk_document(document, tokenizer, 64, overlap=8)
    assert all(before.start < after.start < before.end for before, after in pairwise(chunks))


def test_very_long_headings_leave_room_for_the_text(tokenizer: Any) -> None:
    text = f"# {'title ' * 300}\n\n## {'sub ' * 300}\n\nbody\n"
    found = passages(text, tokenizer)
    assert all(len(tokenizer(passage)["input_ids"]) <= 64 for passage in found) and "body" in found[-1]


@pytest.mark.parametrize(("max_tokens", "overlap"), [(31, 0), (64, 17), (64, -1)])
def test_invalid_settings_are_refused(tokenizer: Any, max_tokens: int, overlap: int) -> None:
    with pytest.raises(ValueError):
        chunk_document(Document.of("a.md", "text"), tokenizer, max_tokens, overlap)


LINES = st.one_of(
    st.sampled_from(["", "# T", "## S", "###### deep deep", "- item", "| a | b |", "```", "====", "----", "# "]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60),
    st.lists(st.sampled_from(["alpha", "β", "日本語", "😀", "x" * 120, "8.0.36", "end."]), max_size=60).map(" ".join),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINES, min_size=1, max_size=15),
    overlap=st.sampled_from([0, 5, 12]),
    name=st.sampled_from(["a.md", "b.txt"]),
)
def test_chunks_are_slices_within_the_window_that_cover_every_visible_character(
    tokenizer: Any, lines: list[str], overlap: int, name: str
) -> None:
    text = "\n".join(lines)
    if not text.strip():
        return
    document = Document.of(name, text)
    covered: set[int] = set()
    chunks = chunk_document(document, tokenizer, 48, overlap)
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end]
        assert len(tokenizer(chunk.passage)["input_ids"]) <= 48
        covered.update(range(chunk.start, chunk.end))
    assert [place for place, mark in enumerate(text) if not mark.isspace() and place not in covered] == []
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})
