"""What stands around a hit comes into a prompt after all that was found, and only as far as there is room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeEngine
from support.indexes import HashEncoder, WordTokenizer

from index.documents.chunking import Chunk
from index.refresh.refresh import RefreshSettings, refresh
from index.search.search import Hit
from index.search.settings import EXPANSIONS, NEIGHBOURS, SearchSettings
from index.search.surroundings import Numbered
from index.store.snapshot import Snapshot
from ragft.config import Config
from ragft.pipeline import Pipeline, Prompt, Retrieved, Retriever
from ragft.setups import HYBRID

CONFIG = Config(name="desk", prompt={"system": "Style."})  # type: ignore[arg-type]
QUESTION = "word4 word9 word10 night2"
LOG = "# Log\n\n## Days\n\n" + "\n\n".join(f"On day {n} the whole crew wrote word{n} and slept." for n in range(14))
LOG += "\n\n## Nights\n\n" + "\n\n".join(f"In night {n} the watch wrote night{n} and went on." for n in range(6))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """Over a log that is cut at every sentence."""
    root, words = tmp_path_factory.mktemp("log"), HashEncoder(WordTokenizer())
    (root / "documents").mkdir()
    (root / "documents" / "log.md").write_text(LOG)
    refresh(root / "index", root / "documents", words, RefreshSettings(max_tokens=32))
    return Retriever(Snapshot.open(root / "index"), words, SearchSettings(k=4, mode="lexical"))  # type: ignore[arg-type]


@dataclass
class Counting(FakeEngine):
    """Remembers the prompts that it measured."""

    lengths: list[int] = field(default_factory=list)

    def prompt_length(self, messages: Any, tools: Any = None) -> int:
        self.lengths.append(super().prompt_length(messages, tools))
        return self.lengths[-1]


def rendered(retriever: Retriever, expand: str, room: int | None, k: int = 4) -> tuple[Prompt, Counting]:
    """The prompt with room for so many words, or with no engine to count them."""
    engine = Counting(["Yes [1]"])
    section = {"max_model_len": (room or 1000) + 1, "max_tokens": 1}
    config = CONFIG.model_copy(update={"engine": CONFIG.engine.model_copy(update=section)})
    over = replace(retriever, settings=replace(retriever.settings, expand=expand))
    pipeline = Pipeline(config, {"tuned": engine} if room else {}, over)  # type: ignore[dict-item]
    return pipeline.render(HYBRID, QUESTION, over.search([QUESTION], k)[0]), engine


def spans(prompt: Prompt) -> list[tuple[int, int]]:
    return [(hit.start, hit.end) for hit in prompt.hits]


@settings(max_examples=60)
@given(room=st.integers(1, 400), expand=st.sampled_from(EXPANSIONS), k=st.integers(1, 8))
def test_a_prompt_fits_and_keeps_every_passage_that_it_would_have_without_expansion(
    retriever: Retriever, room: int, expand: str, k: int
) -> None:
    plain, _ = rendered(retriever, "none", room, k)
    prompt, engine = rendered(retriever, expand, room, k)
    assert engine.prompt_length(prompt.messages) <= room or not plain.hits
    assert prompt.passages_dropped == plain.passages_dropped
    for hit in plain.hits:
        assert any(start <= hit.start and hit.end <= end for start, end in spans(prompt))
    assert all(one[1] <= other[0] for one, other in pairwise(sorted(spans(prompt))))
    assert all(hit.around == () and LOG[hit.start : hit.end].split() == hit.text.split() for hit in prompt.hits)
    if expand == "none":
        assert prompt.messages == plain.messages
    if prompt.passages_dropped:
        # What was found counts more than what is around it.
        assert sum(hit.end - hit.start for hit in prompt.hits) <= sum(h.end - h.start + 2 for h in plain.hits)


@pytest.mark.parametrize("expand", EXPANSIONS[1:])
def test_a_wider_room_shows_more_until_everything_is_shown(retriever: Retriever, expand: str) -> None:
    everything, _ = rendered(retriever, expand, None)
    shown = [
        sum(end - start for start, end in spans(rendered(retriever, expand, room)[0])) for room in range(60, 400, 7)
    ]
    assert shown == sorted(shown) and len(set(shown)) > 4
    assert shown[-1] == sum(end - start for start, end in spans(everything))


@pytest.mark.parametrize(
    ("expand", "room", "most"), [("none", 400, 1), (NEIGHBOURS, 400, 2), (NEIGHBOURS, 100, 5), ("section", 150, 8)]
)
def test_few_prompts_are_measured(retriever: Retriever, expand: str, room: int, most: int) -> None:
    _, engine = rendered(retriever, expand, room)
    assert len(engine.lengths) <= most


def test_the_best_hit_is_expanded_first(retriever: Retriever) -> None:
    plain, engine = rendered(retriever, "none", 400)
    prompt, _ = rendered(retriever, NEIGHBOURS, engine.lengths[-1] + 12)
    best = plain.hits[0]
    wider = next(hit for hit in prompt.hits if hit.start <= best.start and best.end <= hit.end)
    assert prompt.hits[0] == wider and wider.end > best.end


def test_citations_of_a_joined_passage_lead_to_its_slice(retriever: Retriever) -> None:
    prompt, _ = rendered(retriever, NEIGHBOURS, 400)
    over = Pipeline(Config(name="desk"), {"tuned": FakeEngine(["See [1][2][3]"])}, retriever)  # type: ignore[dict-item]
    answer = asyncio.run(over.answer(prompt))
    assert len(answer.citations) == len(prompt.hits) < 4
    for citation in answer.citations:
        assert citation.text == LOG[citation.start : citation.end]
        assert f"[{citation.number}] " in prompt.messages[-1]["content"]


def test_hits_are_not_joined_where_that_would_take_more_room() -> None:
    """A path may shorten a heading that stands in full in the text."""
    heading = "## " + "very " * 30 + "long heading"
    text = f"# T\n\nOne.\n\n{heading}\n\nTwo."
    start = text.index(heading)
    chunks = [
        Chunk("t.md", "T", ("T",), 0, start - 2, text[: start - 2], ""),
        Chunk("t.md", "T", ("T", "very…"), start, len(text), text[start:], ""),
    ]
    numbered = tuple(Numbered(place, chunk) for place, chunk in enumerate(chunks))
    hits = tuple(
        Hit(
            chunk.id, "t.md", "T", chunk.heading_path, chunk.start, chunk.end, chunk.text,
            f"{' > '.join(chunk.heading_path)}\n{chunk.text[-4:]}", 0.5, 0.5, None,
            around=numbered if place == 0 else numbered[::-1],
        )
        for place, chunk in enumerate(chunks)
    )  # fmt: skip
    config = Config(name="desk", prompt={"system": "S."}, engine={"max_model_len": 65, "max_tokens": 35})  # type: ignore[arg-type]
    prompt = Pipeline(config, {"tuned": FakeEngine()}, None).render(HYBRID, "Q?", Retrieved(hits, "s", 0.0))  # type: ignore[dict-item]
    assert [hit.text for hit in prompt.hits] == [hit.text for hit in hits]
    assert all(hit.around == () for hit in prompt.hits)
