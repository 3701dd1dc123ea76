"""What vLLM is asked, in this process or on another machine: the same request, token for token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragft.engine.base import ChatRequest
from ragft.templates import Template, TemplateOptions


def template_of(folder: Path, options: TemplateOptions) -> Template:
    """The tokenizer and chat template of a model's folder."""
    from transformers import AutoTokenizer

    return Template(AutoTokenizer.from_pretrained(folder, local_files_only=True), options)


def body_of(request: ChatRequest, template: Template, max_model_len: int) -> dict[str, Any]:
    """The body of OpenAI's chat completion request, without the model's name."""
    options: Mapping[str, Any] = request.options
    limits = {
        # vLLM refuses more than the whole window; here the window is the limit.
        name: min(value, max_model_len)
        for name in ("max_tokens", "max_completion_tokens")
        if isinstance(value := options.get(name), int)
    }
    body = {**options, **limits, "messages": template.arranged(request.messages)}
    if template.arguments:
        body["chat_template_kwargs"] = template.arguments
    # A turn may end with another token than texts do, which the model's own settings need not name.
    if template.stop is not None and not options.get("ignore_eos"):
        body["stop_token_ids"] = [*(options.get("stop_token_ids") or ()), template.stop]
    return body
