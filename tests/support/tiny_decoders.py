"""Every decoder architecture of transformers, built small from its own configuration class with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ARCHITECTURES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

VOCABULARY, WIDTH, HEADS, LAYERS = 160, 32, 4, 2

_LAYER_COUNTS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}

_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "embed_dim", "lru_width"), WIDTH),
    **dict.fromkeys(
        ("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dff", "dim_ff",
         "ffn_hidden_size", "mlp_hidden_size", "feed_forward_size", "moe_intermediate_size",
         "shared_expert_intermediate_size", "expert_ffn_hidden_size", "intermediate_size_mlp", "d_inner"), 48,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers",
         "num_decoder_layers", "num_encoder_layers"), LAYERS,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads",
         "encoder_attention_heads", "num_decoder_attention_heads", "num_encoder_attention_heads"), HEADS,
    ),
    **dict.fromkeys(("num_key_value_heads", "multi_query_group_num", "num_kv_heads"), 2),
    **dict.fromkeys(
        ("head_dim", "attention_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "rotary_dim"), 8
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"), 4
    ),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length"), 256),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("hidden_size_per_layer_input",), 16),
    **dict.fromkeys(("emb_dim",), WIDTH),
}  # fmt: skip
"""Small values for the fields of configurations, under all the names that they have."""


_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
_STATES = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}

_CONSISTENT: dict[str, dict[str, Any]] = {
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "codegen": {"n_head": 4, "n_embd": 64, "rotary_dim": 8},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 16},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_shape": [16, 16],
                 "axial_pos_embds_dim": [16, 16], "attention_head_size": 8},
    "rembert": {"input_embedding_size": WIDTH, "output_embedding_size": WIDTH},
    "zamba": {"num_hidden_layers": 5, "attn_layer_period": 2, "attn_layer_offset": 1,
              "layer_types": ["mamba", "hybrid", "mamba", "hybrid", "mamba"],
              "attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4, "mamba_dt_rank": 4},
    "zamba2": {"num_hidden_layers": 3, "layer_types": ["mamba", "hybrid", "mamba"], "mamba_d_state": 8,
               "mamba_headdim": 8, "chunk_size": 16, "num_key_value_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
    "gemma3n_text": {"num_hidden_layers": 4, "num_kv_shared_layers": 1, "intermediate_size": [48] * 4,
                     "layer_types": ["sliding_attention", "full_attention"] * 2,
                     "activation_sparsity_pattern": [0.0] * 4, "laurel_rank": 8},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"]},
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "olmo_hybrid"), _STATES),
}  # fmt: skip
"""What the configuration classes check against each other."""


def config(architecture: str, **changes: Any) -> PretrainedConfig:
    """A small configuration of an architecture (a key of `ARCHITECTURES`); special tokens within its vocabulary."""
    kind = type(AutoConfig.for_model(architecture))
    return kind(**{**_small_fields(kind), **_CONSISTENT.get(architecture, {}), **changes})


def build(settings: PretrainedConfig, *, seed: int = 0) -> nn.Module:
    """A random decoder in float32, with weights large enough that attention and states matter to its logits."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(settings, attn_implementation="eager")
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=0.15)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.05)
    return model.eval()


def _small_fields(kind: type[PretrainedConfig]) -> dict[str, Any]:
    """Every field of a configuration class that has a small value here, and one layer of every kind it knows."""
    usual = kind()
    fields, small = usual.to_dict(), dict[str, Any]()
    for name, value in fields.items():
        if name in _SMALL and (isinstance(value, int) or value is None):
            small[name] = _SMALL[name]
        elif name.endswith("_token_id") and isinstance(value, int) and value >= VOCABULARY:
            small[name] = value % 3
        elif name in (getattr(kind, "sub_configs", None) or {}) and getattr(usual, name) is not None:
            small[name] = _small_fields(type(getattr(usual, name)))
    if "kv_lora_rank" in fields:
        small["num_key_value_heads"] = HEADS
    kinds = list(dict.fromkeys(fields.get("layer_types") or ()))
    if kinds:
        small["layer_types"] = [kinds[number % len(kinds)] for number in range(max(LAYERS, len(kinds)))]
        small |= dict.fromkeys(fields.keys() & _LAYER_COUNTS, len(small["layer_types"]))
    return small
