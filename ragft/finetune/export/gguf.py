"""GGUF: one file with weights, tokenizer and chat template, for llama.cpp and what is built on it.

What the format cannot say of a model is refused, because a reader would compute something else without a word: the
biases, scaled rotary embeddings and windows of attention that an architecture may have and its GGUF form has not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, LlamaFileType
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from ragft.errors import RagftError
from ragft.finetune.export.gguf_tokenizer import write_tokenizer
from ragft.finetune.export.weights import Weights

Type = Literal["f16", "q8_0"]

_TYPES: dict[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_BLOCK = 32
"""Weights that share a scale in q8_0: each row must divide into such blocks."""
_F16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Architecture:
    """How a model family stands in GGUF.

    Attributes:
        name: what GGUF calls it.
        interleaved: rows of query and key weights are reordered, because llama.cpp rotates neighbouring pairs of a
            head's dimensions for this family, and transformers rotates its halves against each other.
        biased: layers that may have a bias.
        free_head_dim: a head's size may be another than `hidden_size / num_attention_heads`.
    """

    name: str
    interleaved: bool = False
    biased: tuple[str, ...] = ()
    free_head_dim: bool = True


ARCHITECTURES = {
    "llama": Architecture("llama", interleaved=True),
    "mistral": Architecture("llama", interleaved=True),
    "qwen2": Architecture("qwen2", biased=("q_proj", "k_proj", "v_proj"), free_head_dim=False),
    "qwen3": Architecture("qwen3"),
}
"""By transformers' `model_type`."""


def write(model: Path, file: Path, type_: Type, *, name: str, end: int | None) -> None:
    """Writes a merged model into a new file.

    Args:
        name: of the model, for people.
        end: the token that ends an answer; None where the tokenizer's end of text does.

    Raises:
        RagftError: GGUF, or this module, cannot say what this model is.
    """
    config = AutoConfig.from_pretrained(str(model), local_files_only=True)
    weights = Weights(model)
    family = _family(config, weights)
    tensors = [
        _Tensor.of(each, weights.shape(each), config, family, type_) for each in weights if _stands(each, config)
    ]
    writer = gguf.GGUFWriter(str(file), family.name)
    try:
        writer.add_name(name)
        writer.add_file_type(_TYPES[type_][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _write_hyperparameters(writer, config)
        write_tokenizer(writer, model, rows=config.vocab_size, end=end)
        for tensor in tensors:
            writer.add_tensor_info(tensor.name, tensor.stored, np.dtype(tensor.dtype), tensor.nbytes, tensor.type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.data(weights))
    finally:
        writer.close()


def read(file: Path, dtype: torch.dtype) -> nn.Module:
    """Reads an export as llama.cpp does: its weights, and what its metadata says of the model, nothing else."""
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    config = AutoConfig.from_pretrained(**where)
    # transformers does not read the size of a head for every architecture.
    config.head_dim = _metadata(file, f"{config.model_type}.attention.key_length")
    model = AutoModelForCausalLM.from_pretrained(**where, config=config, dtype=dtype, trust_remote_code=False)
    return model.eval()


def _metadata(file: Path, key: str) -> int:
    field = gguf.GGUFReader(str(file)).get_field(key)
    if field is None:
        raise RagftError(f"{file} lacks {key}: it is no export of this program; export the model again.")
    return int(field.contents())


def _family(config: PretrainedConfig, weights: Weights) -> Architecture:
    """How this model stands in GGUF.

    Raises:
        RagftError: it does not, or not as it is.
    """
    family = ARCHITECTURES.get(config.model_type)
    if family is None:
        raise RagftError(
            f"A {config.model_type} model cannot be exported to GGUF; these can: {', '.join(ARCHITECTURES)}. Convert "
            "it with llama.cpp's own convert_hf_to_gguf.py, or serve the merged model as it is."
        )
    names = _names(config, family)
    rope = config.rope_parameters or {}
    unknown = next((name for name in weights if _stands(name, config) and names(name) is None), None)
    bias = next((name for name in weights if name.endswith(".bias") and name.split(".")[-2] not in family.biased), None)
    usual = config.hidden_size // config.num_attention_heads
    window = getattr(config, "sliding_window", None)
    windowed = window is not None and getattr(config, "use_sliding_window", True)
    for wrong, what in (
        (rope.get("rope_type", "default") != "default", f"its rotary embedding is scaled ({rope.get('rope_type')})"),
        (config.hidden_act != "silu", f"its activation is {config.hidden_act}, not silu"),
        (windowed and window < config.max_position_embeddings, f"its attention sees {window} tokens only"),
        (not family.free_head_dim and _head_dim(config) != usual, f"its heads have {_head_dim(config)} dimensions"),
        (unknown is not None, f"there is no name for {unknown}"),
        (bias is not None, f"there is no place for {bias}"),
    ):
        if wrong:
            raise RagftError(
                f"This {config.model_type} model cannot be exported to GGUF: {what}, which the file would not say, so "
                "that readers would compute something else; serve the merged model as it is."
            )
    return family


def _stands(name: str, config: PretrainedConfig) -> bool:
    """Whether a tensor goes into the file: a tied output head is the embedding."""
    return not (config.tie_word_embeddings and name == "lm_head.weight")


def _names(config: PretrainedConfig, family: Architecture) -> Callable[[str], str | None]:
    """GGUF's names of this family's tensors, by transformers'."""
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.name)
    known = gguf.get_tensor_name_map(kind, config.num_hidden_layers)

    def named(name: str) -> str | None:
        stem, _, suffix = name.rpartition(".")
        found = known.get_name(stem)
        return None if found is None else f"{found}.{suffix}"

    return named


def _head_dim(config: PretrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _write_hyperparameters(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file.

    Attributes:
        source: its name in safetensors.
        shape: of its values; `stored` is that of its bytes where they are packed.
        heads: how many heads its rows are reordered for; 0: as they are.
    """

    source: str
    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    heads: int

    @classmethod
    def of(
        cls, source: str, shape: tuple[int, ...], config: PretrainedConfig, family: Architecture, type_: Type
    ) -> _Tensor:
        """
        Raises:
            RagftError: q8_0 cannot hold rows of this length.
        """
        layer = source.split(".")[-2]
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        # llama.cpp keeps vectors (norms and biases) in float32.
        stored = _TYPES[type_][0] if len(shape) > 1 else GGMLQuantizationType.F32
        if stored == GGMLQuantizationType.Q8_0 and shape[-1] % _BLOCK:
            raise RagftError(
                f"{source} has rows of {shape[-1]} weights, and q8_0 holds blocks of {_BLOCK}: export with --type f16."
            )
        # `_family` refused what has no name.
        name = _names(config, family)(source) or source
        return cls(source, name, shape, stored, heads.get(layer, 0) if family.interleaved else 0)

    @property
    def stored(self) -> tuple[int, ...]:
        packed = self.type == GGMLQuantizationType.Q8_0
        return gguf.quant_shape_to_byte_shape(self.shape, self.type) if packed else self.shape

    @property
    def dtype(self) -> type[np.generic]:
        kinds = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
        return kinds.get(self.type, np.uint8)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.stored)) * np.dtype(self.dtype).itemsize

    def data(self, weights: Weights) -> np.ndarray[Any, Any]:
        """Its content, read now.

        Raises:
            RagftError: a weight is beyond float16.
        """
        values = weights[self.source].float()
        if self.heads:
            values = interleaved(values, self.heads)
        found = values.contiguous().numpy()
        if self.type == GGMLQuantizationType.F16 and np.abs(found).max() > _F16_MAX:
            raise RagftError(f"{self.source} holds weights beyond float16: export with --type q8_0.")
        return gguf.quants.quantize(found, self.type)


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key weight, (heads * head_dim, ...), so that the halves of each head alternate."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)
