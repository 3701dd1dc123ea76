"""Which adapters are plain LoRA, by `adapter_config.json`, and which layers they change with which rank and scale.

Plain is y = x Wᵀ + scale · (x Aᵀ) Bᵀ for every token, on the unchanged base. A key may ask for more than that, and the
next version of PEFT has keys that nobody here has read: a key is allowed by name, and any other must be at rest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragft.errors import RagftError

CONFIG = "adapter_config.json"

_Value = TypeVar("_Value")

AT_REST: tuple[Any, ...] = (None, False, "", [], {})
"""Values at which a key asks for nothing."""

READ = frozenset(
    {"peft_type", "task_type", "r", "lora_alpha", "use_rslora", "target_modules", "exclude_modules", "rank_pattern"}
) | {"alpha_pattern", "layers_to_transform", "layers_pattern", "bias", "init_lora_weights"}
"""Keys whose values are read here."""

IGNORED = frozenset(
    # Where the adapter comes from. What it was trained on is in its manifest, not in a name.
    {"base_model_name_or_path", "revision", "peft_version", "inference_mode", "runtime_config"}
    # The class of the model that was wrapped, which Unsloth writes for every model; nothing here loads by it.
    | {"auto_mapping"}
    # Read during training alone, or by a feature that has its own key.
) | {
    "lora_dropout",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
}
"""Keys that decide nothing about what a trained adapter computes."""

# Other initialisations, and unknown ones, may have changed the base weights.
_KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
_RANK, _ALPHA = 8, 8  # what PEFT takes where an adapter does not say


@dataclass(frozen=True)
class PlainLora:
    """The configuration of a plain LoRA adapter, by PEFT's rules.

    Attributes:
        targets: names or endings of names of the changed layers; or one pattern of whole names.
        excluded: the same of layers that stay unchanged all the same.
        layers: numbers of the decoder layers that are changed; None: all. `numbered` names the lists they count in.
        ranks, alphas: of layers whose name ends as the patterns say; others have `rank` and `alpha`.
        rank_stabilised: the scale is alpha / √rank instead of alpha / rank.
    """

    targets: str | frozenset[str]
    excluded: str | frozenset[str]
    layers: frozenset[int] | None
    numbered: tuple[str, ...]
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    rank_stabilised: bool

    def changed(self, names: Iterable[str], linears: Iterable[str]) -> set[str]:
        """Which of a model's modules the adapter promises to change.

        Args:
            names: of all modules.
            linears: of the linear layers without the output head, which "all-linear" stands for.
        """
        if isinstance(self.targets, str) and self.targets.lower() == "all-linear":
            chosen = set(linears)
        else:
            chosen = {name for name in names if self._targeted(name)}
        return {name for name in chosen if not _named(name, self.excluded)}

    def _targeted(self, name: str) -> bool:
        if not _named(name, self.targets):
            return False
        return self.layers is None or name in self.targets or self._number(name) in self.layers

    def _number(self, name: str) -> int | None:
        """The number of the decoder layer that a module belongs to: the first one in its name."""
        patterns = [rf"(?:.*?\.)?{pattern}" for pattern in self.numbered] or [r".*?\.[^.]*"]
        found = (re.match(rf"{pattern}\.(\d+)\.", name) for pattern in patterns)
        return next((int(match[1]) for match in found if match), None)

    def shape(self, name: str) -> tuple[int, float]:
        """Rank and scale of a layer's adapter."""
        rank, alpha = _of(self.ranks, name, self.rank), _of(self.alphas, name, self.alpha)
        return rank, alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def _named(name: str, wanted: str | frozenset[str]) -> bool:
    if isinstance(wanted, str):
        return bool(wanted) and re.fullmatch(wanted, name) is not None
    return any(name == ending or name.endswith(f".{ending}") for ending in wanted)


def _of(patterns: Mapping[str, _Value], name: str, default: _Value) -> _Value:
    """The value of the pattern that a name ends with, from the beginning of one of its parts on.

    PEFT takes the first one, but sorts them when it saves: which was the first in training cannot be known.
    """
    fitting = {key: value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)}
    if len(set(fitting.values())) > 1:
        raise RagftError(
            f"The adapter's {CONFIG} gives {name!r} several values, by the patterns {', '.join(map(repr, fitting))} of "
            "rank_pattern or alpha_pattern: keep the one that it was trained with."
        )
    return next(iter(fitting.values()), default)


def read_plain_lora(folder: Path) -> PlainLora:
    """Reads the configuration of the adapter in `folder`.

    Raises:
        RagftError: there is none, or it describes more than plain LoRA; names the key.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RagftError(f"{folder} holds no adapter in PEFT's format: {CONFIG}: {error}") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise RagftError(f"The adapter in {folder} is of the kind {kind!r}; only LoRA adapters can be used here.")
    for key, value in config.items():
        if not _is_plain(key, value):
            known = "sets" if key in READ else "asks for more with"
            raise RagftError(
                f"The adapter in {folder} is not plain LoRA: its {CONFIG} {known} {key} = {json.dumps(value)}; train "
                "one without it."
            )
    return _Reader(folder, config).plain_lora()


def _is_plain(key: str, value: Any) -> bool:
    match key:
        case "init_lora_weights":
            return any(value is known or (isinstance(value, str) and value == known) for known in _KEEPS_BASE)
        case "bias":
            return value in (None, "none")
        case "task_type":
            return value in (None, "CAUSAL_LM")
    return key in READ or key in IGNORED or any(value is rest or value == rest != 0 for rest in AT_REST)


@dataclass(frozen=True)
class _Reader:
    """Reads the values of a configuration; every error names the key."""

    folder: Path
    config: Mapping[str, Any]

    def plain_lora(self) -> PlainLora:
        rank, alpha = self.config.get("r", _RANK), self.config.get("lora_alpha", _ALPHA)
        targets, layers = self._names("target_modules"), self.config.get("layers_to_transform")
        layers = [layers] if isinstance(layers, int) else layers or []
        if not targets:
            raise self._wrong("target_modules", "it names no layers")
        if not (isinstance(layers, list) and all(type(number) is int for number in layers)):
            raise self._wrong("layers_to_transform", "it is no list of numbers")
        if layers and isinstance(targets, str):
            raise self._wrong("layers_to_transform", "with a pattern in target_modules, PEFT does not know it")
        if type(self.config.get("use_rslora", False)) is not bool:
            raise self._wrong("use_rslora", "it is neither true nor false")
        numbered = self._names("layers_pattern")
        return PlainLora(
            targets, self._names("exclude_modules"), frozenset(layers) if layers else None,
            (numbered,) if isinstance(numbered, str) else tuple(sorted(numbered)),
            self._rank("r", rank), self._alpha("lora_alpha", alpha),
            {key: self._rank("rank_pattern", value) for key, value in self._patterns("rank_pattern")},
            {key: self._alpha("alpha_pattern", value) for key, value in self._patterns("alpha_pattern")},
            self.config.get("use_rslora", False),
        )  # fmt: skip

    def _names(self, key: str) -> str | frozenset[str]:
        value = self.config.get(key) or []
        if isinstance(value, str):
            return self._pattern(key, value)
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return frozenset(value)
        raise self._wrong(key, "it is neither a pattern nor a list of names")

    def _patterns(self, key: str) -> list[tuple[str, Any]]:
        value = self.config.get(key) or {}
        if not isinstance(value, dict):
            raise self._wrong(key, "it is no mapping")
        return [(self._pattern(key, pattern), one) for pattern, one in value.items()]

    def _pattern(self, key: str, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise self._wrong(key, f"{pattern!r} is no regular expression ({error})") from None
        return pattern

    def _rank(self, key: str, value: Any) -> int:
        if type(value) is not int or value < 1:
            raise self._wrong(key, f"{value!r} is no rank")
        return value

    def _alpha(self, key: str, value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(key, f"{value!r} is no finite number")
        return float(value)

    def _wrong(self, key: str, why: str) -> RagftError:
        return RagftError(f"{key} in the {CONFIG} of {self.folder} cannot be used: {why}; restore the adapter.")
