"""An encoder of one layer with random weights, and documents that it can learn to tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KINDS = ("storage", "network", "billing", "account", "backup", "printer")
FACTS = ("limit", "price", "owner", "port")


def page(kind: str) -> str:
    """A document of four short sections."""
    return f"# {kind}\n\n" + "".join(f"## {kind} {fact}\n\nThe {fact} of the {kind} is set here.\n\n" for fact in FACTS)


def make_encoder(folder: Path, tokenizer: Any) -> Path:
    """A BERT of one layer, 32 dimensions and a window of 64 tokens, in the format of sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"), max_seq_length=64)
    model = SentenceTransformer(modules=[body, Pooling(32)], device="cpu")
    model.save(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"
