"""The name of how a tokenizer splits texts is found by what it does, not by what it is called."""

from __future__ import annotations

import json

import pytest
from support.exports import tiny_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from ragft.errors import RagftError
from ragft.finetune.export.gguf_tokenizer import SPLITS, split_of


def described(split: object = None) -> dict:
    return json.loads(tiny_tokenizer(split).backend_tokenizer.to_str())


@pytest.mark.parametrize("name", SPLITS)
def test_each_split_is_told_from_the_others(name: str) -> None:
    tokenizer = described()
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": SPLITS[name]}
    tokenizer["model"]["ignore_merges"] = name == "llama-bpe"
    # A vocabulary with whole words and numbers, so that it matters where texts are cut.
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    for left, right in (("1", "2"), ("12", "3"), ("123", "4"), ("3", "0"), ("-", "0"), ("!", "Ċ"), (".", "Ċ")):
        vocabulary.setdefault(left + right, len(vocabulary))
        merges.append([left, right])
    assert split_of(tokenizer) == name


@pytest.mark.parametrize(
    "split",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex("e"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    ],
)
def test_a_split_without_a_name_is_refused(split: object) -> None:
    with pytest.raises(RagftError, match=r"cannot be written as GGUF.*gpt-2"):
        split_of(described(split))


def test_a_tokenizer_that_rewrites_texts_is_refused() -> None:
    tokenizer = tiny_tokenizer().backend_tokenizer
    tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(RagftError, match="cannot be written as GGUF"):
        split_of(json.loads(tokenizer.to_str()))


def test_words_are_no_byte_level_bpe() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    with pytest.raises(RagftError, match="only byte-level BPE"):
        split_of(json.loads(words.to_str()))
