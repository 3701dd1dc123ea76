"""Every kind of vector index finds what brute force finds, under any mask, and changes nothing that it holds."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, Write

from index.documents.chunking import Chunk
from index.encoders.encoder import Vectors
from index.errors import IndexFault
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import search
from index.search.settings import SearchSettings
from index.store.approximate import sample_queries
from index.store.folder import current_id, read_manifest
from index.store.kinds import AUTO_ROWS, FLAT, FLAT_FP16, HNSW, IVF, VectorSettings
from index.store.lexical import Postings
from index.store.maintenance import compact
from index.store.segment import Segment, rows_of_chunks, write_segment
from index.store.snapshot import Snapshot, list_snapshots
from index.store.vectors import Live, Rows, SegmentVectors, open_vectors, write_vectors

DIMENSION = 32
ROWS = 3000
EXACT = (FLAT, FLAT_FP16)
APPROXIMATE = (HNSW, IVF)


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def clustered(rows: int, seed: int) -> Vectors:
    """Vectors that lie around 40 centres, as texts lie around topics."""
    centres = np.random.default_rng(7).standard_normal((40, DIMENSION))
    rng = np.random.default_rng(seed)
    return unit(centres[rng.integers(40, size=rows)] + 0.6 * rng.standard_normal((rows, DIMENSION)))


VECTORS = clustered(ROWS, seed=0)
QUERIES = clustered(50, seed=1)


def settings_of(kind: str, recall: float = 0.95) -> VectorSettings:
    return VectorSettings(kind, min_rows_for_ann=1, target_recall=recall)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same vectors in each kind."""
    folder = tmp_path_factory.mktemp("vectors")
    for kind in (*EXACT, *APPROXIMATE):
        write_vectors(folder / kind, VECTORS, settings_of(kind))
    return {kind: folder / kind for kind in (*EXACT, *APPROXIMATE)}


def opened(files: dict[str, Path], kind: str, removed: Rows | None = None) -> SegmentVectors:
    live = np.ones(ROWS, dtype=np.bool_)
    if removed is not None:
        live[removed] = False
    return open_vectors(files[kind], live)


def brute_force(vectors: Vectors, query: Vectors, k: int, allowed: Live) -> list[int]:
    rows = np.flatnonzero(allowed)
    scores = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    return rows[np.argsort(-scores, kind="stable")[:k]].tolist()


def recall(index: SegmentVectors, k: int, allowed: Live, mask: Live | None) -> float:
    kept = index.read(np.arange(ROWS))
    found = index.search(QUERIES, k, mask)
    truth = [brute_force(kept, query, k, allowed) for query in QUERIES]
    return float(np.mean([len(set(a.tolist()) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("kind", EXACT)
def test_exact_kinds_find_what_brute_force_finds_in_its_order(files: dict[str, Path], kind: str) -> None:
    index = opened(files, kind, removed=np.arange(0, ROWS, 3))
    allowed = np.arange(ROWS) % 3 != 0
    kept = index.read(np.arange(ROWS))
    for query, found in zip(QUERIES, index.search(QUERIES, 20), strict=True):
        assert found.tolist() == brute_force(kept, query, 20, allowed)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_kinds_find_nearly_all(files: dict[str, Path], kind: str) -> None:
    everything = np.ones(ROWS, dtype=np.bool_)
    assert recall(opened(files, kind), 10, everything, None) >= 0.9


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("share", [0.5, 0.2, 0.08])
def test_approximate_kinds_find_nearly_all_under_a_mask(files: dict[str, Path], kind: str, share: float) -> None:
    removed = np.arange(0, ROWS, 4)
    mask = np.random.default_rng(2).random(ROWS) < share
    allowed = mask & (np.arange(ROWS) % 4 != 0)
    index = opened(files, kind, removed)
    assert recall(index, 10, allowed, mask) >= 0.9
    assert all(allowed[rows].all() for rows in index.search(QUERIES, 10, mask))


@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
@pytest.mark.parametrize("left", [0, 1, 7, 60])
def test_narrow_mask_is_searched_exactly(files: dict[str, Path], kind: str, left: int) -> None:
    mask = np.zeros(ROWS, dtype=np.bool_)
    mask[np.random.default_rng(left).permutation(ROWS)[:left]] = True
    index = opened(files, kind)
    kept = index.read(np.arange(ROWS))
    for query, found in zip(QUERIES, index.search(QUERIES, 10, mask), strict=True):
        assert found.tolist() == brute_force(kept, query, 10, mask)


@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_as_many_rows_are_found_as_there_are(files: dict[str, Path], kind: str) -> None:
    index = opened(files, kind, removed=np.arange(100))
    for k in (1, 1000, ROWS - 100, ROWS + 5):
        for rows in index.search(QUERIES[:3], k):
            assert len(set(rows.tolist())) == len(rows) == min(k, ROWS - 100)
            assert rows.min() >= 100


@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_scores_are_those_of_the_vectors_that_are_read(files: dict[str, Path], kind: str) -> None:
    index = opened(files, kind)
    rows = np.array([5, 0, 2999, 5])
    expected = (index.read(rows).astype(np.float64) * QUERIES[0].astype(np.float64)).sum(axis=1)
    assert index.scores(QUERIES[0], rows).tolist() == expected.tolist()
    assert index.scores(QUERIES[0], rows[:1]).tolist() == expected[:1].tolist()
    assert index.read(rows[:0]).shape == (0, DIMENSION)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_larger_ef_search_finds_more(files: dict[str, Path], kind: str) -> None:
    index = opened(files, kind)
    kept = index.read(np.arange(ROWS))
    everything = np.ones(ROWS, dtype=np.bool_)
    truth = [set(brute_force(kept, query, 10, everything)) for query in QUERIES]

    def found(ef_search: int) -> int:
        results = index.search(QUERIES, 10, ef_search=ef_search)
        return sum(len(set(rows.tolist()) & best) for rows, best in zip(results, truth, strict=True))

    assert found(1) < found(256) == 500


def test_float32_vectors_are_kept_to_the_bit(files: dict[str, Path]) -> None:
    assert opened(files, FLAT).read(np.arange(ROWS)).tobytes() == VECTORS.tobytes()


@pytest.mark.parametrize("kind", [FLAT_FP16, *APPROXIMATE])
def test_half_precision_rounds_once_and_never_again(files: dict[str, Path], tmp_path: Path, kind: str) -> None:
    rows = np.arange(ROWS)
    once = opened(files, kind).read(rows)
    step = np.spacing(np.abs(VECTORS).astype(np.float16)).astype(np.float32)
    assert (np.abs(once - VECTORS) <= step / 2).all()
    write_vectors(tmp_path / "again", once, settings_of(kind))
    assert open_vectors(tmp_path / "again", np.ones(ROWS, dtype=np.bool_)).read(rows).tobytes() == once.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-2, 2, width=16), min_size=8, max_size=8))
def test_every_number_of_half_precision_is_widened_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, row: list[float]
) -> None:
    path = tmp_path_factory.mktemp("halves") / "vectors"
    vectors = np.array([row], dtype=np.float32)
    write_vectors(path, vectors, VectorSettings(FLAT_FP16))
    index = open_vectors(path, np.ones(1, dtype=np.bool_))
    assert index.read(np.array([0])).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_same_vectors_give_the_same_file_whatever_the_threads(tmp_path: Path, kind: str) -> None:
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            write_vectors(tmp_path / str(threads), VECTORS, settings_of(kind))
    finally:
        faiss.omp_set_num_threads(before)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_recall_that_the_build_tells_is_true(files: dict[str, Path], tmp_path: Path, kind: str) -> None:
    entry = write_vectors(tmp_path / "vectors", VECTORS, settings_of(kind, recall=0.8))
    index = open_vectors(tmp_path / "vectors", np.ones(ROWS, dtype=np.bool_))
    queries = sample_queries(VECTORS, seed=0)
    kept = index.read(np.arange(ROWS))
    truth = [set(brute_force(kept, query, 10, np.ones(ROWS, dtype=np.bool_))) for query in queries]
    found = index.search(queries, 10)
    measured = np.mean([len(set(rows.tolist()) & best) / 10 for rows, best in zip(found, truth, strict=True)])
    # A search that finds too few rows is repeated exactly, which the measurement at the build leaves out.
    assert 0.8 <= entry.recall <= measured + 1e-4 <= entry.recall + 0.02
    assert entry.kind == kind and entry.parameters["ef_search" if kind == HNSW else "nprobe"] >= 1


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_building_tells_its_progress(tmp_path: Path, kind: str) -> None:
    told: list[tuple[int, int]] = []
    write_vectors(tmp_path / "vectors", VECTORS, settings_of(kind), lambda done, total: told.append((done, total)))
    assert told[-1] == (ROWS, ROWS)


@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_files_are_mapped_not_copied_and_searching_leaves_them_alone(files: dict[str, Path], kind: str) -> None:
    before = files[kind].read_bytes()
    index = opened(files, kind)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(files[kind]))]
    assert mapped and all(" r--" in line for line in mapped)
    index.search(QUERIES, 10)
    index.read(np.arange(5))[:] = 0
    assert files[kind].read_bytes() == before


@pytest.mark.medium
@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_threads_find_the_same_with_masks_and_ef_search_of_their_own(files: dict[str, Path], kind: str) -> None:
    index = opened(files, kind, removed=np.arange(50))
    masks = [None, *(np.random.default_rng(seed).random(ROWS) < 0.3 for seed in range(3))]
    asked = [(mask, ef_search) for mask in masks for ef_search in (None, 8, 200)] * 6

    def found(case: tuple[Live | None, int | None]) -> list[list[int]]:
        return [rows.tolist() for rows in index.search(QUERIES, 10, *case)]

    expected = [found(case) for case in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(found, asked)) == expected


def test_auto_is_exact_up_to_its_threshold_and_small_segments_always_are() -> None:
    assert VectorSettings().kind_for(AUTO_ROWS - 1) == FLAT_FP16
    assert VectorSettings().kind_for(AUTO_ROWS) == HNSW
    assert VectorSettings(min_rows_for_ann=10).kind_for(10) == HNSW
    assert VectorSettings(IVF).kind_for(9_999) == FLAT_FP16
    assert VectorSettings(IVF).kind_for(10_000) == IVF
    assert VectorSettings(FLAT, min_rows_for_ann=1).kind_for(10**7) == FLAT


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"kind": "lsh"}, "flat-fp16"),
        ({"target_recall": 0.0}, "recall"),
        ({"target_recall": 1.1}, "1.1"),
        ({"min_rows_for_ann": 0}, "rows"),
    ],
)
def test_senseless_settings_are_refused_in_a_sentence(wrong: dict[str, object], names: str) -> None:
    with pytest.raises(IndexFault, match=names) as fault:
        VectorSettings(**wrong)  # type: ignore[arg-type]
    assert str(fault.value).endswith(".") and "\n" not in str(fault.value)


def test_foreign_index_and_wrong_number_of_rows_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    faiss.write_index(faiss.IndexLSH(DIMENSION, 16), str(tmp_path / "lsh"))
    with pytest.raises(ValueError, match="IndexLSH"):
        open_vectors(tmp_path / "lsh", np.ones(0, dtype=np.bool_))
    with pytest.raises(ValueError, match="3000 vectors, not 5"):
        open_vectors(files[HNSW], np.ones(5, dtype=np.bool_))


# --- in a snapshot

TOPICS = ("red fox", "barn owl", "grey wolf", "river trout")


def folder_of(write: Write, count: int, extra: dict[str, str] | None = None) -> Path:
    texts = {
        f"{number:03d}.md": f"# {topic} {number}\n\nThe {topic} number {number} of {number % 7}.\n"
        for number in range(count)
        for topic in [TOPICS[number % 4]]
    }
    return write({**texts, **(extra or {})})


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_manifest_and_list_tell_kind_and_recall(tmp_path: Path, write: Write, fake: HashEncoder, kind: str) -> None:
    approximate = VectorSettings(kind, min_rows_for_ann=100, target_recall=0.9)
    refresh(tmp_path / "index", folder_of(write, 120), fake, RefreshSettings(vectors=approximate))
    refresh(tmp_path / "index", folder_of(write, 121), fake, RefreshSettings(vectors=approximate))
    manifest = read_manifest(tmp_path / "index", current_id(tmp_path / "index"))
    large, small = manifest.segments
    assert (large.vectors.kind, small.vectors.kind) == (kind, FLAT_FP16)
    assert large.vectors.recall is not None and large.vectors.recall >= 0.9
    assert small.vectors.recall is None
    shown = list_snapshots(tmp_path / "index")[-1].segments
    assert str(shown[0].vectors).startswith(f"{kind}, recall@10 {large.vectors.recall:.3f} (")
    assert str(shown[1].vectors) == "flat-fp16, exact"
    json.loads(manifest.to_bytes())


@pytest.mark.medium
@pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE])
def test_merging_keeps_every_vector_and_builds_the_kind(
    tmp_path: Path, write: Write, fake: HashEncoder, kind: str
) -> None:
    wanted = VectorSettings(kind, min_rows_for_ann=100)
    refresh(tmp_path / "index", folder_of(write, 90), fake, RefreshSettings(vectors=wanted))
    refresh(tmp_path / "index", folder_of(write, 110), fake, RefreshSettings(vectors=wanted))
    before = vectors_by_hash(tmp_path / "index")
    new = {"new.md": "# New\n\nAn otter swims.\n"}
    refresh(tmp_path / "index", folder_of(write, 110, new), fake, RefreshSettings(vectors=wanted))
    compact(tmp_path / "index", wanted)
    (segment,) = Snapshot.open(tmp_path / "index").segments
    assert segment.vectors.kind == kind
    after = vectors_by_hash(tmp_path / "index")
    assert len(after) == len(before) + 1
    assert {item: after[item] for item in before} == before


def vectors_by_hash(root: Path) -> dict[str, bytes]:
    found = {}
    for segment in Snapshot.open(root).segments:
        rows = np.arange(len(segment))
        vectors = segment.vectors.read(rows)
        found |= {segment.reader.chunk(row).hash: vectors[row].tobytes() for row in rows.tolist()}
    return found


@pytest.mark.parametrize("kind", [FLAT_FP16, *APPROXIMATE])
def test_segments_of_an_older_kind_are_read_on(tmp_path: Path, write: Write, fake: HashEncoder, kind: str) -> None:
    refresh(tmp_path / "index", folder_of(write, 40), fake, RefreshSettings(vectors=VectorSettings(FLAT)))
    refresh(
        tmp_path / "index",
        folder_of(write, 90),
        fake,
        RefreshSettings(vectors=VectorSettings(kind, min_rows_for_ann=1, target_recall=1.0)),
    )
    snapshot = Snapshot.open(tmp_path / "index")
    assert [segment.vectors.kind for segment in snapshot.segments] == [FLAT, kind]
    for number in (3, 70):
        hit = search(snapshot, fake, [f"{TOPICS[number % 4]} {number}"], SearchSettings(mode="dense", k=3))[0][0]
        assert TOPICS[number % 4] in hit.text


@pytest.mark.medium
def test_approximate_index_leads_to_the_passage_that_is_asked_for(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    folder = folder_of(write, 300)
    asked = [f"The {TOPICS[number % 4]} number {number} of {number % 7}." for number in range(0, 300, 15)]
    refresh(tmp_path / "exact", folder, fake, RefreshSettings(vectors=VectorSettings(FLAT_FP16)))
    truth = [hits[0] for hits in search(Snapshot.open(tmp_path / "exact"), fake, asked, SearchSettings(mode="dense"))]
    for kind in APPROXIMATE:
        refresh(tmp_path / kind, folder, fake, RefreshSettings(vectors=VectorSettings(kind, min_rows_for_ann=1)))
        found = [hits[0] for hits in search(Snapshot.open(tmp_path / kind), fake, asked, SearchSettings(mode="dense"))]
        assert sum(hit == best for hit, best in zip(found, truth, strict=True)) >= 18


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CHUNKS = st.builds(
    Chunk,
    document_id=TEXT,
    title=TEXT,
    heading_path=st.lists(TEXT, max_size=3).map(tuple),
    start=st.integers(0, 2**40),
    end=st.integers(0, 2**40),
    text=TEXT,
    hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    page=st.none() | st.integers(1, 9999),
    metadata=st.dictionaries(TEXT, st.integers() | TEXT | st.none(), max_size=2),
    labels=st.lists(TEXT, max_size=2).map(tuple),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(CHUNKS, max_size=5))
def test_chunks_come_back_from_their_rows_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[Chunk]
) -> None:
    folder = tmp_path_factory.mktemp("segment")
    vectors = np.ones((len(chunks), 4), dtype=np.float32)
    write_segment(folder, rows_of_chunks(chunks), vectors, Postings.build([chunk.passage for chunk in chunks]))
    segment = Segment(folder, np.ones(len(chunks), dtype=np.bool_))
    rows = list(range(len(chunks)))[::-1]
    assert [segment.reader.chunk(row) for row in rows] == chunks[::-1]
    assert [segment.reader.place(row) for row in rows] == [(c.document_id, c.start, c.end) for c in chunks[::-1]]
