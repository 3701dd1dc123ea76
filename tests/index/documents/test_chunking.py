"""Chunks are slices, fit into the window, and leave nothing out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.files import reading_case

from index.documents.chunking import Chunker, ChunkSettings, Cut, chunk_document
from index.documents.document import Document
from index.documents.lengths import ModelTokenizer

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


def test_a_rule_between_sections_is_no_section(tokenizer: Any) -> None:
    assert passages("---\n\n# Intro\n\nBoats.\n\n---\n\n# Terms\n\n---\n\n## Pay\n\nIn 9 days.\n", tokenizer) == [
        "Intro\nBoats.\n\n---", "Terms > Pay\nIn 9 days."
    ]  # fmt: skip


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


@pytest.mark.medium
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


# --- every passage fits, in every size


THAI = "ห้องสมุดปิดทำการวันอาทิตย์" * 60
JAPANESE = "図書館は月曜日に休みます。本は二週間「借りられます。」延長は一回だけ、できます。" * 12
FAMILY = "👨‍👩‍👧‍👦🇩🇪e\u0301" * 60


@dataclass(frozen=True)
class Bytes:
    """Counts a token for every byte, as the worst of models does."""

    def __call__(self, text: str | list[str], return_offsets_mapping: bool = False, **_: Any) -> dict[str, Any]:
        if isinstance(text, list):
            return {"input_ids": [list(item.encode()) for item in text]}
        places = [place for place, mark in enumerate(text) for _ in mark.encode()]
        return {"input_ids": places, "offset_mapping": [(place, place + 1) for place in places]}


def cut(text: str, tokenizer: Any, name: str = "a.txt", **limits: Any) -> Cut:
    settings = ChunkSettings(64, model_tokenizer="bytes", **limits)
    return Chunker(tokenizer, settings, ModelTokenizer("bytes", Bytes)).cut(Document.of(name, text))


@pytest.mark.parametrize("text", ["x" * 20_000, THAI, JAPANESE, FAMILY, "a" + "\u0301" * 3000, "한국어는" * 500])
@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_words_without_end_and_scripts_without_spaces_fit_in_every_size(tokenizer: Any, text: str, name: str) -> None:
    found = cut(text, tokenizer, name, max_characters=200, max_model_tokens=300).chunks
    assert "".join(chunk.text for chunk in found) == text
    for chunk in found:
        assert len(chunk.passage) <= 200 and len(chunk.passage.encode()) <= 300
        assert len(tokenizer(chunk.passage)["input_ids"]) <= 64


def test_a_word_that_is_one_unknown_token_counts_by_its_length(tokenizer: Any) -> None:
    found = chunk_document(Document.of("a.txt", "x" * 20_000), tokenizer, 64)
    assert all(len(chunk.text) <= 64 * 4 for chunk in found)


def test_a_heading_that_is_one_endless_word_is_shortened_in_every_size(tokenizer: Any) -> None:
    found = cut(f"# {'é' * 5000}\n\nbody\n", tokenizer, "a.md", max_characters=200, max_model_tokens=200).chunks
    assert found[-1].text.endswith("body") and found[-1].heading_path[0].endswith("é…")
    assert all(len(chunk.passage.encode()) <= 200 for chunk in found)


def test_no_character_that_a_reader_sees_as_one_is_cut(tokenizer: Any) -> None:
    for chunk in cut(FAMILY, tokenizer, max_model_tokens=200).chunks:
        assert chunk.text[0] in "👨🇩e" and chunk.text[-1] in "👦🇪\u0301"


def test_long_text_without_spaces_ends_at_sentences(tokenizer: Any) -> None:
    found = chunk_document(Document.of("a.txt", JAPANESE), tokenizer, 64)
    assert len(found) > 3 and all(chunk.text.endswith(("。", "。」")) for chunk in found)
    hindi = chunk_document(Document.of("a.txt", "पुस्तकालय सोमवार को बंद रहता है। " * 30), tokenizer, 64)
    assert len(hindi) > 3 and all(chunk.text.endswith("है।") for chunk in hindi)


def test_a_passage_that_fits_in_bytes_is_not_counted_in_tokens_of_the_model(tokenizer: Any) -> None:
    def refuse() -> Any:
        raise AssertionError("the model's tokenizer was loaded")

    settings = ChunkSettings(64, max_model_tokens=128, model_tokenizer="none")
    chunker = Chunker(tokenizer, settings, ModelTokenizer("none", refuse))
    assert len(chunker.cut(Document.of("a.md", CYCLES)).chunks) == 3


def test_passages_that_the_encoder_does_not_know_are_counted(tokenizer: Any) -> None:
    text = f"# Home\n\nWe are closed on Mondays.\n\n## Thai\n\n{THAI}\n"
    found = cut(text, tokenizer, "a.md", max_model_tokens=300)
    assert found.unknown == len(found.chunks) - 1 > 3
    assert cut("We are closed on Mondays. 😀", tokenizer).unknown == 0


def test_other_measures_do_not_change_how_ordinary_text_is_cut(tokenizer: Any) -> None:
    text = CYCLES + "\n## Notes\n\n" + "Support ends when the release reaches its end of life. " * 40
    plain = Chunker(tokenizer, ChunkSettings(64, 8, max_characters=10**9)).cut(Document.of("a.md", text))
    assert chunk_document(Document.of("a.md", text), tokenizer, 64, 8) == plain.chunks


@pytest.mark.parametrize("limits", [{"max_characters": 63}, {"max_model_tokens": 63}])
def test_limits_below_the_window_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="it must be at least max_tokens"):
        ChunkSettings(64, **limits)


# --- what a piece repeats from above


def test_every_piece_of_a_long_table_has_the_column_names(tokenizer: Any) -> None:
    rows = "\n".join(f"| Harbour {number} to Island {number} | {number}.50 |" for number in range(40))
    document = Document.of(
        "f.md", f"# Ferry\n\n## Fares\n\nBy boat:\n\n| Route | Adult |\n| --- | --- |\n{rows}\n\nEnd.\n"
    )
    chunks = chunk_document(document, tokenizer, 64)
    first, *others = chunks
    assert first.passage.startswith("Ferry > Fares\nBy boat:\n\n| Route | Adult |\n| --- | --- |\n| Harbour 0")
    assert len(others) > 5
    for chunk in others:
        assert chunk.passage == f"Ferry > Fares\n| Route | Adult |\n{chunk.text}"
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert len(tokenizer(chunk.passage)["input_ids"]) <= 64


def test_column_names_of_a_wide_table_leave_room_for_its_rows(tokenizer: Any) -> None:
    names, dashes = (" | ".join(items) for items in ([f"column {n}" for n in range(60)], ["---"] * 60))
    rows = "\n".join(" | ".join([f"r{row}"] * 60) for row in range(6))
    found = chunk_document(Document.of("w.md", f"| {names} |\n| {dashes} |\n{rows}\n"), tokenizer, 64)
    assert all(len(tokenizer(chunk.passage)["input_ids"]) <= 64 for chunk in found)
    assert found[-1].lead.startswith("| column 0 | column 1") and found[-1].lead.endswith("…")


def test_a_table_in_a_text_file_is_text(tokenizer: Any) -> None:
    rows = "\n".join(f"| {number} | x |" for number in range(40))
    found = chunk_document(Document.of("f.txt", f"| a | b |\n|---|---|\n{rows}"), tokenizer, 64)
    assert {chunk.lead for chunk in found} == {""}


def test_a_piece_of_a_nested_list_names_the_items_above_it(tokenizer: Any) -> None:
    fares = "\n".join(f"  - zone {number}: {number} euros, and a bicycle is free" for number in range(20))
    found = passages(f"# Ferry\n\n- Children:\n{fares}\n- Dogs:\n{fares}\n", tokenizer)
    assert len(found) > 6
    assert all(piece.startswith(("Ferry\n- Children:", "Ferry\nChildren:\n", "Ferry\nDogs:\n")) for piece in found)


def test_a_document_of_one_piece_repeats_nothing(tokenizer: Any) -> None:
    (chunk,) = chunk_document(Document.of("a.md", "- a\n  - b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"), tokenizer, 64)
    assert chunk.lead == ""


@pytest.mark.parametrize("name", ["70-md-long-table/f.md", "78-md-cjk-long/j.md", "79-txt-headings/r.txt"])
def test_real_pages_fit_and_repeat_what_is_needed(tokenizer: Any, name: str) -> None:
    document = Document.of(name, reading_case(name).decode())
    found = chunk_document(document, tokenizer, 128)
    assert all(len(tokenizer(chunk.passage)["input_ids"]) <= 128 for chunk in found)
    if "table" in name:
        assert len(found) > 3 and all("| Route | Adult single |" in chunk.passage for chunk in found)
    if name.endswith(".txt"):
        assert [chunk.heading_path for chunk in found] == [("r",)]


@pytest.mark.medium
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(LINES, st.sampled_from(["| a | b |\n|---|---|\n| 1 | 2 |", "  - nested", THAI[:300], FAMILY[:200]])),
        min_size=1, max_size=15,
    ),
    overlap=st.sampled_from([0, 12]),
)  # fmt: skip
def test_any_text_fits_in_every_size_and_is_cut_into_slices_that_cover_it(
    tokenizer: Any, lines: list[str], overlap: int
) -> None:
    text = "\n".join(lines)
    if not text.strip():
        return
    sizes = ChunkSettings(48, overlap, max_characters=150, max_model_tokens=200, model_tokenizer="bytes")
    found = Chunker(tokenizer, sizes, ModelTokenizer("bytes", Bytes)).cut(Document.of("a.md", text)).chunks
    covered: set[int] = set()
    for chunk in found:
        assert chunk.text == text[chunk.start : chunk.end]
        assert len(chunk.passage) <= 150 and len(chunk.passage.encode()) <= 200
        assert len(tokenizer(chunk.passage)["input_ids"]) <= 48
        covered.update(range(chunk.start, chunk.end))
    assert [place for place, mark in enumerate(text) if not mark.isspace() and place not in covered] == []
