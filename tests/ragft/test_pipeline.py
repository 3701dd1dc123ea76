"""One path from question to answer: what each setup shows its model, and where citations lead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeEngine, FakeRetriever, hit

from index.encoders.encoder import Encoder
from index.refresh.refresh import refresh
from index.store.filters import parse_filter
from index.store.snapshot import Snapshot
from ragft import pipeline as module
from ragft.config import Config
from ragft.engine.base import Delta
from ragft.pipeline import Answer, Pipeline, Retriever, citations_of
from ragft.setups import FINE_TUNED, HYBRID, PROMPT_ONLY, RAG_ONLY, SETUPS, Setup, setup_named

HITS = (hit("node.md", "Node.js 22", "Ends 2027-04-30."), hit("mysql.md", "MySQL 8.0", "Ends 2026-04-30."))
CONFIG = Config(name="desk", prompt={"system": "House style."}, index={"top_k": 2})  # type: ignore[arg-type]
QUESTION = "When does Node.js 22 end?"
PASSAGES = "Passages:\n[1] Node > Node.js 22\nEnds 2027-04-30.\n\n[2] Mysql > MySQL 8.0\nEnds 2026-04-30.\n\n"


def fakes(text: str = "2027-04-30 [1]") -> tuple[Pipeline, FakeEngine, FakeEngine, FakeRetriever]:
    base, tuned = FakeEngine(text, "base-model"), FakeEngine(text, "tuned-model")
    retriever = FakeRetriever(HITS)
    return Pipeline(CONFIG, {"base": base, "tuned": tuned}, retriever), base, tuned, retriever  # type: ignore[arg-type]


def answered(pipeline: Pipeline, setup: Setup, question: str = QUESTION) -> Answer:
    return asyncio.run(pipeline.answer(setup, question))


@pytest.mark.parametrize(
    ("setup", "shown", "model"),
    [
        (PROMPT_ONLY, "", "base-model"),
        (RAG_ONLY, PASSAGES, "base-model"),
        (FINE_TUNED, "", "tuned-model"),
        (HYBRID, PASSAGES, "tuned-model"),
    ],
    ids=list(SETUPS),
)
def test_setup_decides_the_model_and_the_passages(setup: Setup, shown: str, model: str) -> None:
    pipeline, base, tuned, retriever = fakes()
    answer = answered(pipeline, setup)
    asked, idle = (tuned, base) if setup.tuned else (base, tuned)
    assert idle.asked == []
    assert asked.asked == [
        [{"role": "system", "content": "House style."}, {"role": "user", "content": f"{shown}Question: {QUESTION}"}]
    ]
    assert retriever.asked == ([QUESTION] if setup.retrieval else [])
    assert (answer.setup, answer.model_version) == (setup.name, model)
    assert answer.index_version == ("snapshot-1" if setup.retrieval else None)
    assert answer.hits == (HITS if setup.retrieval else ())


def test_citations_lead_to_their_passages() -> None:
    pipeline, *_ = fakes("Both end [2], [1]; not [3].")
    cited = answered(pipeline, HYBRID).citations
    assert [(c.number, c.document_id, c.heading, c.text) for c in cited] == [
        (2, "mysql.md", "Mysql > MySQL 8.0", "Ends 2026-04-30."),
        (1, "node.md", "Node > Node.js 22", "Ends 2027-04-30."),
    ]
    assert [(c.start, c.end, c.score) for c in cited] == [(h.start, h.end, h.score) for h in HITS[::-1]]


def test_answer_without_passages_cites_nothing() -> None:
    pipeline, *_ = fakes("2027-04-30 [1]")
    assert answered(pipeline, FINE_TUNED).citations == ()
    assert citations_of("[0] [3] [999]", HITS) == ()


def test_stream_ends_with_the_answer_that_generating_gives() -> None:
    pipeline, *_ = fakes("It ends on 2027-04-30 [1]")

    async def both() -> tuple[list[Any], Answer]:
        prompt = await pipeline.prepare(HYBRID, QUESTION)
        return [piece async for piece in pipeline.stream(prompt)], await pipeline.generate(prompt)

    (*pieces, streamed), generated = asyncio.run(both())
    assert all(isinstance(piece, Delta) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == streamed.text == generated.text
    for field in ("setup", "citations", "hits", "index_version", "model_version", "finish_reason", "prompt_token_ids"):
        assert getattr(streamed, field) == getattr(generated, field), field
    assert streamed.answer_tokens == len(pieces)
    assert 0 <= streamed.ttft_ms <= streamed.total_ms


def test_stream_of_nothing_is_an_aborted_answer() -> None:
    class Silent(FakeEngine):
        async def stream(self, messages: Sequence[Any], sampling: Any) -> Any:
            return
            yield

    pipeline = Pipeline(CONFIG, {"tuned": Silent()}, None)

    async def streamed() -> list[Any]:
        return [piece async for piece in pipeline.stream(await pipeline.prepare(FINE_TUNED, QUESTION))]

    (answer,) = asyncio.run(streamed())
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("", "abort", 0)


def test_answers_are_greedy_and_as_long_as_configured() -> None:
    pipeline, *_ = fakes()
    assert (pipeline.sampling().temperature, pipeline.sampling().max_tokens) == (0.0, CONFIG.engine.max_tokens)
    assert pipeline.sampling(7).max_tokens == 7


def test_setup_with_retrieval_never_answers_without() -> None:
    pipeline = Pipeline(CONFIG, {"tuned": FakeEngine()}, None)
    with pytest.raises(ValueError, match="hybrid needs an index"):
        answered(pipeline, HYBRID)
    with pytest.raises(ValueError, match="hybrid needs passages"):
        pipeline.render(HYBRID, QUESTION, None)


def test_setup_without_retrieval_ignores_passages_that_are_at_hand() -> None:
    pipeline, *_, retriever = fakes()
    prompt = pipeline.render(FINE_TUNED, QUESTION, retriever.search([QUESTION])[0])
    assert (prompt.hits, prompt.retrieved) == ((), None)


def test_fewer_passages_can_be_asked_for() -> None:
    pipeline, *_ = fakes()
    assert asyncio.run(pipeline.prepare(HYBRID, QUESTION, k=1)).hits == HITS[:1]


def test_no_setup_of_another_name() -> None:
    from ragft.errors import UsageError

    with pytest.raises(UsageError, match="choose one of prompt-only, rag-only, fine-tuned, hybrid"):
        setup_named("rag")
    assert [setup_named(name).name for name in SETUPS] == list(SETUPS)


def test_four_setups_are_the_whole_table() -> None:
    assert {(setup.tuned, setup.retrieval) for setup in SETUPS.values()} == {
        (tuned, retrieval) for tuned in (False, True) for retrieval in (False, True)
    }


# --- the real retriever over real snapshots


@pytest.fixture
def snapshots(tmp_path: Path, real_encoder: Encoder) -> tuple[Snapshot, Snapshot]:
    """Before and after a refresh: one fact has changed."""
    documents = tmp_path / "documents"
    documents.mkdir()
    opened = []
    for day in ("2027-04-30", "2029-01-01"):
        (documents / "node.md").write_text(f"# Node.js\n\n## Node.js 22\n\nEnd of life: {day}\n")
        refresh(tmp_path / "index", documents, real_encoder)
        opened.append(Snapshot.open(tmp_path / "index"))
    return opened[0], opened[1]


def test_answer_never_mixes_two_snapshots(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = snapshots
    retriever = Retriever(old, real_encoder, CONFIG)
    searching, swapped = threading.Event(), threading.Event()
    search = module.search

    def slow(*arguments: Any, **settings: Any) -> Any:
        searching.set()
        assert swapped.wait(10)
        return search(*arguments, **settings)

    monkeypatch.setattr(module, "search", slow)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(retriever.search([QUESTION, "Node.js"])))
    thread.start()
    assert searching.wait(10)
    retriever.snapshot = new
    swapped.set()
    thread.join(10)
    assert {one.index_version for one in found} == {old.id}
    assert all("2027-04-30" in one.hits[0].text for one in found)
    (after,) = retriever.search([QUESTION])
    assert after.index_version == new.id == retriever.index_version
    assert "2029-01-01" in after.hits[0].text


def test_prompt_keeps_its_snapshot_while_the_index_moves_on(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder
) -> None:
    old, new = snapshots
    retriever = Retriever(old, real_encoder, CONFIG)
    pipeline = Pipeline(CONFIG, {"tuned": FakeEngine("Yes [1]")}, retriever)

    async def asked() -> Answer:
        prompt = await pipeline.prepare(HYBRID, QUESTION)
        retriever.snapshot = new
        return await pipeline.generate(prompt)

    answer = asyncio.run(asked())
    assert answer.index_version == old.id
    assert answer.citations[0].text == answer.hits[0].text and "2027-04-30" in answer.citations[0].text


def test_what_the_caller_may_see_and_asks_for_reaches_the_search() -> None:
    pipeline, _, _, retriever = fakes()
    narrowed, labels = parse_filter({"year": 2024}), frozenset({"staff"})
    asyncio.run(pipeline.answer(HYBRID, QUESTION, filter=narrowed, labels=labels))
    assert retriever.restrictions == [(narrowed, labels)]


def test_every_setting_of_the_search_reaches_it(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {
        "top_k": 3, "mode": "hybrid", "dense_weight": 2.0, "lexical_weight": 0.5, "rrf_k": 7, "depth": 9,
        "rerank_depth": 11, "filter": {"year": {"gte": 2024}}, "bm25_k1": 1.2, "bm25_b": 0.75, "duplicates": "collapse",
    }  # fmt: skip
    config = Config.model_validate({"name": "desk", "index": section})
    told: dict[str, Any] = {}
    monkeypatch.setattr(module, "search", lambda *_, **settings: told.update(settings) or [[]])
    judge: Any = object()
    Retriever(snapshots[0], real_encoder, config, judge).search([QUESTION], filter=parse_filter({"a": 1}))
    assert told.pop("filter").to_json() == {"and": [{"year": {"gte": 2024}}, {"a": 1}]}
    assert told.pop("timings") is not None
    assert told == {
        "k": 3, "mode": "hybrid", "weights": (2.0, 0.5), "rrf_k": 7, "depth": 9,
        "labels": None, "reranker": judge, "rerank_depth": 11, "bm25": (1.2, 0.75), "collapse": True,
    }  # fmt: skip


def test_stages_of_a_search_add_up_to_less_than_all_of_it(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder
) -> None:
    found = Retriever(snapshots[0], real_encoder, CONFIG).search([QUESTION, "Node.js"])
    for one in found:
        assert one.timings_ms.keys() == {"filter", "encode", "dense", "lexical", "fuse", "hits"}
        assert sum(one.timings_ms.values()) <= one.milliseconds
