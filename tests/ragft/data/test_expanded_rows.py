"""Training rows show passages expanded as prompts do; what they must not show stays out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.indexes import HashEncoder, WordTokenizer

from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import Hit, search
from index.search.settings import NEIGHBOURS, SECTION, SearchSettings
from index.search.surroundings import surroundings
from index.store.snapshot import Snapshot
from ragft.citations import parse_citations
from ragft.config import MixSection
from ragft.data.examples import Example
from ragft.data.mix import mix
from ragft.data.row_maker import Expansion
from ragft.data.rows import Row
from ragft.data.sources import Source
from ragft.prompts import Message

REFUSAL = "Answer: unknown"
BOATS = ("Ferry", "Barge", "Canoe")
DAYS = 6


def page(boat: str) -> str:
    """A page of two sections, each of which is cut at its sentences."""
    sections = [
        f"## {section}\n\n"
        + "\n\n".join(f"The {boat} carried {section}{n} on a quiet day before noon." for n in range(DAYS))
        for section in ("Salt", "Wood")
    ]
    return f"# {boat}\n\n" + "\n\n".join(sections) + "\n"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    root = tmp_path_factory.mktemp("boats")
    (root / "documents").mkdir()
    for boat in BOATS:
        (root / "documents" / f"{boat}.md").write_text(page(boat))
    refresh(root / "index", root / "documents", HashEncoder(WordTokenizer()), RefreshSettings(max_tokens=32))
    return Snapshot.open(root / "index")


EXAMPLES = [
    *(Example(f"{boat} {section}", f"What {section} did the {boat} carry?", f"Answer: all [1] {section}",
              sources=(Source(f"{boat}.md#{section}"),))
      for boat in BOATS for section in ("Salt", "Wood")),
    Example("both", "What Salt and Wood did the Ferry carry?", "Answer: all [1][2]",
            sources=(Source("Ferry.md#Salt"), Source("Ferry.md#Wood"))),
]  # fmt: skip


def words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def mixed(snapshot: Snapshot, expand: str, longest: int, seed: int, share: float) -> list[Row]:
    view = snapshot.view()

    def find(questions: Sequence[str]) -> list[list[Hit]]:
        searching = SearchSettings(k=16, mode="lexical", expand=expand)
        return search(snapshot, HashEncoder(WordTokenizer()), questions, searching)

    expansion = Expansion(
        around=lambda number: surroundings(snapshot, view, int(snapshot.order[number]), expand),
        fits=lambda messages: words(messages) <= longest,
    )
    section = MixSection(passages=4, gold_share=share, closed_book_share=0)
    rows = mix(
        EXAMPLES, (), snapshot, find, section, system="Style.", refusal=REFUSAL, seed=seed,
        expansion=None if expand == "none" else expansion,
    ).rows  # fmt: skip
    return sorted(rows, key=lambda row: row.example_id)


def shown(row: Row) -> list[str]:
    """The passages of a row, by number."""
    text = "\n\n" + row.messages[-2]["content"].removeprefix("Passages:\n").rpartition("\n\nQuestion: ")[0]
    return [
        text.partition(f"\n\n[{number}] ")[2].partition(f"\n\n[{number + 1}] ")[0]
        for number in range(1, len(row.passages) + 1)
    ]


@pytest.mark.medium
@settings(max_examples=40)
@given(
    expand=st.sampled_from((NEIGHBOURS, SECTION)),
    longest=st.integers(40, 400),
    seed=st.integers(0, 99),
    share=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_rows_are_those_without_expansion_with_more_around_their_passages(
    snapshot: Snapshot, expand: str, longest: int, seed: int, share: float
) -> None:
    examples = {example.id: example for example in EXAMPLES}
    chunks = {chunk.id: chunk for chunk in snapshot.chunks()}
    # A passage does not repeat the headings of its path.
    bodies = {name: chunk.text.splitlines()[-1] for name, chunk in chunks.items()}
    plain, rows = (mixed(snapshot, name, longest, seed, share) for name in ("none", expand))
    for row, before in zip(rows, plain, strict=True):
        assert (row.example_id, row.kind) == (before.example_id, before.kind)
        assert words(row.messages) <= max(longest, words(before.messages))
        passages, text = shown(row), row.messages[-2]["content"]
        assert all(bodies[name] in text for name in before.passages)
        answer, sources = row.messages[-1]["content"], examples[row.example_id].sources
        if row.kind == "gold":
            assert tuple(dict.fromkeys(parse_citations(answer))) == tuple(dict.fromkeys(row.gold))
            for number, place in zip(row.gold, before.gold, strict=True):
                assert bodies[before.passages[place - 1]] in passages[number - 1]
        else:
            assert answer == REFUSAL
            gold = [
                {c.id for c in chunks.values() if source.matches(c.document_id, c.heading_path, c.title)}
                for source in sources
            ]
            held = [any(bodies[name] in text for name in ids) for ids in gold]
            assert not all(held)


def test_passages_grow_and_join_where_there_is_room(snapshot: Snapshot) -> None:
    narrow, wide = (mixed(snapshot, SECTION, longest, 0, 1.0) for longest in (1, 1_000))
    assert [row.messages for row in narrow] == [row.messages for row in mixed(snapshot, "none", 1, 0, 1.0)]
    assert all(words(one.messages) < words(other.messages) for one, other in zip(narrow, wide, strict=True))
    assert any(len(row.passages) < 4 for row in wide)
