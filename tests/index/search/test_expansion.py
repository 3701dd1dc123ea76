"""What a hit brings along from around it, and what becomes of hits that touch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, WordTokenizer, index_of

from index.documents.document import Document
from index.refresh.refresh import RefreshSettings, refresh
from index.search.expansion import additions, expanded
from index.search.search import Hit, search
from index.search.settings import EXPANSIONS, NEIGHBOURS, SECTION, SearchSettings
from index.search.surroundings import REACH
from index.store.filters import Filter, Labels, parse_filter
from index.store.snapshot import Snapshot
from index.timings import Timings

FERRY = """# Ferry

Boats cross all year.

## Fares

Adults pay nine crowns.

## Dogs

Dogs travel free.

## Bicycles

Bicycles cost two crowns.
"""


def documents(**texts: str) -> list[Document]:
    return [Document.of(f"{name}.md", text) for name, text in texts.items()]


def found(snapshot: Snapshot, query: str, expand: str, k: int = 1, labels: Labels = None, **more: object) -> list[Hit]:
    settings_ = SearchSettings(k=k, expand=expand, **more)  # type: ignore[arg-type]
    return search(snapshot, HashEncoder(WordTokenizer()), [query], settings_, labels=labels)[0]


def full(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    return expanded(hits, additions(hits))


def long_section(sentences: int) -> str:
    return "# Log\n\n## Days\n\n" + "\n\n".join(
        f"On day {n} the crew of boat number {n} wrote down word{n} and slept well after it all."
        for n in range(sentences)
    )


def cut(root: Path, text: str, words: HashEncoder, overlap: int = 0) -> Snapshot:
    """An index of one document, `log.md`, in passages of at most 32 tokens."""
    (root / "documents").mkdir()
    (root / "documents" / "log.md").write_text(text)
    refresh(root / "index", root / "documents", words, RefreshSettings(max_tokens=32, overlap=overlap))
    return Snapshot.open(root / "index")


def test_a_hit_without_expansion_brings_nothing(tmp_path: Path, words: HashEncoder) -> None:
    snapshot = index_of(tmp_path, documents(ferry=FERRY), encoder=words)
    timings = Timings()
    (hits,) = search(snapshot, words, ["dogs"], SearchSettings(k=2), timings=timings)
    assert all(hit.around == () for hit in hits) and "expand" not in timings.milliseconds
    assert full(hits) == tuple(hits)


def test_neighbours_are_the_passages_before_and_after_under_the_headings_that_stand_there(
    tmp_path: Path, words: HashEncoder
) -> None:
    snapshot = index_of(tmp_path, documents(ferry=FERRY), encoder=words)
    hits = found(snapshot, "dogs travel free", NEIGHBOURS)
    (passage,) = full(hits)
    start, end = FERRY.index("## Fares"), FERRY.index("two crowns.") + len("two crowns.")
    assert (passage.start, passage.end, passage.chunk_id) == (start, end, f"ferry.md#{start}-{end}")
    assert passage.text == FERRY[start:end]
    assert passage.passage == "Ferry > Fares\n" + FERRY[FERRY.index("Adults") : end]
    assert (passage.heading_path, passage.sections) == (("Ferry",), ("Fares", "Dogs", "Bicycles"))
    assert passage.score == hits[0].score
    (first,) = expanded(hits, additions(hits)[:1])
    assert first.sections == ("Dogs", "Bicycles") and first.start == FERRY.index("## Dogs")


def test_a_section_stays_within_its_headings_and_neighbours_do_not_leave_the_document(
    tmp_path: Path, words: HashEncoder
) -> None:
    pages = documents(a="# A\n\nRed fox.", ferry=FERRY, z="# Z\n\nRed owl.")
    snapshot = index_of(tmp_path, pages, encoder=words)
    (section,) = full(found(snapshot, "dogs travel free", SECTION))
    assert section.text == "## Dogs\n\nDogs travel free."
    assert (section.heading_path, section.sections) == (("Ferry", "Dogs"), ())
    (first,) = full(found(snapshot, "Boats cross all year", NEIGHBOURS))
    assert first.start == 0 and first.end == FERRY.index("nine crowns.") + len("nine crowns.")


def test_a_long_section_is_shown_from_the_hit_outwards(tmp_path: Path, words: HashEncoder) -> None:
    text = long_section(12)
    snapshot = cut(tmp_path, text, words)
    hits = found(snapshot, "word5", SECTION, mode="lexical")
    added = additions(hits)
    whole = full(hits)[0]
    assert whole.text == text[whole.start : whole.end] and "word0" in whole.text and "word11" in whole.text
    ends = [(hits[0].start, hits[0].end)]
    for count in range(1, len(added) + 1):
        (passage,) = expanded(hits, added[:count])
        assert passage.start <= ends[-1][0] and passage.end >= ends[-1][1]
        ends.append((passage.start, passage.end))
    later, earlier = ends[1], ends[2]
    assert later[1] > ends[0][1] and later[0] == ends[0][0] and earlier[0] < ends[0][0]


def test_a_text_without_headings_is_not_read_to_its_ends(tmp_path: Path, words: HashEncoder) -> None:
    snapshot = cut(tmp_path, long_section(60), words)
    (hit,) = found(snapshot, "word30", SECTION, mode="lexical")
    assert len(hit.around) == 1 + 2 * REACH[SECTION] < snapshot.chunk_count


def test_hits_that_touch_become_one_passage_at_the_place_of_the_best(tmp_path: Path, words: HashEncoder) -> None:
    text = long_section(12)
    snapshot = cut(tmp_path, text, words)
    for expand in (NEIGHBOURS, SECTION):
        hits = found(snapshot, "word6 word5 word11", expand, k=3, mode="lexical")
        near = [hit for hit in hits if "word11" not in hit.text]
        alone = expanded(hits, ())
        assert len(alone) == 2 and {passage.score for passage in alone} <= {hit.score for hit in hits}
        joined = next(passage for passage in alone if "word5" in passage.text)
        assert joined.score == near[0].score and "word6" in joined.text
        assert joined.passage.count("Log > Days") == 1
        assert joined.text == text[joined.start : joined.end]


def test_sections_that_touch_keep_citations_of_their_own(tmp_path: Path, words: HashEncoder) -> None:
    snapshot = index_of(tmp_path, documents(ferry=FERRY), encoder=words)
    hits = found(snapshot, "dogs travel bicycles cost", SECTION, k=2)
    assert [passage.heading_path[-1] for passage in full(hits)] == [hit.heading_path[-1] for hit in hits]
    (joined,) = full(found(snapshot, "dogs travel bicycles cost", NEIGHBOURS, k=2))
    assert joined.sections == ("Fares", "Dogs", "Bicycles")


def test_a_table_that_was_cut_repeats_its_head_only_where_the_slice_begins_below_it(
    tmp_path: Path, words: HashEncoder
) -> None:
    rows = [f"| harbour{n} | {n} crowns for adults |" for n in range(12)]
    text = "# Ferry\n\n## Fares\n\n| Route | Price |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    snapshot = cut(tmp_path, text, words)
    hits = found(snapshot, "harbour8", NEIGHBOURS, mode="lexical")
    (inside,) = full(hits)
    assert inside.passage == f"Ferry > Fares\n| Route | Price |\n{inside.text}"
    (whole,) = full(found(snapshot, "harbour8", SECTION, mode="lexical"))
    assert whole.passage.count("| Route | Price |") == 1 and whole.text == text[whole.start : whole.end]


def test_no_such_expansion() -> None:
    with pytest.raises(ValueError, match="expand is 'page'; choose one of none, neighbours, section"):
        SearchSettings(expand="page")


def test_passages_that_a_filter_leaves_out_are_not_around_others(tmp_path: Path, words: HashEncoder) -> None:
    paged = Document.of("a.md", FERRY, page_starts=(0, FERRY.index("## Dogs"), FERRY.index("## Bicycles")))
    snapshot = index_of(tmp_path, [paged], encoder=words)
    for expand in (NEIGHBOURS, SECTION):
        hits = found(snapshot, "dogs travel free", expand, filter=parse_filter({"page": 2}))
        assert [passage.text for passage in full(hits)] == ["## Dogs\n\nDogs travel free."]


# --- properties, over histories of documents with labels

LINES = st.sampled_from(
    ["red fox", "owl 8.0.36", "support ends", "## Cats", "## Fox", "# Node", "- item\n  - inner", ""]
)
TEXTS = st.lists(LINES, min_size=1, max_size=14).map("\n\n".join)
LABELS = st.sampled_from([(), ("staff",), ("board",)])
STATE = st.dictionaries(st.sampled_from(["a.md", "b.md", "c.txt"]), st.tuples(TEXTS, LABELS), min_size=1, max_size=3)


@pytest.mark.medium
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(STATE, min_size=1, max_size=3),
    query=st.sampled_from(["red fox", "owl support", "cats item"]),
    labels=st.sampled_from([None, frozenset(), frozenset({"staff"})]),
    only=st.sampled_from([None, {"document": {"glob": "a*"}}]),
    expand=st.sampled_from(EXPANSIONS),
    k=st.integers(1, 5),
    data=st.data(),
)
def test_expanded_passages_are_slices_of_what_the_caller_may_see(
    states: list[dict[str, tuple[str, tuple[str, ...]]]],
    query: str,
    labels: Labels,
    only: dict[str, object] | None,
    expand: str,
    k: int,
    data: st.DataObject,
) -> None:
    words = HashEncoder(WordTokenizer())
    versions = [
        [Document.of(name, text, labels=names) for name, (text, names) in sorted(state.items())] for state in states
    ]
    narrowed: Filter | None = None if only is None else parse_filter(only)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = index_of(Path(folder), *versions, encoder=words)
        settings_ = SearchSettings(k=k, expand=expand)
        (hits,) = search(snapshot, words, [query], settings_, filter=narrowed, labels=labels)
        (plain,) = search(snapshot, words, [query], replace(settings_, expand="none"), filter=narrowed, labels=labels)
    assert hits == plain
    added = additions(hits)
    passages = expanded(hits, added[: data.draw(st.integers(0, len(added)))])
    texts = {document.id: document for document in versions[-1]}
    for passage in passages:
        document = texts[passage.document_id]
        assert labels is None or not document.labels or labels & set(document.labels)
        assert narrowed is None or passage.document_id == "a.md"
        assert len(passage.text) == passage.end - passage.start
        assert passage.chunk_id == f"{passage.document_id}#{passage.start}-{passage.end}"
        for shown, written in zip(passage.text, document.text[passage.start : passage.end], strict=True):
            assert shown == written or (shown == "\n" and written.isspace())
    for number, one in enumerate(passages):
        for other in passages[number + 1 :]:
            assert one.document_id != other.document_id or one.end <= other.start or other.end <= one.start
    for hit in hits:
        (holder,) = [
            passage
            for passage in passages
            if passage.document_id == hit.document_id and passage.start <= hit.start and hit.end <= passage.end
        ]
        assert holder.score >= hit.score and hit.text in holder.text


@pytest.mark.medium
@settings(max_examples=25)
@given(
    sentences=st.integers(1, 20),
    overlap=st.integers(0, 8),
    query=st.integers(0, 19),
    expand=st.sampled_from(EXPANSIONS[1:]),
)
def test_chunks_that_share_words_are_joined_without_repeating_them(
    sentences: int, overlap: int, query: int, expand: str
) -> None:
    text = long_section(sentences)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = cut(Path(folder), text, HashEncoder(WordTokenizer()), overlap)
        hits = found(snapshot, f"word{query} boat", expand, k=3)
    for passage in full(hits):
        assert len(passage.text) == passage.end - passage.start
        assert passage.text.split() == text[passage.start : passage.end].split()
