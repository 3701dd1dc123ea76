"""`ragft tune search`: tries settings over the index as it is, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.commands import Ended
from support.domains import Domain, application
from support.indexes import HashEncoder, WordTokenizer

from index.encoders.reranker import RerankScores
from index.search.search import search
from index.store.folder import current_id
from ragft.config import load_config
from ragft.errors import RagftError
from ragft.stages.application import Application
from ragft.stages.index import live_snapshot
from ragft.stages.search_tuning import tune_search

Ragft = Callable[..., Ended]
ANIMALS = ("cat", "dog", "owl", "fox", "hen", "bee", "ant", "elk")


@pytest.fixture(autouse=True)
def _without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Application, "encoder", HashEncoder(WordTokenizer()))
    monkeypatch.setattr(Application, "tokenizer", WordTokenizer())
    monkeypatch.setattr(Application, "model_tokenizer", None)


@pytest.fixture
def zoo(domain: Domain) -> Domain:
    """A page on each animal, and two questions on each page."""
    for name in ANIMALS:
        parts = "".join(f"## Part {n} of {name}\n\nThe {name} eats {n} apples and sleeps.\n\n" for n in range(3))
        domain.page(f"{name}.md", f"# {name.title()}\n\n{parts}")
    domain.lines("questions.jsonl", [
        {"id": f"{name}-{n}", "question": f"Who sleeps: the {name} that eats {n} apples?", "answers": ["x"],
         "sources": [f"{name}.md#Part {n} of {name}"]}
        for name in ANIMALS for n in range(2)
    ] + [{"id": "none", "question": "Who are you?", "answers": [], "answerable": False}])  # fmt: skip
    domain.configure(tune={"search": {"top_k": [1, 3]}}, evaluate={"resamples": 200})
    return domain


def test_figures_are_shown_and_the_index_stays_as_it_was(ragft: Ragft, zoo: Domain) -> None:
    assert ragft("index", "build", "-c", zoo.config).status == 0
    before = current_id(zoo.workspace / "index")
    ended = ragft("tune", "search", "-c", zoo.config)
    assert ended.status == 0, ended.err
    assert "Tried 18 settings with 6 searches; chosen by 8 questions, reported on 8 others about 4" in ended.out
    assert "1 questions without sources" in ended.out and "keep the present settings" in ended.out
    assert current_id(zoo.workspace / "index") == before
    assert {path.name for path in zoo.workspace.iterdir()} == {"index"}
    values = ragft("tune", "search", "--json", "-c", zoo.config).values
    assert values["compared"]["figures"]["now"]["all_sources"]["n"] == 8
    assert set(values["milliseconds"]) == set(values["compared"]["candidates"])


def test_every_question_is_encoded_once_before_searches_are_timed(zoo: Domain) -> None:
    app = application(load_config(zoo.config))
    live_snapshot(app)
    asked: list[str] = []
    encode = app.encoder.encode_queries
    app.encoder.encode_queries = lambda texts: [asked.extend(texts), encode(texts)][1]  # type: ignore
    tuned = tune_search(app)
    assert asked[:16] == [question.question for question in app.questions[:16]]
    # Then each is searched for alone, by settings that encode.
    encoding = sum(one.mode != "lexical" for one in tuned.compared.candidates.values())
    assert len(asked) == 16 + encoding * 17


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_first_passages_of_a_wider_search_are_those_of_a_narrow_one(zoo: Domain, mode: str) -> None:
    app = application(load_config(zoo.config))
    snapshot = live_snapshot(app)
    texts = [question.question for question in app.questions]
    settings = replace(app.config.index.search.settings(), mode=mode, collapse=True)
    wide = search(snapshot, app.encoder, texts, replace(settings, k=8))
    for k in (1, 3, 8):
        assert [hits[:k] for hits in wide] == search(snapshot, app.encoder, texts, replace(settings, k=k))


def test_other_chunks_take_an_index_that_is_gone_afterwards(zoo: Domain) -> None:
    zoo.configure(
        tune={"search": {"top_k": [2], "chunk_tokens": [32], "modes": ["lexical"]}}, evaluate={"resamples": 200}
    )
    app = application(load_config(zoo.config))
    before = live_snapshot(app).id
    tuned = tune_search(app)
    assert tuned.searches == 3  # now, lexical, and lexical in other chunks
    assert current_id(app.index_root) == before
    assert list((app.workspace / "tuning").iterdir()) == []
    zoo.page("new.md", "# New\n\nA page.\n")
    with pytest.raises(RagftError, match="documents changed since the index"):
        tune_search(application(load_config(zoo.config)))


def test_reranker_scores_each_passage_once_and_is_tried_without(zoo: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[tuple[str, str]] = []

    class Counting:
        source, fingerprint = "counting", "0" * 16

        def scores(self, query: str, passages: list[str]) -> RerankScores:
            scored.extend((query, passage) for passage in passages)
            return np.array([float(len(passage)) for passage in passages])

    monkeypatch.setattr(Application, "reranker", Counting())
    monkeypatch.setattr("ragft.stages.search_tuning._TIMED", 1)
    zoo.configure(
        index={"search": {"top_k": 2, "reranker": "counting"}}, evaluate={"resamples": 200},
        tune={"search": {"top_k": [1], "modes": ["hybrid"], "dense_weights": [1.0, 2.0]}},
    )  # fmt: skip
    app = application(load_config(zoo.config))
    tuned = tune_search(app)
    assert tuned.now.rerank and tuned.searches == 4
    timed = [one for one in tuned.compared.candidates.values() if one.rerank]
    asked_first = app.questions[0].question
    again = sum(query == asked_first for query, _ in scored) - len({pair for pair in scored if pair[0] == asked_first})
    others = [pair for pair in scored if pair[0] != asked_first]
    assert len(others) == len(set(others)) and again == 2 * 20 * len(timed)


def test_what_cannot_be_tried_is_refused(ragft: Ragft, zoo: Domain) -> None:
    few = ("--set", "index.search.candidates=2")
    assert (
        "cannot try 3 passages, because index.search.candidates is 2"
        in ragft("tune", "search", "-c", zoo.config, *few).err
    )
    zoo.lines("questions.jsonl", [{"id": "q", "question": "Who?", "answers": ["x"]}])
    assert "give questions `sources`" in ragft("tune", "search", "-c", zoo.config).err
    zoo.lines("questions.jsonl", [
        {"id": name, "question": f"{name}?", "answers": ["x"], "sources": ["cat.md"]} for name in "ab"
    ])  # fmt: skip
    assert "about one document" in ragft("tune", "search", "-c", zoo.config).err


def test_tune_alone_is_the_search_for_a_recipe(ragft: Ragft, zoo: Domain) -> None:
    assert ragft("tune", "-h").out.count("search") > 1
    misplaced = ragft("tune", "-c", zoo.config, "search")
    assert misplaced.status == 2 and "unexpected extra argument" in misplaced.err
