"""vLLM's answers piece by piece, for a fraction of the processor time that its own stream of a chat takes.

For every token vLLM builds, checks and writes an object of pydantic's, which its reader would have to parse again. The
pieces of an ordinary answer, all but the first and the last, differ in their text alone, so that one of vLLM's objects
serves as the pattern of the others. Whoever asks for more than text gets vLLM's own stream.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

_EVENT, _DONE = "data: ", "[DONE]"


async def as_chunks(events: AsyncGenerator[str, None]) -> AsyncGenerator[dict[str, Any], None]:
    """What vLLM's server-sent events hold. One that tells of an error has no `choices`."""
    async with contextlib.aclosing(events):
        async for event in events:
            content = event.removeprefix(_EVENT).strip()
            if content != _DONE:
                yield json.loads(content)


def stream_chunks(chat: Any) -> None:
    """Makes an `OpenAIServingChat`, which vLLM itself has built, stream chunks in place of events."""
    events_of = chat.chat_completion_stream_generator

    def stream(
        request: Any, results: AsyncGenerator[Any, None], request_id: str, model: str, *others: Any, **options: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        if is_plain(chat, request):
            return _plain_chunks(chat, request, results, _Chunks(chat, request, request_id, model))
        return as_chunks(events_of(request, results, request_id, model, *others, **options))

    chat.chat_completion_stream_generator = stream


def is_plain(chat: Any, request: Any) -> bool:
    """Whether a request asks for one answer in text, and for nothing about its tokens."""
    more = (request.logprobs, request.echo, request.return_token_ids, request.return_prompt_text)
    return chat.parser_cls is None and (request.n or 1) == 1 and not any(more)


async def _plain_chunks(
    chat: Any, request: Any, results: AsyncGenerator[Any, None], chunks: _Chunks
) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks that vLLM writes for such a request; errors are raised."""
    result: Any = None
    finished = False
    async with contextlib.aclosing(results):  # which frees its place in vLLM at once
        async for result in results:
            if chunks.prompt_tokens is None:
                chunks.prompt_tokens = len(result.prompt_token_ids)
                delta = {"role": chat.get_chat_request_role(request), "content": ""}
                yield chunks.written({"delta": delta}, prompt_token_ids=None, prompt_text=None)
            for output in result.outputs:
                if finished or not (output.text or output.token_ids or chunks.answer_tokens):
                    continue  # a part of the prompt has been read
                chat._raise_if_error(output.finish_reason, chunks.id)
                chunks.answer_tokens += len(output.token_ids)
                if finished := output.finish_reason is not None:
                    ended = {"finish_reason": output.finish_reason, "stop_reason": output.stop_reason}
                    yield chunks.written({"delta": {"content": output.text}, "token_ids": None, **ended})
                else:
                    yield chunks.piece(output.text)
    if chunks.with_usage:
        yield chunks.last(result)


class _Chunks:
    """Chunks of one answer.

    Attributes:
        prompt_tokens: of the prompt; None until the first result.
        answer_tokens: of the answer so far.
        with_usage: whether the answer ends with a chunk that tells both.
    """

    def __init__(self, chat: Any, request: Any, request_id: str, model: str) -> None:
        from vllm.entrypoints.serve.utils.api_utils import should_include_usage

        self.id = request_id
        self.prompt_tokens: int | None = None
        self.answer_tokens = 0
        self._chat = chat
        created = int(time.time())
        self._common = {"id": request_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self.with_usage, self._each_with_usage = should_include_usage(
            request.stream_options, chat.enable_force_include_usage
        )
        self._pattern: dict[str, Any] | None = None

    def written(self, choice: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A chunk of one choice, as vLLM writes it: what is given is written, also where it is None."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionStreamResponse

        choice = {"index": 0, "logprobs": None, "finish_reason": None, **choice}
        if self._each_with_usage:
            fields["usage"] = self._usage()
        if choice["finish_reason"] is not None and not self.with_usage and self._chat.system_fingerprint is not None:
            fields["system_fingerprint"] = self._chat.system_fingerprint
        chunk = ChatCompletionStreamResponse(choices=[choice], **self._common, **fields)
        told: dict[str, Any] = chunk.model_dump(mode="json", exclude_unset=True)
        return told

    def piece(self, text: str) -> dict[str, Any]:
        """A chunk with a piece of the text, which is the caller's own to change."""
        if self._pattern is None:
            self._pattern = self.written({"delta": {"content": ""}, "token_ids": None})
        piece = {**self._pattern, "choices": [{**self._pattern["choices"][0], "delta": {"content": text}}]}
        if self._each_with_usage:
            told = {"completion_tokens": self.answer_tokens, "total_tokens": self._total()}
            piece["usage"] = {**self._pattern["usage"], **told}
        return piece

    def last(self, result: Any) -> dict[str, Any]:
        """The chunk with what the answer has cost, after the last of vLLM's results."""
        from vllm.entrypoints.generate.base.serving import build_per_request_timing_metrics
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionStreamResponse

        fields = {"usage": self._usage(), "system_fingerprint": self._chat.system_fingerprint}
        if self._chat.enable_per_request_metrics:
            of = result.metrics if result is not None else None
            fields["metrics"] = build_per_request_timing_metrics(of, self.answer_tokens)
        chunk = ChatCompletionStreamResponse(choices=[], **self._common, **fields)
        told: dict[str, Any] = chunk.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return told

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens or 0, "total_tokens": self._total(),
            "completion_tokens": self.answer_tokens, "completion_tokens_details": None,
        }  # fmt: skip

    def _total(self) -> int:
        return (self.prompt_tokens or 0) + self.answer_tokens
