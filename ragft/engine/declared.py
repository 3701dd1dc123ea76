"""An engine without a model: it answers every conversation with the same text."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragft.engine.base import ChatRequest, Completion, NotInPlace, RequestRefused, TextRequest
from ragft.messages import Message

_NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True)
class DeclaredAnswer:
    """Answers at once, in the form of the engine that it stands in for; no token is generated.

    Attributes:
        text: of every choice.
        version: of the engine that it stands in for.
    """

    text: str
    version: str

    def preload(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def drain(self) -> None: ...

    async def replace(self, folder: Path) -> None:
        raise NotInPlace("A declared answer has no model.")

    async def check_health(self) -> None: ...

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        return 0

    async def chat(self, request: ChatRequest) -> Completion:
        message = {"role": "assistant", "content": self.text}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
            for index in range(request.options.get("n") or 1)
        ]
        body = {**_head("chat.completion"), "choices": choices, "usage": _NO_TOKENS}
        return Completion(body, self.text, (), (), "stop", 0.0, 0.0)

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        raise RequestRefused("A declared answer continues no text.")

    async def stream(self, request: ChatRequest | TextRequest) -> AsyncGenerator[dict[str, Any], None]:
        head = _head("chat.completion.chunk")
        for index in range(request.options.get("n") or 1):
            delta = {"role": "assistant", "content": self.text}
            yield {**head, "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}]}
            yield {**head, "choices": [{"index": index, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
        if (request.options.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": _NO_TOKENS}


def _head(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": ""}
