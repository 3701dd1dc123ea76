"""One request on its way to an answer, whichever of OpenAI's APIs it came by: retrieved, rendered, answered, cited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

from index.store.filters import Labels
from ragft.engine.base import ChatRequest, Engine
from ragft.grounding import Grounder
from ragft.pipeline import Pipeline, Prompt, Retrieved, all_cited, citations_of, invalid_citations
from serving.api.chat_request import Asked
from serving.telemetry.observed import ObservedEngine
from serving.telemetry.record import current


@dataclass
class Exchange:
    """One request on its way to an answer; everything in it comes from one snapshot and one model.

    Attributes:
        begin: when the request arrived, by `time.perf_counter`.
        refused: why the question was refused before anything was generated; None where it was answered.
        model_version: of the model that answered, known once it has begun to.
        first_token: when its first token came; None where the answer is not streamed.
        found: all that was found, of which the prompt may have room for a part; None without retrieval.
        encoder: fingerprint of the encoder that it was found with; None without retrieval.
        grounded: whether the answer stands on its passages, known once it is whole; None where that was not looked up.
        noted: is told of the answer when it is whole, with its id, if it has one, and its text; see `serving.feedback`.
    """

    asked: Asked
    prompt: Prompt
    request_id: str
    begin: float
    grounder: Grounder
    refused: str | None = None
    model_version: str = ""
    first_token: float | None = None
    found: Retrieved | None = None
    encoder: str | None = None
    grounded: str | None = None
    noted: Callable[[Exchange, str | None, str], None] = lambda *_: None

    def begun(self, engine: Engine, *, streamed: bool = False) -> None:
        """Notes that an answer has begun to come, before anything else is awaited: as soon as none is in progress,
        another model may take the place of the one that answers.
        """
        self.model_version = current().model_version = engine.version
        if streamed:
            self.first_token = time.perf_counter()

    def headers(self) -> dict[str, str]:
        """The versions that the answer came from."""
        headers = {"x-ragft-model-version": self.model_version}
        if self.prompt.retrieved is not None:
            headers["x-ragft-index-version"] = self.prompt.retrieved.index_version
        return headers

    def whole(self, answer_id: str | None, text: str) -> dict[str, Any]:
        """The field `ragft` of an answer that somebody gets and, where the engine gave it an id, may tell of."""
        told = self.provenance(text)
        self.noted(self, answer_id, text)
        return told

    def provenance(self, text: str) -> dict[str, Any]:
        """The field `ragft` of an answer."""
        retrieved, part = self.prompt.retrieved, self.asked.assignment
        timings = {
            "retrieval_ms": round(retrieved.milliseconds, 2) if retrieved else 0.0,
            "total_ms": round((time.perf_counter() - self.begin) * 1000, 2),
        }
        if self.first_token is not None:
            timings["ttft_ms"] = round((self.first_token - self.begin) * 1000, 2)
        grounding = self.grounder.told(text, self.asked.question, self.prompt)
        if grounding is not None:
            self.grounded = current().grounded = grounding["grounded"]
        told = {
            "setup": self.asked.setup.name,
            "query": retrieved.query if retrieved else None,
            "citations": [asdict(citation) for citation in citations_of(text, self.prompt.hits)],
            "invalid_citations": invalid_citations(text, self.prompt.hits),
            "index_version": retrieved.index_version if retrieved else None,
            "model_version": self.model_version,
            "passages_dropped": self.prompt.passages_dropped,
            "dropped_turns": self.prompt.dropped_turns,
            "notes": retrieved.notes if retrieved else (),
            "grounding": grounding,
            "refused": self.refused,
            "timings": timings,
        }
        if part is not None:
            told |= {"arm": part.arm, "experiment": part.experiment.id}
        if self.asked.ragft.return_passages:
            told["passages"] = [asdict(passage) for passage in all_cited(self.prompt.hits)]
        return told


async def prepare(
    pipeline: Pipeline, asked: Asked, labels: Labels, grounder: Grounder, request_id: str, begin: float
) -> tuple[Exchange, Engine, ChatRequest]:
    """Retrieves and renders: who is to be asked what. Where too little was found, a declared refusal answers.

    Args:
        begin: see `Exchange`.
    """
    retrieved = await pipeline.retrieve(
        asked.setup, asked.question, asked.ragft.top_k, history=asked.history, filter=asked.filter, labels=labels,
        deadline=pipeline.config.serve.condense_deadline,
    )  # fmt: skip
    render = partial(
        pipeline.render, asked.setup, asked.question, retrieved,
        history=asked.history, following=asked.following, tools=asked.options.get("tools"),
    )  # fmt: skip
    # Off the event loop, too, where there are tokens to count, which takes milliseconds. A bare question has none, and
    # the way to a thread and back is 0.1 ms of processor time.
    prompt = render() if retrieved is None and not asked.history else await asyncio.to_thread(render)
    engine, refused = grounder.answering(pipeline, asked.setup, retrieved, asked.options)
    if refused is not None:
        engine = cast(Engine, ObservedEngine(engine))
        current().declared_refusal = True
    exchange = Exchange(asked, prompt, request_id, begin, grounder, refused)
    if retrieved is not None and pipeline.retriever is not None:
        exchange.found = retrieved
        exchange.encoder = pipeline.retriever.encoder.fingerprint
    return exchange, engine, pipeline.request(prompt, asked.options)
