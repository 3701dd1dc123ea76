"""Proves that base and live adapter in vLLM answer as the merged model does in vLLM.

The two engines answer the same held-out prompts greedily, and both say how likely they find every token of the merged
model's answers. Texts alone would not do: two tokens that are nearly as likely change places by the rounding of merged
weights to 16 bits, and every word behind them differs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact
from ragft.config import AnswerSection, MergeSection
from ragft.data.jsonl import read_objects, to_lines
from ragft.engine.base import ChatRequest, Completion, Engine, TextRequest
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.messages import Message

VERSION = 1
"""Raise this when the same engines get other figures."""

_ANSWERS = "answers.jsonl"
_TOP = 20  # tokens that vLLM tells of at each position, at most, unless it is started otherwise

Distribution = Mapping[int, float]
"""Log probabilities of the likeliest tokens, by id."""


@dataclass(frozen=True)
class LivePrompt:
    """What both engines answered to one prompt.

    Attributes:
        same_prompt_ids: whether both rendered it to the same token ids.
        divergence: mean KL divergence over the tokens of the merged model's answer, see `divergence`, in nats.
        tokens: of that answer, as far as they were compared.
    """

    merged: str
    live: str
    same_prompt_ids: bool
    divergence: float
    tokens: int


@dataclass(frozen=True)
class LiveProof:
    """How a live adapter compares with the model that it was merged into."""

    prompts: tuple[LivePrompt, ...]

    def figures(self, answer: AnswerSection) -> dict[str, Any]:
        """The figures; `format_valid_*` by the given rules, None where no format is declared."""
        rules = Rules.of(answer)
        tokens = sum(one.tokens for one in self.prompts)

        def valid(texts: Sequence[str]) -> float | None:
            return sum(bool(format_valid(text, rules)) for text in texts) / len(texts) if rules.format else None

        return {
            "prompts": len(self.prompts),
            "same_answers": sum(one.merged == one.live for one in self.prompts),
            "same_prompt_ids": sum(one.same_prompt_ids for one in self.prompts),
            "tokens": tokens,
            "divergence": sum(one.divergence * one.tokens for one in self.prompts) / max(tokens, 1),
            "divergence_max": max(one.divergence for one in self.prompts),
            "format_valid_merged": valid([one.merged for one in self.prompts]),
            "format_valid_live": valid([one.live for one in self.prompts]),
        }

    def write(self, folder: Path) -> None:
        """Keeps the answers, so that they can be judged by other rules later."""
        write_file(folder / _ANSWERS, to_lines(asdict(one) for one in self.prompts))

    @classmethod
    def read(cls, proof: Artifact) -> LiveProof:
        """Reads a published proof."""
        rows = read_objects(proof.folder / _ANSWERS, "answers", "")
        return cls(tuple(LivePrompt(**row) for _, row in rows))


async def prove_live(
    merged: Engine, live: Engine, conversations: Sequence[Sequence[Message]], max_tokens: int, max_model_len: int
) -> LiveProof:
    """Asks both engines, one after the other; they are started and closed here.

    Args:
        conversations: held-out prompts, each ending with the user's turn; at least one.
    """
    answers, expected = await _asked(merged, conversations, max_tokens, max_model_len, None)
    ours, found = await _asked(live, conversations, max_tokens, max_model_len, answers)
    compared = zip(answers, ours, expected, found, strict=True)
    return LiveProof(tuple(_prompt(*one) for one in compared))


def _prompt(
    merged: Completion, live: Completion, expected: Sequence[Distribution], found: Sequence[Distribution]
) -> LivePrompt:
    each = [divergence(wanted, told) for wanted, told in zip(expected, found, strict=True)]
    same_ids = merged.prompt_token_ids == live.prompt_token_ids
    return LivePrompt(merged.text, live.text, same_ids, sum(each) / max(len(each), 1), len(each))


async def _asked(
    engine: Engine, conversations: Sequence[Sequence[Message]], max_tokens: int, max_model_len: int,
    answers: Sequence[Completion] | None,
) -> tuple[list[Completion], list[list[Distribution]]]:  # fmt: skip
    """Greedy answers of an engine, and its distributions at every token of `answers`, or of its own."""
    options = {"temperature": 0, "max_tokens": max_tokens}
    try:
        await engine.start()
        own = await asyncio.gather(*(engine.chat(ChatRequest(turns, options)) for turns in conversations))
        told = await asyncio.gather(*(_distributions(engine, one, max_model_len) for one in answers or own))
    finally:
        await engine.close()
    return own, told


async def _distributions(engine: Engine, answer: Completion, max_model_len: int) -> list[Distribution]:
    """What an engine expects at every token of an answer that leaves it room for one more."""
    begin = len(answer.prompt_token_ids)
    ids = [*answer.prompt_token_ids, *answer.token_ids][: max_model_len - 1]
    body = await engine.complete(TextRequest(ids, {"max_tokens": 1, "temperature": 0, "prompt_logprobs": _TOP}))
    places = body["choices"][0]["prompt_logprobs"][begin:]
    return [{int(token): float(one["logprob"]) for token, one in place.items()} for place in places]


def divergence(wanted: Distribution, found: Distribution) -> float:
    """A lower bound of the KL divergence of `found` from `wanted`, in nats, from the likeliest tokens of both.

    The tokens that `wanted` names are told apart, and all others are taken as one, which never raises a divergence
    (data-processing inequality: Cover and Thomas, Elements of Information Theory, section 2.8). A token that `found`
    does not name is at most as likely as the last of its likeliest.
    """
    last = sorted(found.values(), reverse=True)[:_TOP][-1]
    pairs = [(math.exp(value), math.exp(found.get(token, last))) for token, value in wanted.items()]
    others = 1.0 - sum(math.exp(found[token]) for token in wanted.keys() & found.keys())
    pairs.append((1.0 - sum(p for p, _ in pairs), others))
    smallest = 1e-9  # what sums of rounded probabilities leave of 1
    return max(0.0, sum(p * math.log(p / max(q, smallest)) for p, q in pairs if p > smallest))


def check_live(figures: Mapping[str, Any], limits: MergeSection, model: str) -> None:
    """Refuses a live adapter whose figures are beyond the limits of a merge; the RagftError names figure and limit."""
    found, most = figures["divergence"], limits.max_divergence
    same = f"{figures['same_answers']} of {figures['prompts']} answers are the same"
    instead = "Set serve.adapters to merged, or merge onto the weights that are served (merge.onto: original)."
    if not found <= most:  # written so that NaN is refused
        raise RagftError(
            f"The live adapter of model {model} does not answer as the merged model does: it diverges by {found:.4f} "
            f"nats per token, more than merge.max_divergence = {most}, and {same}. {instead}"
        )
    if figures["same_prompt_ids"] != figures["prompts"]:
        raise RagftError(
            f"The live adapter of model {model} is given other token ids than the merged model for "
            f"{figures['prompts'] - figures['same_prompt_ids']} of {figures['prompts']} prompts: tokenizer or chat "
            "template of model.base changed since the merge. Merge again."
        )
    merged, live = figures["format_valid_merged"], figures["format_valid_live"]
    if merged is not None and not live >= merged - limits.max_format_loss:
        raise RagftError(
            f"The live adapter of model {model} answers {live:.0%} of the prompts in the house format, the merged "
            f"model {merged:.0%} (limit merge.max_format_loss = {limits.max_format_loss}), and {same}. {instead}"
        )
