"""The table of fine-tuning methods: what `finetune.method` may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FAST, _PEFT, _TRL = (f"ragft.finetune.{name}.trainer" for name in ("fast", "peft_backend", "trl_backend"))
_LORA = frozenset({"rank", "alpha", "dropout", "target_modules", "layers"})
_VIRTUAL = frozenset({"virtual_tokens"})
_OF_SOME_METHODS = _LORA | _VIRTUAL | {"lora_plus_ratio", "beta", "margin", "generations", "rewards"}

FAST_LACKS = frozenset({"dropout", "target_modules", "layers", "neftune_alpha"})
"""Keys that the fast loop does not know: where one of them is set, the PEFT back end trains `lora` and `qlora`."""


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        trains: what is trained, and on what.
        learning_rate: peak rate where the configuration names none.
        keys: the keys of `finetune` that this method uses and others do not.
        quantisation: format of the frozen weights during training; None: the base model's own.
        trainer: module whose `train` trains it; imported when a training begins.
        rows: what a training row is: a conversation with its answer, one with a better and a worse answer, or one
            without an answer.
        yields: an adapter in PEFT's format, or new values of the base model's own weights.
        served: merged into the base model; live, as an adapter beside it; or not at all.
        not_served: why it cannot be served, and what to use instead; None where it can.
        begins_anew: why training cannot begin from an adapter (`finetune.start_from`), and what to do instead; None: it
            can.
        beta: `finetune.beta` where the configuration names none; None: the method has no such thing.
    """

    trains: str
    learning_rate: float = 1e-3
    keys: frozenset[str] = _LORA
    quantisation: Literal["nf4"] | None = None
    trainer: str = _PEFT
    rows: Literal["answers", "preferences", "prompts"] = "answers"
    yields: Literal["adapter", "weights"] = "adapter"
    served: Literal["merged", "live", "not"] = "merged"
    not_served: str | None = None
    begins_anew: str | None = None
    beta: float | None = None

    def unused(self, keys: frozenset[str] | set[str]) -> list[str]:
        """Those of the given keys of `finetune` that only other methods use."""
        return sorted((_OF_SOME_METHODS - self.keys) & keys)


def _virtual(trains: str, learning_rate: float, why_not: str, begins_anew: str | None = None) -> Method:
    """A method that adds to a prompt or to attention, instead of changing weights that a merge could keep."""
    return Method(trains, learning_rate, keys=_VIRTUAL, served="not", not_served=why_not, begins_anew=begins_anew)


_ON_A_MODEL = "merge that adapter with `ragft merge`, and set model.base to the merged model"
_COMPARES = f"compares with the base, which that adapter is no part of: {_ON_A_MODEL}"
_ITS_WEIGHTS = f"trains the weights themselves: {_ON_A_MODEL}"
_A_PART = "begins with a part of the weights: go on with lora, at the rank and alpha in the adapter's configuration"


def _preferences(trains: str, beta: float, *more: str, compares: bool = False) -> Method:
    """A method that trains low-rank adapters on better and worse answers.

    Args:
        compares: with what the model says without the adapter.
    """
    begins_anew = _COMPARES if compares else None
    keys = _LORA | {"beta", *more}
    return Method(trains, 5e-5, keys=keys, trainer=_TRL, rows="preferences", begins_anew=begins_anew, beta=beta)


METHODS = {
    "qlora": Method("low-rank adapters on a base in double-quantised NF4", quantisation="nf4", trainer=_FAST),
    "lora": Method("low-rank adapters on a 16-bit base", trainer=_FAST),
    "dora": Method("low-rank adapters with trained magnitudes of the columns"),
    # alpha / sqrt(rank) is four times alpha / rank at the default rank of 16.
    "rslora": Method("low-rank adapters scaled by the square root of the rank", 2.5e-4),
    "lora+": Method("low-rank adapters whose B learns faster than A", 2e-4, keys=_LORA | {"lora_plus_ratio"}),
    "pissa": Method("low-rank adapters that begin as the principal part of each weight", 2e-4, begins_anew=_A_PART),
    "olora": Method("low-rank adapters that begin as an orthonormal part of each weight", 2e-4, begins_anew=_A_PART),
    "full": Method("all weights", 2e-5, keys=frozenset(), yields="weights", begins_anew=_ITS_WEIGHTS),
    "layers": Method(
        "all weights of some layers", 5e-5, keys=frozenset({"layers"}), yields="weights", begins_anew=_ITS_WEIGHTS
    ),
    "ia3": Method("one factor for each key, value and hidden unit", 5e-3, keys=frozenset()),
    "prompt-tuning": _virtual(
        "embeddings of virtual tokens before the prompt", 1e-2,
        "its virtual tokens are no weights of the model, and the engine is given token ids alone",
    ),
    "p-tuning": _virtual(
        "a small network that yields the embeddings of virtual tokens", 1e-3,
        "its virtual tokens are no weights of the model, and the engine is given token ids alone",
        "trains a network that its adapters do not hold: go on from an adapter of prompt-tuning",
    ),
    "prefix-tuning": _virtual(
        "keys and values of virtual tokens in every layer", 1e-2,
        "vLLM has no way to begin a request with keys and values that no token has",
    ),
    "adapter": _virtual(
        "prompts with a gate in the attention of every layer (LLaMA-Adapter)", 5e-3,
        "its gated attention is no change of weights, and vLLM does not compute it",
    ),
    "dpo": _preferences(
        "low-rank adapters, to prefer better answers over worse ones more than the base does", 0.1, compares=True
    ),
    "orpo": _preferences("low-rank adapters, on better answers and on their odds against worse ones", 0.1),
    "kto": _preferences("low-rank adapters, on good and bad answers that need not be pairs", 0.1, compares=True),
    "simpo": _preferences("low-rank adapters, to make better answers likelier by a margin", 2.0, "margin"),
    "grpo": Method(
        "low-rank adapters, on the model's own answers and what they earn", 5e-5,
        keys=_LORA | {"beta", "generations", "rewards"}, trainer=_TRL, rows="prompts", begins_anew=_COMPARES,
        beta=0.0,
    ),
}  # fmt: skip
