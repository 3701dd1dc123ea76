"""The pipeline and its engines, with what they do noted in the record of the request that they do it for.

Whatever a route asks them is seen, so that a new route needs no code of its own for metrics, logs and traces.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

from index.errors import IndexFault
from ragft.engine.base import ChatRequest, Completion, Engine, EngineDead, TextRequest
from ragft.pipeline import Pipeline, Prompt, Retrieved
from ragft.setups import Setup
from serving.telemetry.record import RequestRecord, current

Request = TypeVar("Request", ChatRequest, TextRequest, ChatRequest | TextRequest)


def observed(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, which tells the records of requests what it does."""
    return ObservedPipeline(**{field.name: getattr(pipeline, field.name) for field in fields(pipeline)})


class ObservedPipeline(Pipeline):
    """See `observed`."""

    async def retrieve(self, setup: Setup, question: str, *arguments: Any, **options: Any) -> Retrieved | None:
        record = current()
        record.setup = setup.name
        if not setup.retrieval:
            return await super().retrieve(setup, question, *arguments, **options)
        with record.stage("search") as span:
            try:
                retrieved = await super().retrieve(setup, question, *arguments, **options)
            except IndexFault:
                record.reason = "index"
                raise
            if retrieved is not None:
                record.index_version = retrieved.index_version
                if span is not None:
                    span.set_attribute("ragft.index_version", retrieved.index_version)
                    span.set_attribute("ragft.passages", len(retrieved.hits))
                    for stage, spent in retrieved.timings_ms.items():
                        span.set_attribute(f"ragft.search.{stage}_ms", round(spent, 3))
        return retrieved

    def render(self, setup: Setup, question: str, *arguments: Any, **options: Any) -> Prompt:
        record = current()
        with record.stage("prompt"):
            prompt = super().render(setup, question, *arguments, **options)
        record.question, record.passages = question, len(prompt.hits)
        return prompt

    def engine_of(self, setup: Setup) -> Engine:
        current().setup = setup.name
        return cast(Engine, ObservedEngine(super().engine_of(setup)))

    def rewriter_of(self, setup: Setup) -> Engine:
        return cast(Engine, ObservedRewriter(super().engine_of(setup)))


@dataclass(frozen=True)
class ObservedEngine:
    """An engine that tells the records of requests what it does; all else is the engine's own."""

    engine: Engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def chat(self, request: ChatRequest) -> Completion:
        record = current()
        called = time.perf_counter()
        with _generation(record, self.engine) as span:
            completion = await self.engine.chat(_traced(request, record, span))
            if completion.ttft_ms is not None:
                record.seconds["first_token"] = called - record.begin + completion.ttft_ms / 1000
            _note_queue(record, completion.queue_ms)
            usage = completion.body.get("usage") or {}
            _note_tokens(
                record, span, completion.prompt_tokens, usage.get("completion_tokens") or completion.answer_tokens
            )
            choices = completion.body.get("choices") or ()
            record.answer = "\n".join(map(_text_of, choices))
        return completion

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        record = current()
        with _generation(record, self.engine) as span:
            body = await self.engine.complete(_traced(request, record, span))
            usage = body.get("usage") or {}
            _note_tokens(record, span, usage.get("prompt_tokens"), usage.get("completion_tokens"))
            record.answer = "\n".join(map(_text_of, body["choices"]))
        return body

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        record = current()
        request, asked_usage = _with_usage(request)
        texts: dict[int, list[str]] = {}
        began = False
        with _generation(record, self.engine) as span:
            try:
                async with contextlib.aclosing(self.engine.stream(_traced(request, record, span))) as chunks:
                    async for chunk in chunks:
                        if not began:
                            began = True
                            record.seconds["first_token"] = time.perf_counter() - record.begin
                        for choice in chunk["choices"]:
                            texts.setdefault(choice["index"], []).append(_text_of(choice))
                        if not chunk["choices"] and (usage := chunk.get("usage")):
                            _note_queue(record, (chunk.pop("metrics", None) or {}).get("queue_time_ms"))
                            _note_tokens(record, span, usage.get("prompt_tokens"), usage.get("completion_tokens"))
                            if not asked_usage:
                                continue
                        yield chunk
            except (GeneratorExit, asyncio.CancelledError):
                record.status = 499
                raise
            except Exception:
                record.interrupted = began
                raise
            finally:
                record.answer = "\n".join("".join(texts[index]) for index in sorted(texts))


class ObservedRewriter(ObservedEngine):
    """An engine that rewrites a question: a stage of its own, of which nothing is noted as the answer."""

    async def chat(self, request: ChatRequest) -> Completion:
        record = current()
        with _generation(record, self.engine, "condense") as span:
            return await self.engine.chat(_traced(request, record, span))


@contextlib.contextmanager
def _generation(record: RequestRecord, engine: Engine, stage: str = "generate") -> Iterator[Any]:
    """The stage of one call of an engine."""
    record.model_version = engine.version
    with record.stage(stage) as span:
        if span is not None:
            span.set_attribute("ragft.model_version", engine.version)
        try:
            yield span
        except EngineDead:
            record.reason = "engine_dead"
            raise


def _traced(request: Request, record: RequestRecord, span: Any) -> Request:
    """The request with the headers by which the engine's own spans belong to this one."""
    if span is None or record.tracing is None:
        return request
    return replace(request, trace_headers=record.tracing.headers(span))


def _with_usage(request: Request) -> tuple[Request, bool]:
    """The request of a stream that ends with a count of its tokens, and whether it asked for that itself."""
    given = request.options.get("stream_options")
    if given is not None and not isinstance(given, Mapping):
        return request, True  # the engine says what is wrong with it
    if given and given.get("include_usage"):
        return request, True
    return replace(request, options={**request.options, "stream_options": {"include_usage": True}}), False


def _text_of(choice: Mapping[str, Any]) -> str:
    """The text of a choice, or of a piece of one."""
    part = choice.get("delta") or choice.get("message") or {}
    return str(part.get("content") or choice.get("text") or "")


def _note_queue(record: RequestRecord, milliseconds: Any) -> None:
    if isinstance(milliseconds, int | float):
        record.seconds["queue"] = record.seconds.get("queue", 0.0) + milliseconds / 1000


def _note_tokens(record: RequestRecord, span: Any, prompt: int | None, answer: int | None) -> None:
    record.prompt_tokens += prompt or 0
    record.answer_tokens += answer or 0
    if span is not None:
        # The names of OpenTelemetry's conventions for generative models.
        span.set_attribute("gen_ai.usage.input_tokens", prompt or 0)
        span.set_attribute("gen_ai.usage.output_tokens", answer or 0)
