"""Repeated passages are found, counted and, if configured, shown once."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, Write

from index import Snapshot, refresh, search
from index.documents.chunking import Chunk
from index.search.duplicates import NEAR, find_duplicates, passage_key
from index.search.settings import SearchSettings

LONG = " ".join(f"word{number}" for number in range(40))


def chunk(name: str, text: str, path: tuple[str, ...] = ("Title",)) -> Chunk:
    return Chunk(name, path[0], path, 0, len(text), text, "00" * 32)


def ids(*names: str, length: int) -> tuple[str, ...]:
    return tuple(f"{name}#0-{length}" for name in names)


def test_copies_are_exact_whatever_their_case_white_space_and_title() -> None:
    found = find_duplicates([chunk("a", LONG), chunk("b", "other"), chunk("c", LONG.upper(), ("Copy",))])
    assert [group.chunk_ids for group in found.exact] == [ids("a", "c", length=len(LONG))]
    assert found.superfluous == 1 and found.near == ()


def test_short_text_under_another_heading_says_another_thing() -> None:
    text = "- Support ended: 2027-04-30"
    assert passage_key(("Node", "22"), text) != passage_key(("Python", "22"), text)
    assert passage_key(("Node", "22"), text) == passage_key(("node", "22"), text.replace(" ", "\n"))


def test_one_changed_word_in_many_is_near_and_never_exact() -> None:
    changed = LONG.replace("word39", "otherwise")
    found = find_duplicates([chunk("a", LONG), chunk("b", changed), chunk("c", "unrelated " * 5 + "words at the end")])
    assert found.exact == ()
    (group,) = found.near
    assert group.chunk_ids == (f"a#0-{len(LONG)}", f"b#0-{len(changed)}") and 0.9 <= group.similarity < 1


VOCABULARY = [f"w{number}" for number in range(6)]


@settings(max_examples=60, deadline=None)
@given(
    base=st.lists(st.sampled_from(VOCABULARY), min_size=12, max_size=60),
    edits=st.lists(st.lists(st.tuples(st.integers(0, 59), st.sampled_from(VOCABULARY)), max_size=4), max_size=8),
)
def test_near_groups_are_what_comparing_every_pair_finds(base: list[str], edits: list[list[tuple[int, str]]]) -> None:
    texts = [base]
    for changes in edits:
        words = list(base)
        for place, word in changes:
            words[place % len(words)] = word
        texts.append(words)
    chunks = [chunk(str(number), " ".join(words)) for number, words in enumerate(texts)]
    firsts = {passage_key(item.heading_path, item.text): item for item in reversed(chunks)}
    runs = {
        item.id: {tuple(item.text.split()[place : place + 3]) for place in range(len(item.text.split()) - 2)}
        for item in firsts.values()
    }
    linked = {
        frozenset((one, other))
        for one, other in combinations(runs, 2)
        if len(runs[one] & runs[other]) / len(runs[one] | runs[other]) >= NEAR
    }
    groups = [set(group.chunk_ids) for group in find_duplicates(chunks).near]
    assert {pair for pair in linked if any(pair <= group for group in groups)} == linked
    assert all(any(member in pair and pair <= group for pair in linked) for group in groups for member in group)


def test_collapsing_search_shows_one_of_each_and_the_next_ones_after_it(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    body = "ports and keys " * 10
    folder = write({**{f"copy{number}.md": body for number in range(4)}, "z.md": "ports " * 5, "y.md": "keys " * 5})
    refresh(tmp_path / "index", folder, fake)
    snapshot = Snapshot.open(tmp_path / "index")
    (plain,) = search(snapshot, fake, ["ports and keys"], SearchSettings(k=3))
    (collapsed,) = search(snapshot, fake, ["ports and keys"], SearchSettings(k=3, collapse=True))
    assert {hit.document_id for hit in plain} < {f"copy{number}.md" for number in range(4)}
    assert len(collapsed) == 3 and len({passage_key(hit.heading_path, hit.text) for hit in collapsed}) == 3
    assert {hit.document_id for hit in collapsed} > {"y.md", "z.md"}


def test_collapsed_ranking_is_the_same_after_refreshes_as_after_a_rebuild(
    tmp_path: Path, write: Write, fake: HashEncoder
) -> None:
    body = "ports and keys " * 10
    random = np.random.default_rng(0)
    for step in range(6):
        files = {f"{name}.md": body if random.random() < 0.5 else f"ports {step} {name}" for name in "abcdef"}
        refresh(tmp_path / "index", write(files), fake)
        refresh(tmp_path / f"fresh{step}", write(files), fake)
        rankings = [
            search(Snapshot.open(root), fake, ["ports and keys", "ports 3"], SearchSettings(k=6, collapse=True))
            for root in (tmp_path / "index", tmp_path / f"fresh{step}")
        ]
        assert rankings[0] == rankings[1]
