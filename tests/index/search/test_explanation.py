"""Why a hit ranks where it does is what the search ranked it by."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.indexes import HashEncoder, Write

from index.refresh.refresh import refresh
from index.search.explanation import Explanation
from index.search.search import Hit, search
from index.search.settings import MODES, SearchSettings
from index.store.snapshot import Snapshot
from index.store.terms import places_of

DOCUMENTS = {
    "tickets.md": "# Tickets\n\nA ticket costs 12 euros; two TICKETS cost 20.\n",
    "dogs.md": "# Dogs\n\nDogs travel without a fare.\n",
    "trains.md": "# Trains\n\nTrains leave every hour.\n",
}
QUERY = "What do tickets cost?"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    from support.indexes import WordTokenizer

    folder = tmp_path_factory.mktemp("documents")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    root = tmp_path_factory.mktemp("index")
    refresh(root, folder, HashEncoder(WordTokenizer()))
    return Snapshot.open(root)


@pytest.fixture
def fake() -> HashEncoder:
    from support.indexes import WordTokenizer

    return HashEncoder(WordTokenizer())


def explained(hit: Hit) -> Explanation:
    assert hit.explanation is not None
    return hit.explanation


def test_the_terms_add_up_to_the_scores_that_ranked(snapshot: Snapshot, fake: HashEncoder) -> None:
    settings = SearchSettings(k=9, weights=(2.0, 1.0), rrf_k=10)
    (hits,) = search(snapshot, fake, [QUERY], settings, explain=True)
    alone = {
        mode: [hit.chunk_id for hit in search(snapshot, fake, [QUERY], SearchSettings(k=9, mode=mode))[0]]
        for mode in ("dense", "lexical")
    }
    assert len(hits) == 3
    for number, hit in enumerate(hits, start=1):
        found = explained(hit)
        assert found.rank == number and found.fused == pytest.approx(hit.score)
        assert found.dense is not None and found.dense.rank == alone["dense"].index(hit.chunk_id) + 1
        assert found.lexical is not None
        assert sum(one.score for one in found.words) == pytest.approx(hit.lexical_score)
        if hit.chunk_id in alone["lexical"]:
            assert found.lexical.rank == alone["lexical"].index(hit.chunk_id) + 1
        else:
            assert (found.lexical.rank, found.lexical.adds, found.words) == (None, 0.0, ())


def test_the_words_that_matched_are_marked_in_whatever_form(snapshot: Snapshot, fake: HashEncoder) -> None:
    (hits,) = search(snapshot, fake, [QUERY], SearchSettings(mode="lexical"), explain=True)
    found = explained(hits[0])
    assert [hits[0].text[first:end] for first, end in found.marks] == ["Tickets", "ticket", "costs", "TICKETS", "cost"]
    written = dict(zip((one.term for one in found.words), found.written, strict=True))
    assert written == {"ticket": ("tickets", "ticket"), "cost": ("costs", "cost")}
    told = list(found.sentences(1, None))
    assert told[0].startswith("Rank 1 by words (BM25 ") and told[0].endswith("the only ranking.")
    assert "tickets / ticket (" in told[1]


def test_a_reranker_is_told_with_where_it_moved_the_hit(snapshot: Snapshot, fake: HashEncoder) -> None:
    (hits,) = search(snapshot, fake, [QUERY], explain=True)
    assert list(explained(hits[1]).sentences(1, 4.25))[-1].endswith("gave it 4.25 and moved it from rank 2 to 1.")
    values = explained(hits[2]).to_json(3, None)
    assert "Not among the first 50 by words (BM25 0), which adds nothing." in values["sentences"]
    assert "It holds no word of the query." in values["sentences"]


@pytest.mark.parametrize("mode", MODES)
def test_explaining_changes_nothing_else(snapshot: Snapshot, fake: HashEncoder, mode: str) -> None:
    plain, told = (search(snapshot, fake, [QUERY], SearchSettings(mode=mode), explain=e) for e in (False, True))
    assert plain == told and all(hit.explanation is None for hit in plain[0])
    assert [hit.to_json() for hit in plain[0]] == [hit.to_json() for hit in told[0]]


@pytest.mark.parametrize(
    ("text", "terms", "marked"),
    [
        ("Node.js, “node” and (Nodes).", {"node"}, ["Node.js", "node", "Nodes"]),
        ("月曜日は休みです", {"月曜", "曜日"}, ["月曜日"]),
        ("İstanbul 𝒳 ticket", {"ticket"}, ["ticket"]),
        ("nothing", set(), []),
    ],
)
def test_words_are_marked_in_any_script(text: str, terms: set[str], marked: list[str]) -> None:
    places = places_of(text, terms, "english")
    assert [text[first:end].strip("“”") for first, end in places] == marked


def test_what_a_caller_does_not_see_leaves_no_trace(tmp_path: Path, write: Write, fake: HashEncoder) -> None:
    from support.indexes import index_of

    from index.documents.document import Document

    seen = Document.of("open.md", "# Office\n\nThe office opens at nine.\n")
    hidden = [Document.of(f"staff{n}.md", "# Office\n\nThe office safe.\n", labels=("staff",)) for n in range(3)]
    with_hidden = index_of(tmp_path / "both", [*hidden, seen], encoder=fake)
    without = index_of(tmp_path / "one", [seen], encoder=fake)
    told = [
        [explained(hit).to_json(1, None) for hit in search(one, fake, ["office"], labels=frozenset(), explain=True)[0]]
        for one in (with_hidden, without)
    ]
    assert len(told[0]) == 1 and told[0] == told[1]
