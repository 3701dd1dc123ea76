"""Which adapters are plain LoRA, and which layers they change: by PEFT's own fields and rules."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from ragft.errors import RagftError
from ragft.finetune.fast.plain_lora import IGNORED, READ, PlainLora, read_plain_lora

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


def _read(folder: Path, **changes: Any) -> PlainLora:
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **changes}))
    return read_plain_lora(folder)


BEYOND: dict[str, Any] = {
    "fan_in_fan_out": True, "bias": "lora_only", "modules_to_save": ["lm_head"], "megatron_config": {"a": 1},
    "trainable_token_indices": [5], "use_dora": True, "velora_config": {"num_groups": 2},
    "alora_invocation_tokens": [1, 2], "use_qalora": True, "monteclora_config": {"num_samples": 2},
    "layer_replication": [[0, 2]], "lora_bias": True, "target_parameters": ["weight"],
    "use_bdlora": {"nblocks": 2}, "arrow_config": {"top_k": 1}, "kasa_config": {"beta": 1e-4},
    "ensure_weight_tying": True,
}  # fmt: skip


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(LoraConfig)])
def test_every_field_of_peft_is_read_ignored_or_refused(tmp_path: Path, key: str) -> None:
    """A field that a newer PEFT brings fails here until it is known whether it may be ignored."""
    if key in BEYOND:
        with pytest.raises(RagftError, match=f"not plain LoRA: .* {key} = .*train one without it"):
            _read(tmp_path, **{key: BEYOND[key]})
    else:
        assert key in READ | IGNORED


def test_what_peft_writes_by_default_is_plain(tmp_path: Path) -> None:
    LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM").save_pretrained(tmp_path)
    assert read_plain_lora(tmp_path).shape("model.layers.0.q_proj") == (4, 2.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("brand_new", True), ("brand_new", 16), ("brand_new", {"a": 1}), ("init_lora_weights", "pissa"),
        ("init_lora_weights", "loftq"), ("init_lora_weights", 1), ("task_type", "SEQ_CLS"), ("bias", "all"),
    ],
)  # fmt: skip
def test_what_may_mean_more_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(RagftError, match=f"not plain LoRA: .*{key}"):
        _read(tmp_path, **{key: value})


@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_an_unknown_key_at_rest_is_no_obstacle(tmp_path: Path, value: Any) -> None:
    assert _read(tmp_path, brand_new=value) == _read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 0), ("r", "16"), ("lora_alpha", None), ("lora_alpha", float("nan")), ("lora_alpha", True),
        ("target_modules", None), ("target_modules", []), ("target_modules", "("), ("target_modules", [1]),
        ("use_rslora", "no"), ("rank_pattern", {"q_proj": -1}), ("alpha_pattern", {"q_proj": "2"}),
        ("alpha_pattern", ["q_proj"]), ("layers_to_transform", ["1"]),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(RagftError, match=f"^{key} in the adapter_config.json of .* cannot be used"):
        _read(tmp_path, **{key: value})


def test_without_rank_and_alpha_those_of_peft_are_taken(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "target_modules": ["q_proj"]}))
    defaults = LoraConfig()
    assert read_plain_lora(tmp_path).shape("q_proj") == (defaults.r, defaults.lora_alpha / defaults.r)


LINEARS = [
    f"model.layers.{layer}.{part}"
    for layer in range(3)
    for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.experts.1.up_proj")
]
NAMES = ["model.embed_tokens", "lm_head", *LINEARS]
ENDINGS = st.sampled_from(["q_proj", "v_proj", "proj", "up_proj", "self_attn.q_proj", "layers.1.mlp.up_proj", *NAMES])
PATTERNS = st.sampled_from([r".*q_proj", r"model\.layers\.[01]\..*", "all-linear", r".*", "lm_head"])
KEYS = st.sampled_from(["q_proj", r"layers\.1\..*", "proj", r"model\.layers\.0\.mlp\.up_proj", r"^model.*v_proj"])


@settings(deadline=None)
@given(
    targets=st.lists(ENDINGS, min_size=1, max_size=3) | PATTERNS,
    excluded=st.none() | st.lists(ENDINGS, max_size=2) | PATTERNS,
    layers=st.none() | st.integers(0, 2) | st.lists(st.integers(0, 3), max_size=2),
    numbered=st.sampled_from([None, "layers", ["experts"], ["h", "layers"]]),
    ranks=st.dictionaries(KEYS, st.integers(1, 9), max_size=3),
    alphas=st.dictionaries(KEYS, st.integers(1, 9), max_size=3),
    stabilised=st.booleans(),
)
def test_layers_ranks_and_scales_are_those_of_peft(
    tmp_path_factory: pytest.TempPathFactory,
    targets: Any, excluded: Any, layers: Any, numbered: Any, ranks: Any, alphas: Any, stabilised: bool,
) -> None:  # fmt: skip
    if isinstance(targets, str):
        layers = None
    config = LoraConfig(
        r=4, target_modules=targets, exclude_modules=excluded, layers_to_transform=layers,
        layers_pattern=None if layers is None else numbered, rank_pattern=ranks, alpha_pattern=alphas,
        use_rslora=stabilised,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("adapter")
    config.save_pretrained(folder)
    plain = read_plain_lora(folder)
    if targets == "all-linear":  # which PEFT replaces by the model's layers before it asks
        config.target_modules = set(LINEARS)
    assert plain.changed(NAMES, LINEARS) == {name for name in NAMES if check_target_module_exists(config, name)}
    for name in LINEARS:
        if any(len(_fitting(patterns, name)) > 1 for patterns in (ranks, alphas)):
            continue
        rank = ranks.get(get_pattern_key(ranks, name), 4)
        alpha = alphas.get(get_pattern_key(alphas, name), 8)
        assert plain.shape(name) == (rank, pytest.approx(alpha / (rank**0.5 if stabilised else rank)))


def _fitting(patterns: dict[str, int], name: str) -> set[int]:
    """The values of the patterns that fit a name, each asked alone."""
    return {value for key, value in patterns.items() if get_pattern_key([key], name) == key}


def test_patterns_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    plain = _read(tmp_path, alpha_pattern={"q_proj": 1, r"layers\.1\..*": 2})
    assert plain.shape("model.layers.0.q_proj") == (4, 0.25)
    with pytest.raises(RagftError, match="several values, by the patterns 'q_proj', "):
        plain.shape("model.layers.1.q_proj")
