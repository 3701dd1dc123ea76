"""The comparison of a live adapter with the merged model, over engines that say what they are told to."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeEngine

from ragft.artifacts import Artifact
from ragft.config import AnswerSection, MergeSection
from ragft.engine.base import TextRequest
from ragft.errors import RagftError
from ragft.finetune.live_proof import LivePrompt, LiveProof, check_live, divergence, prove_live
from ragft.messages import turn

TURNS = [[turn("user", "Which tram?")], [turn("user", "Which bus?")]]


def logs(**shares: float) -> dict[int, float]:
    return {int(token.removeprefix("t")): math.log(share) for token, share in shares.items()}


@pytest.mark.parametrize(
    ("wanted", "found", "nats"),
    [
        (logs(t1=0.5, t2=0.5), logs(t1=0.5, t2=0.5), 0.0),
        # 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5)
        (logs(t1=0.9, t2=0.1), logs(t1=0.5, t2=0.5), 0.3681),
        # The same: token 3 is at most as likely as token 2.
        (logs(t1=0.9, t3=0.1), logs(t1=0.5, t2=0.5), 0.3681),
        # No token in common: 0.9 ln(0.9 / 0.1)
        (logs(t1=0.9, t2=0.1), logs(t3=0.9, t4=0.1), 1.9775),
        # What neither names: 0.5 ln(0.5 / 0.4) + 0.5 ln(0.5 / 0.6)
        (logs(t1=0.5), logs(t1=0.4, t2=0.3), 0.0204),
        # No lower bound is below 0.
        (logs(t1=0.6), logs(t2=0.6), 0.0),
    ],
)
def test_divergence_is_at_least_what_the_likeliest_tokens_show(
    wanted: Mapping[int, float], found: Mapping[int, float], nats: float
) -> None:
    assert divergence(wanted, found) == pytest.approx(nats, abs=1e-4)


@dataclass
class Engine(FakeEngine):
    """Expects token 1 with `share` at every place of an answer, and another one else."""

    share: float = 0.9
    lengths: list[int] = field(default_factory=list)

    async def complete(self, request: TextRequest) -> dict[str, Any]:
        self.lengths.append(len(request.prompt))
        expected = {"1": {"logprob": math.log(self.share)}, "2": {"logprob": math.log(1 - self.share)}}
        return {"choices": [{"prompt_logprobs": [None, *([expected] * (len(request.prompt) - 1))]}]}


def test_both_engines_are_compared_at_every_token_of_the_merged_models_answers_one_after_the_other() -> None:
    merged, live = Engine(["2027-04-30"]), Engine(["In spring."], share=0.5)
    proof = asyncio.run(prove_live(merged, live, TURNS, max_tokens=8, max_model_len=64))
    figures = proof.figures(AnswerSection.model_validate({"format": r"\d{4}-\d\d-\d\d"}))
    assert (figures["prompts"], figures["same_answers"], figures["tokens"]) == (2, 0, 6)
    assert figures["divergence"] == pytest.approx(0.3681, abs=1e-4) == figures["divergence_max"]
    assert (figures["format_valid_merged"], figures["format_valid_live"]) == (1.0, 0.0)
    # Prompt and answer have 2 and 3 tokens, whichever engine reads them.
    assert merged.lengths == live.lengths == [5, 5]
    assert merged.closed and live.closed


def test_an_answer_that_fills_the_window_is_compared_up_to_its_last_token() -> None:
    merged, live = Engine(), Engine()
    proof = asyncio.run(prove_live(merged, live, TURNS, max_tokens=8, max_model_len=5))
    assert merged.lengths == [4, 4] and proof.figures(AnswerSection())["tokens"] == 4


def test_a_proof_is_read_as_it_was_written(tmp_path: Path) -> None:
    proof = LiveProof((LivePrompt("a", "b", True, 0.25, 3), LivePrompt("c", "c", True, 0.0, 1)))
    proof.write(tmp_path)
    assert LiveProof.read(Artifact(tmp_path, {})) == proof
    assert proof.figures(AnswerSection())["divergence"] == pytest.approx(0.75 / 4)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"divergence": 0.021}, "diverges by 0.0210 nats per token, more than merge.max_divergence = 0.02"),
        ({"divergence": math.nan}, "diverges by nan"),
        ({"same_prompt_ids": 49}, "other token ids than the merged model for 1 of 50 prompts"),
        ({"format_valid_live": 0.9}, "answers 90% of the prompts in the house format, the merged model 100%"),
        ({"format_valid_live": None, "format_valid_merged": None}, None),
    ],
)
def test_what_differs_by_more_than_a_merge_may_is_refused_in_a_sentence(
    changed: dict[str, Any], why: str | None
) -> None:
    figures = {"prompts": 50, "same_answers": 41, "same_prompt_ids": 50, "divergence": 0.01}
    figures |= {"format_valid_merged": 1.0, "format_valid_live": 1.0, **changed}
    if why is None:
        check_live(figures, MergeSection(), "aa01")
        return
    with pytest.raises(RagftError, match=why) as refused:
        check_live(figures, MergeSection(), "aa01")
    assert "model aa01" in str(refused.value)
