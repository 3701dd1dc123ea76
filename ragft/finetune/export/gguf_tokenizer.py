"""The tokenizer in a GGUF file: tokens, merges, special tokens and chat template.

A GGUF file names how text is split before merges apply, and does not say how that is done: each reader has its own
list of names. Which name is right for a tokenizer is probed here: its texts must give the same tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
from gguf import TokenType
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as _QWEN2

from ragft.errors import RagftError

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(*, regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def _split(pattern: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return [split, _byte_level(regex=False)]


SPLITS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_byte_level(regex=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _byte_level(regex=True)],
    "qwen2": _split(_QWEN2),
    "llama-bpe": _split(_LLAMA3),
}
"""How texts are split, by llama.cpp's names, as `tokenizers` describes it. `llama-bpe` takes a whole token first."""

PROBES = (
    "Node.js 22.14 ends on 2027-04-30; 1234567 days, v10.0.0-rc1!\nThen.\n\n",
    "I'll say it's WE'RE they'd  two  spaces\n\n\tand\ttabs   \r\nend ",
    "Übergrößen, façade, 東京都は日本の首都です。 Привет, мир! مرحبا हिन्दी 한국어",
    "def f(x): return x**2 # 'quoted' \"text\" {a: [1,2,3]} <tag/> $5.00 50% a_b-c/d\\e",
    "😀👍🏽 … — “curly” ½ ² №5 ⅷ ٣٤ \u00a0nbsp\u200b",
)


def write_tokenizer(writer: gguf.GGUFWriter, model: Path, *, rows: int, end: int | None) -> None:
    """Writes a model's tokenizer and chat template as metadata.

    Args:
        rows: of the embedding; tokens are padded to as many.
        end: the token that ends an answer; None where the tokenizer's end of text does.

    Raises:
        RagftError: the tokenizer is none that GGUF readers know.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    split = split_of(described)
    known = tokenizer.get_vocab()
    if max(known.values()) >= rows:
        raise RagftError(
            f"The tokenizer of {model} has token {max(known.values())}, and the embedding has {rows} rows: tokens were "
            "added to the tokenizer alone."
        )
    tokens = {number: text for text, number in known.items()}
    added = tokenizer.added_tokens_decoder
    kinds = {number: TokenType.CONTROL if token.special else TokenType.USER_DEFINED for number, token in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([tokens.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types(
        [kinds.get(number, TokenType.NORMAL if number in tokens else TokenType.UNUSED) for number in range(rows)]
    )
    merges = described["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ends = {"eos": tokenizer.eos_token_id, "eot": end}
    begins = tokenizer.bos_token_id
    for name, number in {"bos": begins, **ends, "unk": tokenizer.unk_token_id, "pad": tokenizer.pad_token_id}.items():
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    written = tokenizer.encode("a")
    writer.add_add_bos_token(begins is not None and written[:1] == [begins])
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and written[-1:] == [tokenizer.eos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
    elif tokenizer.chat_template:
        writer.add_chat_template([{"name": n, "template": text} for n, text in tokenizer.chat_template.items()])


def split_of(described: dict[str, Any]) -> str:
    """llama.cpp's name of how a tokenizer splits texts.

    Args:
        described: the content of its tokenizer.json.

    Raises:
        RagftError: it is no byte-level BPE, or splits in a way that has no name here.
    """
    if described["model"].get("type") == "BPE" and not described["model"].get("byte_fallback"):
        plain = {**described, "post_processor": None, "truncation": None, "padding": None}
        expected = _encoded(plain)
        for name, steps in SPLITS.items():
            model = {**described["model"], "ignore_merges": name == "llama-bpe"}
            as_named = {**plain, "model": model, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
            # Readers normalise nothing.
            if _encoded({**as_named, "normalizer": None}) == expected:
                return name
    raise RagftError(
        "The model's tokenizer cannot be written as GGUF: only byte-level BPE that splits texts as one of these does "
        f"can ({', '.join(SPLITS)}); convert the merged model with llama.cpp's own convert_hf_to_gguf.py."
    )


def _encoded(described: dict[str, Any]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(json.dumps(described))
    return [encoding.ids for encoding in tokenizer.encode_batch(list(PROBES), add_special_tokens=False)]
