"""Who sees what: a restricted search finds what a search of an index with only the visible documents finds."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import in_order
from support.indexes import HashEncoder, index_of

from index.documents.document import Document
from index.search.search import Hit, search
from index.search.settings import MODES, SearchSettings
from index.store.filters import parse_filter
from index.store.snapshot import Snapshot
from index.store.view import KEPT_VIEWS
from index.timings import STAGES, Timings

Draw = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def page(name: str, text: str, *labels: str, **metadata: Any) -> Document:
    return Document.of(name, f"# T\n\n{text}\n", labels=labels, metadata=metadata)


STAFF = [
    page("open.md", "The office opens at nine.", year=2024),
    page("staff.md", "The safe opens at nine with the code 1234.", "staff", year=2025),
    page("both.md", "Wages rise at nine percent.", "staff", "board", year=2025),
    page("board.md", "The office closes for good at nine.", "board", year=2024),
]


@pytest.fixture
def snapshot(tmp_path: Path, fake: HashEncoder) -> Snapshot:
    return index_of(tmp_path / "index", STAFF, encoder=fake)


def names(hits: list[Hit]) -> set[str]:
    return {hit.document_id.removesuffix(".md") for hit in hits}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("labels", "seen"),
    [
        (None, {"open", "staff", "both", "board"}),
        (frozenset(), {"open"}),
        (frozenset({"guests"}), {"open"}),
        (frozenset({"staff"}), {"open", "staff", "both"}),
        (frozenset({"board", "guests"}), {"open", "both", "board"}),
        (frozenset({"board", "staff"}), {"open", "staff", "both", "board"}),
    ],
    ids=in_order,
)
def test_callers_see_open_documents_and_those_that_share_a_label(
    snapshot: Snapshot, fake: HashEncoder, mode: str, labels: frozenset[str] | None, seen: set[str]
) -> None:
    (hits,) = search(snapshot, fake, ["office opens at nine"], SearchSettings(k=9, mode=mode), labels=labels)
    assert names(hits) == seen


def test_a_filter_narrows_what_labels_open_and_never_widens_it(snapshot: Snapshot, fake: HashEncoder) -> None:
    def seen(value: dict[str, Any], *labels: str) -> set[str]:
        narrowed = parse_filter(value)
        (hits,) = search(snapshot, fake, ["nine"], SearchSettings(k=9), filter=narrowed, labels=frozenset(labels))
        return names(hits)

    assert seen({"year": 2025}, "staff") == {"staff", "both"}
    assert seen({"document": "staff.md"}, "board") == set()
    assert seen({"or": [{"document": {"glob": "*"}}, {"year": {"exists": False}}]}) == {"open"}


def test_a_restriction_that_leaves_nothing_finds_nothing(snapshot: Snapshot, fake: HashEncoder) -> None:
    for mode in MODES:
        assert search(snapshot, fake, ["nine"] * 2, SearchSettings(mode=mode), filter=parse_filter({"year": 1})) == [
            [],
            [],
        ]


def test_a_document_that_gets_labels_is_hidden_from_the_next_snapshot_on(tmp_path: Path, fake: HashEncoder) -> None:
    before = index_of(tmp_path / "index", STAFF, encoder=fake)
    closed = [page("open.md", "The office opens at nine.", "staff", year=2024), *STAFF[1:]]
    after = index_of(tmp_path / "index", closed, encoder=fake)
    found = [search(at, fake, ["office"], labels=frozenset())[0] for at in (before, after)]
    assert [names(hits) for hits in found] == [{"open"}, set()]


def test_ties_at_the_edge_hold_among_visible_rows_alone(tmp_path: Path, fake: HashEncoder) -> None:
    same = [page(f"{number:03d}.md", "The same passage.", *(["staff"] if number % 3 else [])) for number in range(90)]
    snapshot = index_of(tmp_path / "index", same[45:], same, encoder=fake)
    for mode in MODES:
        (hits,) = search(snapshot, fake, ["same"], SearchSettings(k=3, mode=mode, candidates=5), labels=frozenset())
        assert [hit.document_id for hit in hits] == ["000.md", "003.md", "006.md"]


def test_asking_again_decodes_nothing_again(snapshot: Snapshot) -> None:
    narrowed = parse_filter({"year": 2025})
    first = snapshot.view(frozenset({"staff"}), narrowed)
    assert snapshot.view(frozenset({"staff", "nobody has this"}), parse_filter({"year": 2025})) is first
    for year in range(KEPT_VIEWS + 1):
        snapshot.view(None, parse_filter({"year": year}))
    assert (
        snapshot.view(frozenset({"staff"}), narrowed) is not first
    )  # as many views as the cache holds came in between


def test_labels_that_open_everything_cost_no_mask(snapshot: Snapshot) -> None:
    assert snapshot.view(frozenset({"board", "staff"})).masks == (None,)
    assert snapshot.view(None, parse_filter({"year": {"exists": True}})).masks == (None,)


def test_threads_with_different_labels_each_see_their_own(snapshot: Snapshot, fake: HashEncoder) -> None:
    callers = [frozenset(), frozenset({"staff"}), frozenset({"board"}), None] * 20

    def ask(labels: frozenset[str] | None) -> list[Hit]:
        return search(snapshot, fake, ["nine"], SearchSettings(k=9), labels=labels)[0]

    expected = {labels: ask(labels) for labels in callers[:4]}
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, callers)) == [expected[labels] for labels in callers]


@pytest.mark.parametrize("mode", MODES)
def test_each_stage_of_a_search_is_timed(snapshot: Snapshot, fake: HashEncoder, mode: str) -> None:
    timings = Timings()
    search(snapshot, fake, ["nine", "office"], SearchSettings(mode=mode), timings=timings)
    left_out = {"hybrid": {"rerank"}, "dense": {"lexical", "rerank"}, "lexical": {"encode", "dense", "rerank"}}
    assert timings.milliseconds.keys() == set(STAGES) - left_out[mode] - {"expand"}
    assert all(spent >= 0 for spent in timings.milliseconds.values())


WORDS = st.sampled_from(["red", "fox", "owl", "8.0.36", "node.js", "support", "ends"])
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
LABELS = st.sets(st.sampled_from(["staff", "board", "legal"]), max_size=2)
COLLECTIONS = st.lists(
    st.tuples(st.sampled_from([f"{letter}.md" for letter in "abcdefgh"]), TEXTS, LABELS, st.integers(2023, 2025)),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
).map(lambda rows: [page(name, text, *sorted(labels), year=year) for name, text, labels, year in rows])


@pytest.mark.medium
@Draw
@given(before=COLLECTIONS, documents=COLLECTIONS, caller=LABELS, query=TEXTS, k=st.integers(1, 9))
def test_nothing_tells_a_caller_of_documents_that_its_labels_do_not_open(
    fake: HashEncoder, before: list[Document], documents: list[Document], caller: set[str], query: str, k: int
) -> None:
    """Ranks, scores and counts, in every mode, are those of an index without the hidden documents."""
    visible = [document for document in documents if not document.labels or caller & set(document.labels)]
    with tempfile.TemporaryDirectory() as name:
        everything = index_of(Path(name, "all"), before, documents, encoder=fake)
        alone = index_of(Path(name, "visible"), visible, encoder=fake) if visible else None
        for mode in MODES:
            found = search(
                everything, fake, [query], SearchSettings(k=k, mode=mode, candidates=3), labels=frozenset(caller)
            )
            assert found == (
                search(alone, fake, [query], SearchSettings(k=k, mode=mode, candidates=3)) if alone else [[]]
            )


@pytest.mark.medium
@Draw
@given(before=COLLECTIONS, documents=COLLECTIONS, year=st.integers(2022, 2025), query=TEXTS, k=st.integers(1, 9))
def test_a_filtered_search_is_a_search_of_what_passes(
    fake: HashEncoder, before: list[Document], documents: list[Document], year: int, query: str, k: int
) -> None:
    """Dense: like an index of what passes. Lexical: the whole ranking and its scores, without the rest."""
    kept = [document for document in documents if document.metadata["year"] > year]
    ids = {document.id for document in kept}
    narrowed = parse_filter({"year": {"gt": year}})
    with tempfile.TemporaryDirectory() as name:
        everything = index_of(Path(name, "all"), before, documents, encoder=fake)
        alone = index_of(Path(name, "kept"), kept, encoder=fake) if kept else None
        dense = search(everything, fake, [query], SearchSettings(k=k, mode="dense"), filter=narrowed)
        assert dense == (search(alone, fake, [query], SearchSettings(k=k, mode="dense")) if alone else [[]])
        (whole,) = search(everything, fake, [query], SearchSettings(k=99, mode="lexical"))
        (lexical,) = search(everything, fake, [query], SearchSettings(k=k, mode="lexical"), filter=narrowed)
        assert lexical == [hit for hit in whole if hit.document_id in ids][:k]
        # Fused: by the ranks among what passes.
        ranks = [[hit.chunk_id for hit in hits] for hits in (dense[0], lexical)]
        for hit in search(everything, fake, [query], SearchSettings(k=k, candidates=k), filter=narrowed)[0]:
            places = [ranking.index(hit.chunk_id) for ranking in ranks if hit.chunk_id in ranking]
            assert hit.document_id in ids
            assert hit.score == pytest.approx(sum(1 / (61 + place) for place in places))


@pytest.mark.medium
@Draw
@given(documents=COLLECTIONS, caller=LABELS, queries=st.lists(TEXTS, min_size=2, max_size=4))
def test_restricted_queries_find_together_what_they_find_alone(
    fake: HashEncoder, documents: list[Document], caller: set[str], queries: list[str]
) -> None:
    narrowed = parse_filter({"year": {"gte": 2024}})
    with tempfile.TemporaryDirectory() as name:
        snapshot = index_of(Path(name), documents, encoder=fake)
        restriction: dict[str, Any] = {"filter": narrowed, "labels": frozenset(caller)}
        together = search(snapshot, fake, queries, **restriction)
        assert together == [search(snapshot, fake, [query], **restriction)[0] for query in queries]


@pytest.mark.medium
@Draw
@given(
    documents=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=3,
    ),
    query=TEXTS,
)
def test_every_hit_cuts_its_text_out_of_its_document(fake: HashEncoder, documents: list[str], query: str) -> None:
    texts = {f"{place}.md": text for place, text in enumerate(documents)}
    with tempfile.TemporaryDirectory() as name:
        written = [Document.of(path, text, page_starts=(0, len(text) // 2)) for path, text in texts.items()]
        snapshot = index_of(Path(name), written, encoder=fake)
        (hits,) = search(snapshot, fake, [query], SearchSettings(k=99, mode="dense"))
        assert len(hits) == snapshot.chunk_count
        for hit in hits:
            assert texts[hit.document_id][hit.start : hit.end] == hit.text
            assert hit.page in (1, 2)


def test_hits_say_nothing_of_labels(snapshot: Snapshot, fake: HashEncoder) -> None:
    (hits,) = search(snapshot, fake, ["wages"], SearchSettings(k=1, mode="lexical"), labels=frozenset({"staff"}))
    assert "board" not in repr(replace(hits[0], text="", passage=""))
