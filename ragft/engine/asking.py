"""What vLLM is asked, in this process or on another machine: the same request, token for token."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ragft.engine.base import ChatRequest
from ragft.messages import Message
from ragft.templates import Template, TemplateOptions


def template_of(folder: Path, options: TemplateOptions) -> Template:
    """The tokenizer and chat template of a model's folder."""
    from transformers import AutoTokenizer

    return Template(AutoTokenizer.from_pretrained(folder, local_files_only=True), options)


class Rendering:
    """The tokenizer and template that vLLM renders with, too, read when they are first needed."""

    def __init__(self, folder: Path, options: TemplateOptions) -> None:
        self._folder, self._options = folder, options
        self._counting = threading.Lock()

    @cached_property
    def template(self) -> Template:
        """Not for several threads at once."""
        return template_of(self._folder, self._options)

    def length(self, messages: Sequence[Message], tools: Any = None) -> int:
        """See `Engine.prompt_length`."""
        try:
            with self._counting:
                return len(self.template.prompt(messages, tools))
        except Exception:
            return 0  # vLLM renders it again, and says what is wrong with it


def body_of(request: ChatRequest, template: Template, max_model_len: int) -> dict[str, Any]:
    """The body of OpenAI's chat completion request, without the model's name."""
    body = {**within(request.options, max_model_len), "messages": template.arranged(request.messages)}
    if template.arguments:
        body["chat_template_kwargs"] = template.arguments
    # A turn may end with another token than texts do, which the model's own settings need not name.
    if template.stop is not None and not request.options.get("ignore_eos"):
        body["stop_token_ids"] = [*(request.options.get("stop_token_ids") or ()), template.stop]
    return body


def within(options: Mapping[str, Any], max_model_len: int) -> dict[str, Any]:
    """Options of a request, its limits within the window: vLLM refuses more, and here the window is the limit."""
    limits = {
        name: min(value, max_model_len)
        for name in ("max_tokens", "max_completion_tokens")
        if isinstance(value := options.get(name), int)
    }
    return {**options, **limits}
