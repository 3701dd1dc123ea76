"""What a search finds, whatever the history of the index."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, Write

from index.encoders.encoder import Encoder
from index.errors import EncoderMismatch
from index.refresh.refresh import refresh
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.snapshot import Snapshot

PETS = {
    "node.md": "# Node.js\n\n## 22\n\nSupport ends on 2027-04-30.\n\n## 24\n\nSupport ends on 2028-04-30.\n",
    "mysql.md": "# MySQL\n\n## 8.0\n\nThe last release is 8.0.36.\n",
    "cats.md": "# Cats\n\nA kitten purrs when it is content.\n",
}


@pytest.fixture
def snapshot(tmp_path: Path, write: Write, fake: HashEncoder) -> Snapshot:
    refresh(tmp_path / "index", write(PETS), fake)
    return Snapshot.open(tmp_path / "index")


def test_version_number_finds_its_release(snapshot: Snapshot, fake: HashEncoder) -> None:
    (hits,) = search(snapshot, fake, ["8.0.36"], SearchSettings(mode="lexical"))
    assert [hit.document_id for hit in hits] == ["mysql.md"]


def test_hit_points_into_its_document(snapshot: Snapshot, fake: HashEncoder) -> None:
    hit = search(snapshot, fake, ["Node.js 24 support"])[0][0]
    assert hit.text == PETS["node.md"][hit.start : hit.end]
    assert hit.chunk_id == f"node.md#{hit.start}-{hit.end}"
    assert (hit.title, hit.heading_path) == ("Node.js", ("Node.js", "24"))
    assert hit.passage == "Node.js > 24\nSupport ends on 2028-04-30."


def test_fused_score_is_the_sum_of_reciprocal_ranks(snapshot: Snapshot, fake: HashEncoder) -> None:
    query = "Node.js 24 Support ends on 2028-04-30."
    best = [search(snapshot, fake, [query], SearchSettings(k=9, mode=mode))[0][0] for mode in ("dense", "lexical")]
    assert best[0].chunk_id == best[1].chunk_id
    hit = search(snapshot, fake, [query], SearchSettings(weights=(2.0, 1.0), rrf_k=10))[0][0]
    assert hit.score == pytest.approx(2 / 11 + 1 / 11)
    assert (hit.dense_score, hit.lexical_score) == (best[0].dense_score, best[1].lexical_score)


def test_hit_that_only_its_words_found_has_its_cosine_too(snapshot: Snapshot, fake: HashEncoder) -> None:
    cosines = {
        hit.chunk_id: hit.dense_score
        for hit in search(snapshot, fake, ["8.0.36"], SearchSettings(k=9, mode="dense"))[0]
    }
    (hit,) = search(snapshot, fake, ["8.0.36"], SearchSettings(k=1, candidates=1, weights=(0.0, 1.0)))[0]
    assert hit.document_id == "mysql.md" and hit.dense_score == cosines[hit.chunk_id]


def test_blank_queries_find_nothing_and_the_others_keep_their_places(snapshot: Snapshot, fake: HashEncoder) -> None:
    hits = search(snapshot, fake, ["", "kitten", " \n", "?!"], SearchSettings(k=1))
    assert [[hit.document_id for hit in found] for found in hits[:3]] == [[], ["cats.md"], []]
    assert search(snapshot, fake, []) == []


def test_batch_finds_what_single_queries_find(snapshot: Snapshot, fake: HashEncoder) -> None:
    queries = ["kitten", "support 22", "mysql last release"]
    assert search(snapshot, fake, queries) == [search(snapshot, fake, [query])[0] for query in queries]


def test_more_hits_than_chunks_gives_all_chunks(snapshot: Snapshot, fake: HashEncoder) -> None:
    for mode in ("dense", "hybrid"):
        assert len(search(snapshot, fake, ["kitten"], SearchSettings(k=500, mode=mode))[0]) == snapshot.chunk_count == 4


def test_other_encoder_is_refused(snapshot: Snapshot, fake: HashEncoder) -> None:
    with pytest.raises(EncoderMismatch, match="hash-encoder-other"):
        search(snapshot, HashEncoder(fake.tokenizer, "-other"), ["kitten"])


@pytest.mark.parametrize("wrong", [{"mode": "both"}, {"k": 0}, {"weights": (-1.0, 1.0)}, {"rrf_k": -1}])
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SearchSettings(**wrong)  # type: ignore[arg-type]


def test_threads_find_the_same(snapshot: Snapshot, fake: HashEncoder) -> None:
    expected = search(snapshot, fake, ["support ends"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: search(snapshot, fake, ["support ends"]), range(32)))
    assert all(hits == expected for hits in found)


def test_ties_beyond_the_depth_are_broken_by_document(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    files = {f"{number:03d}.md": "# Same\n\nThe same passage.\n" for number in range(90)}
    late = dict(list(files.items())[45:])
    refresh(tmp_path / "index", write(late), fake)
    refresh(tmp_path / "index", write(files), fake)
    for mode in MODES:
        hits = search(Snapshot.open(tmp_path / "index"), fake, ["same"], SearchSettings(k=3, mode=mode, candidates=5))[
            0
        ]
        assert [hit.document_id for hit in hits] == ["000.md", "001.md", "002.md"]


WORDS = st.sampled_from(["red", "fox", "owl", "8.0.36", "node.js", "support", "ends"])
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
BODIES = st.lists(TEXTS, min_size=1, max_size=3).map(
    lambda parts: "# T\n\n" + "\n\n".join(f"## S{place}\n\n{part}" for place, part in enumerate(parts))
)
FOLDERS = st.dictionaries(st.sampled_from([f"{name}.md" for name in "abcdef"]), BODIES, min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(FOLDERS, min_size=2, max_size=4), query=TEXTS)
def test_index_with_a_history_ranks_like_one_built_at_once(
    fake: HashEncoder, write: Write, history: list[dict[str, str]], query: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        for files in history:
            folder = write(files)
            refresh(Path(name, "history"), folder, fake)
        refresh(Path(name, "built"), folder, fake)
        history_of, built = Snapshot.open(Path(name, "history")), Snapshot.open(Path(name, "built"))
        assert history_of.id == built.id
        assert list(history_of.chunks()) == list(built.chunks())
        for mode in MODES:
            assert search(history_of, fake, [query], SearchSettings(k=9, mode=mode)) == search(
                built, fake, [query], SearchSettings(k=9, mode=mode)
            )


@pytest.mark.medium
def test_real_encoder_finds_meaning_where_no_word_matches(tmp_path: Path, write: Write, encoder: Encoder) -> None:
    refresh(tmp_path / "index", write(PETS), encoder)
    hits = search(Snapshot.open(tmp_path / "index"), encoder, ["happy young pet"], SearchSettings(mode="dense"))[0]
    assert hits[0].document_id == "cats.md"
