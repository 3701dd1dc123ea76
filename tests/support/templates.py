"""Chat templates as model families write them, in short form, and tokenizers that have their tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}"
    "{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% else %}{% set day = '?' %}{% endif %}"
    "{% if date_string is defined %}{% set day = date_string %}{% endif %}"
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ day }}\n\n{{ system | trim }}<|eot_id|>"
    "{% for m in rest %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_ALTERNATING = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + _ALTERNATING + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}" + _ALTERNATING + "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, the tokens that it writes, and what training with it must find.

    Attributes:
        special: control tokens to add; `ordinary` ones are added, too, but not marked as special.
        end: the token that ends an answer.
        trims: whether it strips white space from contents.
        arguments: what it must be told so that an answer can be learnt.
    """

    template: str
    special: tuple[str, ...]
    end: str
    bos: str = "<|endoftext|>"
    eos: str = "<|im_end|>"
    ordinary: tuple[str, ...] = ()
    folds: bool = False
    alternates: bool = False
    trims: bool = False
    arguments: tuple[tuple[str, Any], ...] = ()


FAMILIES = {
    "chatml": Family(CHATML, (), "<|im_end|>"),
    # As in fine-tunes of other models: texts end with `</s>`, turns with `<|im_end|>`.
    "chatml-eos": Family(CHATML, ("</s>",), "<|im_end|>", eos="</s>"),
    "llama3": Family(
        LLAMA3, ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"),
        "<|eot_id|>", bos="<|begin_of_text|>", eos="<|end_of_text|>", trims=True,
    ),
    "gemma": Family(
        GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", bos="<bos>", eos="<eos>",
        folds=True, alternates=True, trims=True,
    ),
    "mistral": Family(
        MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>", bos="<s>", eos="</s>", folds=True, alternates=True
    ),
    "qwen3": Family(
        QWEN3, (), "<|im_end|>", ordinary=("<think>", "</think>"), arguments=(("enable_thinking", False),)
    ),
    "phi": Family(
        PHI, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|end|>", eos="<|endoftext|>"
    ),
}  # fmt: skip


def tokenizer_of(family: Family, plain: Any) -> Any:
    """A copy of a tokenizer that has the family's template and tokens."""
    tokenizer = with_template(plain, family.template, family.special)
    tokenizer.add_tokens(list(family.ordinary))
    tokenizer.bos_token, tokenizer.eos_token = family.bos, family.eos
    return tokenizer


def with_template(plain: Any, template: Any, special: Sequence[str] = ()) -> Any:
    """A copy of a tokenizer with another template."""
    tokenizer = copy.deepcopy(plain)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = template
    return tokenizer
