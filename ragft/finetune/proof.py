"""Proves that the model which will be served answers like the one that was trained.

Three models answer the same held-out prompts: the live one (base and adapter), the merged one, and the merged one in
vLLM. Some of the live one's answers are computed by PEFT, too. Compared are next-token distributions, token ids of the
prompts, and the form of the answers; not their texts, which differ between kernels in bfloat16 wherever two tokens are
nearly as likely.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.durable import write_file
from ragft.artifacts import Artifact, hash_model
from ragft.config import AnswerSection, MergeSection
from ragft.data.jsonl import to_lines
from ragft.engine.base import ChatRequest, Completion, Engine
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.finetune.lineage import LiveModel
from ragft.messages import Message
from ragft.templates import Template, TemplateOptions

LOADED_BESIDE_BYTES = 2 * 2**30
"""Weights up to this size are loaded into vLLM while the other two models answer; of larger ones there is never a third
copy in memory."""

FORMAT = 2
"""Raise this when proofs get other figures: models are then merged and proven again."""

_ANSWERS = "proof.jsonl"
_MEASURES = ("divergence", "divergence_max", "reference_divergence", "top1_agreement")


@dataclass(frozen=True)
class ProvenPrompt:
    """What the three models answered to one prompt, and whether vLLM rendered it to the token ids of training."""

    live: str
    merged: str
    served: str
    same_prompt_ids: bool


@dataclass(frozen=True)
class Proof:
    """How a merged model compares with the live one; `measures` are those of `ragft.finetune.divergence.Divergence`."""

    model_version: str
    measures: dict[str, float]
    prompts: tuple[ProvenPrompt, ...]

    def figures(self, answer: AnswerSection) -> dict[str, Any]:
        """The figures of the proof; `format_valid_*` by the given rules, None where no format is declared."""
        rules = Rules.of(answer)

        def valid(model: str) -> float | None:
            texts = [getattr(prompt, model) for prompt in self.prompts]
            return sum(bool(format_valid(text, rules)) for text in texts) / len(texts) if rules.format else None

        return {
            "prompts": len(self.prompts),
            **self.measures,
            "same_prompt_ids": sum(prompt.same_prompt_ids for prompt in self.prompts),
            **{f"format_valid_{model}": valid(model) for model in ("live", "merged", "served")},
            "same_answers_served": sum(prompt.served.strip() == prompt.merged.strip() for prompt in self.prompts),
        }

    def write(self, folder: Path) -> None:
        """Keeps the answers beside the model, so that they can be judged by other rules later."""
        write_file(folder / _ANSWERS, to_lines(asdict(prompt) for prompt in self.prompts))

    @classmethod
    def read(cls, model: Artifact) -> Proof:
        """Reads the proof of a published model."""
        try:
            lines = (model.folder / _ANSWERS).read_bytes().splitlines()
            prompts = tuple(ProvenPrompt(**json.loads(line)) for line in lines)
            measures = {name: model.figures[name] for name in _MEASURES}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RagftError(
                f"The proof of the model in {model.folder} cannot be read ({_ANSWERS}: {type(error).__name__}): delete "
                "that folder, and merge again."
            ) from error
        return cls(model.figures["version"], measures, prompts)


def prove(
    live: LiveModel,
    merged: Path,
    conversations: Sequence[Sequence[Message]],
    engine: Engine,
    *,
    max_tokens: int,
    say: Callable[[str], None],
    template: TemplateOptions = TemplateOptions(),  # noqa: B008
    device: str = "cpu",
) -> Proof:
    """Asks the live model, the merged one, and the merged one in an engine, and compares their answers.

    Args:
        conversations: held-out prompts, each ending with the user's turn.
        engine: opened over `merged`, not started yet; closed at the end.
        say: called with a sentence when a comparison begins.
        template: what the chat template is told besides the conversations.
        device: computes what is not the engine's, see `finetune.device`.

    Raises:
        RagftError: there are no conversations, the adapter does not fit the base, or the engine cannot answer.
    """
    from transformers import AutoTokenizer

    from ragft.finetune import devices
    from ragft.finetune.fast.memory import return_free_memory

    if live.backend == "peft":
        from ragft.finetune.peft_backend.divergence import compare
    else:
        from ragft.finetune.divergence import compare
    tokenizer = AutoTokenizer.from_pretrained(merged, local_files_only=True)
    rendering = Template(tokenizer, template)
    prompts = [rendering.prompt(conversation) for conversation in conversations]
    ends = () if rendering.end is None else (rendering.end,)
    version = hash_model(merged)
    where = devices.resolve(device)
    small = sum(path.stat().st_size for path in merged.glob("*.safetensors")) <= LOADED_BESIDE_BYTES
    if small and where.type == "cpu":  # on a card, vLLM takes what is free when it starts
        engine.preload()
    try:
        say(f"Comparing the live and the merged model on {len(prompts)} held-out prompts")
        found = compare(live, merged, prompts, max_tokens=max_tokens, ends=ends, device=where)
    except BaseException:
        asyncio.run(engine.close())
        raise
    return_free_memory()
    devices.release()
    say("Comparing the merged model with vLLM")
    served = asyncio.run(_served(engine, conversations, max_tokens))

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    proven = tuple(
        ProvenPrompt(text(live_ids), text(merged_ids), answer.text, list(answer.prompt_token_ids) == prompt)
        for live_ids, merged_ids, answer, prompt in zip(found.live_ids, found.merged_ids, served, prompts, strict=True)
    )
    return Proof(version, {name: getattr(found, name) for name in _MEASURES}, proven)


async def _served(engine: Engine, conversations: Sequence[Sequence[Message]], max_tokens: int) -> list[Completion]:
    """Greedy answers of an engine, which is started and closed here."""
    options = {"temperature": 0, "max_tokens": max_tokens}
    try:
        await engine.start()
        return await asyncio.gather(*(engine.chat(ChatRequest(turns, options)) for turns in conversations))
    finally:
        await engine.close()


def check_proof(figures: dict[str, Any], limits: MergeSection) -> None:
    """Refuses a merge whose figures are beyond the limits; the RagftError names figure, limit and what to do."""
    if not figures["reference_divergence"] <= limits.max_divergence:
        raise RagftError(
            f"Base and adapter answer differently here than in PEFT, by {figures['reference_divergence']:.4f} nats per "
            f"token, more than merge.max_divergence = {limits.max_divergence}: the adapter asks for something that is "
            "not supported, or was trained on weights of another format (finetune.method)."
        )
    if not figures["divergence"] <= limits.max_divergence:  # written so that NaN is refused
        raise RagftError(
            f"The merged model diverges from the live one by {figures['divergence']:.4f} nats per token, more than "
            f"merge.max_divergence = {limits.max_divergence}; merge onto the weights that the adapter was trained on "
            "(merge.onto: trained)."
        )
    if figures["same_prompt_ids"] != figures["prompts"]:
        raise RagftError(
            f"vLLM renders {figures['prompts'] - figures['same_prompt_ids']} of {figures['prompts']} prompts to other "
            "token ids than training did: the merged folder's chat template or tokenizer is not the trained one."
        )
    live = figures["format_valid_live"]
    for model in ("merged", "served"):
        valid = figures[f"format_valid_{model}"]
        if live is not None and not valid >= live - limits.max_format_loss:
            raise RagftError(
                f"The {model} model answers {valid:.0%} of the prompts in the house format, the live one {live:.0%}: "
                f"the style did not survive (limit merge.max_format_loss = {limits.max_format_loss})."
            )
