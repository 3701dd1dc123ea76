"""Merging an adapter, and proving that what will be served answers like what was trained.

Three models are asked the same held-out prompts: the live one (adapter on the weights that it was trained against), the
merged one, and the merged one in vLLM. Compared are distributions, token ids of the prompts, and the form of the
answers; not their texts, which differ between kernels in bfloat16 wherever two tokens are nearly as likely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragft.config import Config
from ragft.console import Reporter
from ragft.data.mix import Row
from ragft.engine.base import Engine, Generation, Sampling
from ragft.errors import RagftError
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.form import in_form
from ragft.prompts import Message, render_prompt, template_hash

LOADED_BESIDE_BYTES = 2 * 2**30
"""Weights up to this size are loaded into vLLM while the other two models answer; of larger ones there is never a third
copy in memory."""


def merge_and_prove(
    config: Config, base: Path, adapter: Path, output: Path, rows: Sequence[Row], reporter: Reporter
) -> dict[str, Any]:
    """Writes the merged model into `output` and returns the figures of its proof.

    Args:
        rows: held-out rows; the first `merge.prompts` of them are the prompts.

    Raises:
        RagftError: the merged model diverges from the live one, or the served one gets other tokens or loses form.
    """
    from transformers import AutoTokenizer

    from ragft.engine.vllm import VllmEngine
    from ragft.finetune.fast.parallel import return_free_memory
    from ragft.finetune.merge import divergence, merge

    reporter.say("Merging the adapter")
    for left_over in output.iterdir():  # of an interrupted merge, which is quicker done again than checked
        left_over.unlink()
    merge(base, adapter, output, onto=config.merge.onto, quantised=config.finetune.method == "qlora")
    tokenizer = AutoTokenizer.from_pretrained(output, local_files_only=True)
    conversations = [list(row.messages[:-1]) for row in rows[: config.merge.prompts]]
    prompts = [render_prompt(tokenizer, conversation) for conversation in conversations]
    limit = config.engine.max_tokens
    engine = VllmEngine(output, config.engine, seed=config.seed)
    if sum(path.stat().st_size for path in output.glob("*.safetensors")) <= LOADED_BESIDE_BYTES:
        engine.preload()
    reporter.say(f"Comparing the live and the merged model on {len(prompts)} held-out prompts")
    try:
        proof = divergence(
            base, adapter, output, prompts, max_tokens=limit, quantised=config.finetune.method == "qlora"
        )
    except BaseException:
        asyncio.run(engine.close())
        raise
    return_free_memory()
    reporter.say("Comparing the merged model with vLLM")
    served = asyncio.run(_served(engine, conversations, limit))

    rules = Rules.compile(config.prompt.format, config.prompt.value, config.prompt.refusal)

    def form(texts: Sequence[str]) -> float | None:
        """Share of the answers that are in the house format; None where none is declared."""
        valid = [in_form(text, rules) for text in texts]
        return None if rules.format is None else sum(map(bool, valid)) / len(texts)

    def texts(answers: Sequence[Sequence[int]]) -> list[str]:
        return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]

    figures = {
        "prompts": len(prompts),
        "divergence": proof.kl_mean,
        "divergence_max": proof.kl_max,
        "top1_agreement": proof.top1_agreement,
        "same_prompt_ids": sum(list(g.prompt_token_ids) == ids for g, ids in zip(served, prompts, strict=True)),
        "form_live": form(texts(proof.live_ids)),
        "form_merged": form(texts(proof.merged_ids)),
        "form_served": form([generation.text for generation in served]),
        "same_answers_served": sum(
            generation.text.strip() == text.strip()
            for generation, text in zip(served, texts(proof.merged_ids), strict=True)
        ),
        "template": template_hash(tokenizer),
        "onto": config.merge.onto,
    }
    check_proof(figures, config)
    return figures


def check_proof(figures: dict[str, Any], config: Config) -> None:
    """Refuses a merge whose figures are beyond the limits of the configuration.

    Raises:
        RagftError: the message names the figure, its limit and what to do.
    """
    limits = config.merge
    if not figures["divergence"] <= limits.max_divergence:  # written so that NaN is refused
        raise RagftError(
            f"The merged model diverges from the live one by {figures['divergence']:.4f} nats per token, more than "
            f"merge.max_divergence = {limits.max_divergence}; merge onto the weights that the adapter was trained "
            "against (merge.onto: trained)."
        )
    if figures["same_prompt_ids"] != figures["prompts"]:
        raise RagftError(
            f"vLLM renders {figures['prompts'] - figures['same_prompt_ids']} of {figures['prompts']} prompts to other "
            "token ids than training did: the merged folder's chat template or tokenizer is not the trained one."
        )
    live = figures["form_live"]
    for name in ("form_merged", "form_served"):
        if live is not None and figures[name] < live - limits.max_form_loss:
            raise RagftError(
                f"The {name.removeprefix('form_')} model is in form for {figures[name]:.0%} of the prompts, the live "
                f"one in {live:.0%}: the style did not survive (limit merge.max_form_loss = {limits.max_form_loss})."
            )


async def _served(engine: Engine, conversations: Sequence[Sequence[Message]], max_tokens: int) -> list[Generation]:
    await engine.start()
    try:
        sampling = Sampling(max_tokens=max_tokens)
        return list(await asyncio.gather(*(engine.generate(turns, sampling) for turns in conversations)))
    finally:
        await engine.close()
