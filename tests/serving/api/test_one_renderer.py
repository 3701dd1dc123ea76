"""A conversation is the same token ids in training, in the evaluation and at the endpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeEngine, FakeSnapshot

from ragft.config import Config, MixSection
from ragft.data.examples import Example
from ragft.data.mix import mix
from ragft.data.questions import Question
from ragft.data.sources import Source
from ragft.evaluate.run import generate
from ragft.messages import Message
from ragft.models import resolve_model
from ragft.pipeline import Pipeline, Retrieved
from ragft.setups import FINE_TUNED, HYBRID, SETUPS, Setup
from ragft.templates import Template
from serving.api.chat_request import read_request

SNAPSHOT = FakeSnapshot([(f"doc{n}.md", f"Section {n}", f"Fact {n}.") for n in range(9)])
HISTORY: tuple[Message, ...] = (
    {"role": "user", "content": "When does it open?"}, {"role": "assistant", "content": "Source: [1]\nAnswer: at 9"},
)  # fmt: skip
CONFIG = Config(name="desk", prompt={"system": "House style."})  # type: ignore[arg-type]


@pytest.mark.medium
@pytest.mark.parametrize("setup", [HYBRID, FINE_TUNED], ids=lambda setup: setup.name)
def test_a_follow_up_is_the_same_token_ids_in_training_evaluation_and_serving(setup: Setup, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    template = Template(AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"), local_files_only=True))
    question = "And when does it close?"
    example = Example("e", question, "Source: [1]\nAnswer: at 5", (Source("doc4.md"),), "e", history=HISTORY)
    hits = {hit.chunk_id: hit for hit in SNAPSHOT.hits()}
    settings = MixSection(passages=3, gold_share=1.0, closed_book_share=0.0 if setup.retrieval else 1.0)
    (row,) = mix(
        [example], [], SNAPSHOT, lambda _: [SNAPSHOT.hits()], settings,  # type: ignore[arg-type]
        system=CONFIG.prompt.system, refusal="Unknown", seed=0,
    ).rows  # fmt: skip
    trained = template.training(row.messages)
    found = Retrieved(tuple(hits[name] for name in row.passages), "s", 0.0)

    engine = FakeEngine()
    pipeline = Pipeline(CONFIG, {"tuned": engine}, None)  # type: ignore[dict-item]
    asked = Question("q", question, ("at 5",), (), True, history=HISTORY)
    retrieved = [found] if setup.retrieval else None
    asyncio.run(generate(pipeline, setup, [asked], retrieved, tmp_path, lambda _: None))
    evaluated = template.prompt(engine.requests[0].messages)

    body: dict[str, Any] = {"model": setup.name, "messages": [*HISTORY, {"role": "user", "content": question}]}
    request = read_request(body, SETUPS)
    prompt = pipeline.render(
        request.setup, request.question, found, history=request.history, following=request.following
    )
    assert tuple(trained.prompt) == tuple(evaluated) == tuple(template.prompt(prompt.messages))
    # The loss is taken from the last answer alone.
    assert template.tokenizer.decode(trained.answer).startswith("Source:") and trained.trained.count(True) < 30
