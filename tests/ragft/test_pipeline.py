"""One path from question to answer: what each setup shows its model, and where citations lead."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeEngine, FakeRetriever, hit

from index.encoders.encoder import Encoder
from index.refresh.refresh import refresh
from index.search.settings import SearchSettings
from index.store.filters import parse_filter
from index.store.snapshot import Snapshot
from ragft import pipeline as module
from ragft.config import Config
from ragft.engine.base import PromptTooLong
from ragft.pipeline import Answer, Pipeline, Prompt, Retriever, citations_of
from ragft.prompts import Message
from ragft.setups import FINE_TUNED, HYBRID, PROMPT_ONLY, RAG_ONLY, SETUPS, Setup, setup_named

HITS = (hit("node.md", "Node.js 22", "Ends 2027-04-30."), hit("mysql.md", "MySQL 8.0", "Ends 2026-04-30."))
CONFIG = Config(name="desk", prompt={"system": "House style."}, index={"search": {"top_k": 2}})  # type: ignore[arg-type]
QUESTION = "When does Node.js 22 end?"
PASSAGES = "Passages:\n[1] Node > Node.js 22\nEnds 2027-04-30.\n\n[2] Mysql > MySQL 8.0\nEnds 2026-04-30.\n\n"


def fakes(text: str = "2027-04-30 [1]") -> tuple[Pipeline, FakeEngine, FakeEngine, FakeRetriever]:
    base, tuned = FakeEngine([text], "base-model"), FakeEngine([text], "tuned-model")
    retriever = FakeRetriever(HITS, "snapshot-1")
    return Pipeline(CONFIG, {"base": base, "tuned": tuned}, retriever), base, tuned, retriever  # type: ignore[arg-type]


def prepared(pipeline: Pipeline, setup: Setup, **search: Any) -> Prompt:
    """The prompt for the question, with what retrieval finds for it."""
    return pipeline.render(setup, QUESTION, asyncio.run(pipeline.retrieve(setup, QUESTION, **search)))


def answered(pipeline: Pipeline, setup: Setup, **search: Any) -> Answer:
    return asyncio.run(pipeline.answer(prepared(pipeline, setup, **search)))


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
    assert idle.requests == []
    (request,) = asked.requests
    assert request.messages == [
        {"role": "system", "content": "House style."}, {"role": "user", "content": f"{shown}Question: {QUESTION}"}
    ]  # fmt: skip
    assert retriever.asked == ([(QUESTION, None)] if setup.retrieval else [])
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


def test_citations_of_passages_that_there_are_not_are_counted() -> None:
    pipeline, *_ = fakes("Both end [2], [1]; not [3] [3] [7].")
    assert answered(pipeline, HYBRID).invalid_citations == 2
    assert answered(pipeline, FINE_TUNED).invalid_citations == 4


def test_answers_are_greedy_and_as_long_as_configured_unless_a_request_asks_otherwise() -> None:
    pipeline, *_ = fakes()
    prompt = prepared(pipeline, FINE_TUNED)
    assert pipeline.request(prompt).options == {"temperature": 0, "max_tokens": CONFIG.engine.max_tokens}
    assert pipeline.request(prompt, {"max_tokens": 7, "n": 2}).options == {"temperature": 0, "max_tokens": 7, "n": 2}
    # OpenAI's newer name for it.
    assert pipeline.request(prompt, {"max_completion_tokens": 7}).options == {
        "temperature": 0, "max_completion_tokens": 7
    }  # fmt: skip


def test_turns_around_the_question_stay_where_they_are() -> None:
    pipeline, *_, retriever = fakes()
    (found,) = retriever.search([QUESTION])
    history: list[Message] = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    following: list[Message] = [{"role": "tool", "content": "12"}]
    messages = pipeline.render(HYBRID, QUESTION, found, history=history, following=following).messages
    assert messages[0] == {"role": "system", "content": "House style."}
    assert (messages[1:3], messages[4:]) == (history, following)
    assert messages[3]["content"] == f"{PASSAGES}Question: {QUESTION}"
    own: list[Message] = [{"role": "system", "content": "Be brief."}]
    assert pipeline.render(FINE_TUNED, QUESTION, None, history=own).messages[:-1] == own


HISTORY: list[Message] = [
    {"role": role, "content": f"{role} {number} said this"} for number in range(3) for role in ("user", "assistant")
]  # type: ignore[typeddict-item]


def behind(pipeline: Pipeline, setup: Setup = HYBRID, **more: Any) -> Prompt:
    """The prompt for the question behind three others."""
    found = asyncio.run(pipeline.retrieve(setup, QUESTION, history=HISTORY))
    return pipeline.render(setup, QUESTION, found, history=HISTORY, **more)


def with_settings(pipeline: Pipeline, section: str, **values: Any) -> Pipeline:
    changed = getattr(pipeline.config, section).model_copy(update=values)
    return replace(pipeline, config=pipeline.config.model_copy(update={section: changed}))


@pytest.mark.parametrize(("tokens", "kept"), [(None, 6), (24, 6), (23, 4), (8, 2), (7, 0), (0, 0)])
def test_history_has_a_budget_and_the_oldest_exchanges_go_first_and_are_counted(tokens: int | None, kept: int) -> None:
    pipeline = with_settings(fakes()[0], "prompt", history_tokens=tokens)  # the stand-in counts words
    shot: list[Message] = [{"role": "user", "content": "A shot"}, {"role": "assistant", "content": "It stays"}]
    for setup in (replace(HYBRID, shots=tuple(shot)), replace(FINE_TUNED, shots=tuple(shot))):
        prompt = behind(pipeline, setup)
        assert prompt.messages[1:-1] == [*shot, *HISTORY[6 - kept :]] and prompt.dropped_turns == 6 - kept
        assert prompt.messages == behind(pipeline, setup).messages
    assert asyncio.run(pipeline.answer(prompt)).dropped_turns == 6 - kept


def test_without_a_budget_history_leaves_half_the_window_and_never_too_little_for_the_question() -> None:
    pipeline, engine = small(60)
    prompt = behind(pipeline)
    assert prompt.dropped_turns == 0 and 0 < len(prompt.hits) < 40 and engine.prompt_length(prompt.messages) <= 50
    assert behind(small(50)[0]).dropped_turns == 2
    wide = with_settings(small(30)[0], "prompt", history_tokens=1000)
    assert engine.prompt_length(behind(wide).messages) <= 20


def test_what_is_searched_for_a_follow_up_is_said() -> None:
    pipeline, _, tuned, retriever = fakes()
    query = f"user 2 said this {QUESTION}"
    assert asyncio.run(pipeline.answer(behind(pipeline))).query == query == retriever.asked[-1][0]
    assert asyncio.run(pipeline.answer(prepared(pipeline, HYBRID))).query == QUESTION
    assert asyncio.run(pipeline.answer(behind(pipeline, FINE_TUNED))).query is None
    off = with_settings(pipeline, "serve", condense="off")
    behind(off)
    assert retriever.asked[-1] == (QUESTION, None)
    asked = len(tuned.requests)
    tuned.tokens = ["When does Node.js 22", " end, in full?"]
    by_model = with_settings(pipeline, "serve", condense="model")
    prompt = behind(by_model)
    assert prompt.retrieved is not None and prompt.retrieved.query == "When does Node.js 22 end, in full?"
    assert prompt.retrieved.notes == () and len(tuned.requests) == asked + 1
    prepared(by_model, HYBRID)  # a single question needs no rewriting
    assert len(tuned.requests) == asked + 1


def test_a_model_that_does_not_rewrite_in_time_is_replaced_by_the_heuristic_which_is_said() -> None:
    pipeline, _, tuned, _ = fakes()
    tuned.pause = 5.0
    by_model = with_settings(pipeline, "serve", condense="model")
    found = asyncio.run(by_model.retrieve(HYBRID, QUESTION, history=HISTORY, deadline=0.01))
    assert found is not None and found.query == f"user 2 said this {QUESTION}"
    assert "did not rewrite" in found.notes[0]


def small(max_model_len: int, max_tokens: int = 10) -> tuple[Pipeline, FakeEngine]:
    """A pipeline whose model reads few tokens; the stand-in for an engine counts words."""
    engine = FakeEngine(["Yes [1]"])
    section = {"max_model_len": max_model_len, "max_tokens": max_tokens}
    config = CONFIG.model_copy(update={"engine": CONFIG.engine.model_copy(update=section)})
    return Pipeline(config, {"tuned": engine}, FakeRetriever(HITS * 20, "snapshot-1")), engine  # type: ignore[arg-type]


@pytest.mark.parametrize("room", [20, 21, 30, 47, 100, 289, 290])
def test_a_prompt_that_does_not_fit_loses_its_last_passages_and_says_so(room: int) -> None:
    pipeline, engine = small(room + 10)
    prompt = prepared(pipeline, HYBRID)
    everything = prepared(Pipeline(pipeline.config, {}, pipeline.retriever), HYBRID)
    kept = len(prompt.hits)
    assert prompt.hits == everything.hits[:kept] and prompt.passages_dropped == 40 - kept
    assert engine.prompt_length(prompt.messages) <= room
    assert prompt.messages == pipeline.render(HYBRID, QUESTION, prompt.retrieved).messages
    if kept < 40:
        one_more = replace(prompt.retrieved, hits=everything.hits[: kept + 1])  # type: ignore[type-var]
        unfitted = Pipeline(pipeline.config, {}, None).render(HYBRID, QUESTION, one_more)  # type: ignore[arg-type]
        assert engine.prompt_length(unfitted.messages) > room
    assert asyncio.run(pipeline.answer(prompt)).passages_dropped == prompt.passages_dropped


def test_a_question_that_leaves_no_room_for_passages_is_asked_without_and_for_the_engine_to_refuse() -> None:
    pipeline, engine = small(8, max_tokens=4)
    prompt = prepared(pipeline, HYBRID)
    assert (prompt.hits, prompt.passages_dropped) == ((), 40)
    assert "(none found)" in prompt.messages[-1]["content"]
    engine.error = PromptTooLong("9 tokens", 8)
    with pytest.raises(PromptTooLong, match="shorten the question"):
        asyncio.run(pipeline.answer(prompt))


def test_half_the_window_is_left_to_passages_where_answers_may_be_longer() -> None:
    pipeline, _ = small(100, max_tokens=1000)
    assert 0 < len(prepared(pipeline, HYBRID).hits) < 40


def test_tools_take_room_in_the_prompt() -> None:
    pipeline, _ = small(110)
    retrieved = asyncio.run(pipeline.retrieve(HYBRID, QUESTION))
    fewer = pipeline.render(HYBRID, QUESTION, retrieved, tools=["word " * 50])
    assert fewer.passages_dropped > pipeline.render(HYBRID, QUESTION, retrieved).passages_dropped


def test_setup_with_retrieval_never_answers_without() -> None:
    pipeline = Pipeline(CONFIG, {"tuned": FakeEngine()}, None)
    with pytest.raises(ValueError, match="hybrid needs an index"):
        prepared(pipeline, HYBRID)
    with pytest.raises(ValueError, match="hybrid needs passages"):
        pipeline.render(HYBRID, QUESTION, None)


def test_setup_without_retrieval_ignores_passages_that_are_at_hand() -> None:
    pipeline, *_, retriever = fakes()
    prompt = pipeline.render(FINE_TUNED, QUESTION, retriever.search([QUESTION])[0])
    assert (prompt.hits, prompt.retrieved) == ((), None)


def test_fewer_passages_can_be_asked_for() -> None:
    pipeline, *_ = fakes()
    assert prepared(pipeline, HYBRID, k=1).hits == HITS[:1]


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
    retriever = Retriever(old, real_encoder, CONFIG.index.search.settings())
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
    retriever = Retriever(old, real_encoder, CONFIG.index.search.settings())
    pipeline = Pipeline(CONFIG, {"tuned": FakeEngine(["Yes [1]"])}, retriever)

    prompt = prepared(pipeline, HYBRID)
    retriever.snapshot = new
    answer = asyncio.run(pipeline.answer(prompt))
    assert answer.index_version == old.id
    assert answer.citations[0].text == answer.hits[0].text and "2027-04-30" in answer.citations[0].text


def test_what_the_caller_may_see_and_asks_for_reaches_the_search() -> None:
    pipeline, _, _, retriever = fakes()
    narrowed, labels = parse_filter({"year": 2024}), frozenset({"staff"})
    answered(pipeline, HYBRID, filter=narrowed, labels=labels)
    assert retriever.restrictions == [(narrowed, labels)]


def test_every_setting_of_the_search_reaches_it(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {
        "top_k": 3, "mode": "hybrid", "dense_weight": 2.0, "lexical_weight": 0.5, "rrf_k": 7, "candidates": 9,
        "rerank_candidates": 11, "filter": {"year": {"gte": 2024}}, "bm25_k1": 1.2, "bm25_b": 0.75,
        "duplicates": "collapse", "expand": "section",
    }  # fmt: skip
    config = Config.model_validate({"name": "desk", "index": {"search": section}})
    told: list[Any] = []

    def search(*arguments: Any, **more: Any) -> list[Any]:
        told.extend([arguments[3], more])
        return [[]]

    monkeypatch.setattr(module, "search", search)
    judge: Any = object()
    retriever = Retriever(snapshots[0], real_encoder, config.index.search.settings(), judge)
    retriever.search([QUESTION], 5, filter=parse_filter({"a": 1}), labels=frozenset({"staff"}), explain=True)
    settings, more = told
    assert settings == SearchSettings(
        k=5, mode="hybrid", candidates=9, weights=(2.0, 0.5), rrf_k=7, bm25=(1.2, 0.75), rerank_candidates=11,
        collapse=True, filter=parse_filter({"year": {"gte": 2024}}), expand="section",
    )  # fmt: skip
    assert more.pop("timings") is not None
    assert more == {"filter": parse_filter({"a": 1}), "labels": {"staff"}, "reranker": judge, "explain": True}


def test_stages_of_a_search_add_up_to_less_than_all_of_it(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder
) -> None:
    found = Retriever(snapshots[0], real_encoder, CONFIG.index.search.settings()).search([QUESTION, "Node.js"])
    for one in found:
        assert one.timings_ms.keys() == {"filter", "encode", "dense", "lexical", "fuse", "hits"}
        assert sum(one.timings_ms.values()) <= one.milliseconds


def test_a_question_beyond_the_encoders_window_is_said_in_the_answer(
    snapshots: tuple[Snapshot, Snapshot], real_encoder: Encoder
) -> None:
    long = "When does it end, in which year and in which month of it? " * 40
    settings = CONFIG.index.search.settings()
    found = Retriever(snapshots[0], real_encoder, settings).search([QUESTION, long])
    assert [len(one.notes) for one in found] == [0, 1] and "longer than the 256 tokens" in found[1].notes[0]
    (lexical,) = Retriever(snapshots[0], real_encoder, replace(settings, mode="lexical")).search([long])
    assert lexical.notes == ()
    pipeline = fakes()[0]
    answer = asyncio.run(pipeline.answer(pipeline.render(RAG_ONLY, long, found[1])))
    assert answer.notes == found[1].notes
