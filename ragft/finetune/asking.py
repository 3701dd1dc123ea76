"""Validation prompts, answered by the model while it trains, and scored by the metrics of the evaluation.

A falling loss does not say whether the answers are in the house format, or right. A few greedy answers do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragft.config import FinetuneSection
from ragft.data.questions import Question
from ragft.evaluate.metrics import METRICS, Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.text import golds_of
from ragft.evaluate.records import Record
from ragft.templates import Template

if TYPE_CHECKING:
    from torch import nn

    from ragft.data.rows import Row
    from ragft.messages import Rendered

FEWEST_BY_DEFAULT, MOST_BY_DEFAULT, WHERE_THEY_SELECT = 4, 8, 32
SHARE_OF_TRAINING = 0.05
FORWARD = 1 / 3
"""Cost of a token that is read, in tokens that are trained on: the backward pass costs twice the forward pass."""
DECODED = 5.0
"""Cost of a token that is generated, in tokens that are trained on. Measured with SmolLM2-135M in QLoRA on a processor
without bfloat16: 3.1 with eight prompts together, 5.2 with four; and 0.34 and 0.43 for a token that is read."""

Generate = Callable[["nn.Module", Sequence[Sequence[int]], int], list[tuple[list[int], bool]]]
"""Greedy answers of a model to prompts, of at most so many tokens: ids without end token, and whether they ended."""


@dataclass(frozen=True)
class Prompt:
    """A validation row up to its answer, and the answer that it should get."""

    question: str
    ids: tuple[int, ...]
    reference: str
    answer_tokens: int


@dataclass(frozen=True)
class SampleAnswer:
    """What the model answered to a prompt.

    Attributes:
        ended: it ended by itself; if not, it is neither in the house format nor right.
        form: whether it is in the house format; None where none is declared.
        exact: whether its value is that of the reference, or both refuse.
    """

    question: str
    reference: str
    answer: str
    ended: bool
    form: bool | None
    exact: bool


def count_of(settings: FinetuneSection, training: Sequence[Rendered], prompts: Sequence[Prompt]) -> int:
    """How many prompts are answered at each validation.

    Args:
        training: the rows that are trained on.
        prompts: all that could be answered.
    """
    if settings.eval_samples is not None:
        return min(settings.eval_samples, len(prompts))
    if settings.select != "loss":
        return min(WHERE_THEY_SELECT, len(prompts))
    if not prompts:
        return 0
    trained = settings.epochs * sum(len(row.ids) for row in training)
    each = sum(FORWARD * len(one.ids) + DECODED * one.answer_tokens for one in prompts) / len(prompts)
    affordable = int(SHARE_OF_TRAINING * trained / (settings.eval_count * each))
    return min(MOST_BY_DEFAULT, len(prompts), affordable) if affordable >= FEWEST_BY_DEFAULT else 0


def prompts_of(rows: Sequence[Row], template: Template, *, max_seq_length: int, seed: int) -> list[Prompt]:
    """The validation rows that can be scored, in a seeded order: general instructions have no house format.

    Args:
        max_seq_length: longest prompt and answer together; rows beyond it are not trained on either.
    """
    found = []
    for row in rows:
        if row.kind == "general":
            continue
        ids, reference = template.prompt(row.messages[:-1]), row.messages[-1]["content"]
        length = len(template.tokenizer.encode(reference, add_special_tokens=False)) + 1
        if len(ids) + length <= max_seq_length:
            # The prompt's own wording is repeated in front of the question's last occurrence only by chance.
            question = row.messages[-2]["content"].rpartition("Question: ")[2]
            found.append(Prompt(question, tuple(ids), reference, length))
    random.Random(seed).shuffle(found)
    return found


@dataclass
class Asked:
    """Answers of the live model to some prompts: a callable that returns their metrics, as a trainer wants it.

    Attributes:
        generate: how the model answers; the model is left as it was.
        decode: text of token ids.
        max_tokens: longest answer. The references are shorter; a model that has not learnt to stop should cost little.
        answers: of the last call, in the order of `prompts`.
    """

    prompts: Sequence[Prompt]
    rules: Rules
    generate: Generate
    decode: Callable[[Sequence[int]], str]
    max_tokens: int
    answers: list[SampleAnswer] = field(default_factory=list)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Metrics of the model's answers, each a share: `exact_match`, and `form` where a house format is declared."""
        if not self.prompts:
            return {}
        found = self.generate(model, [one.ids for one in self.prompts], self.max_tokens)
        self.answers = [
            scored(one, self.decode(ids), ended, self.rules)
            for one, (ids, ended) in zip(self.prompts, found, strict=True)
        ]
        metrics = {"exact_match": _share([one.exact for one in self.answers])}
        if self.rules.format is not None:
            metrics["form"] = _share([bool(one.form) for one in self.answers])
        return metrics


def scored(prompt: Prompt, answer: str, ended: bool, rules: Rules) -> SampleAnswer:
    """An answer with its scores, by the metrics of the evaluation."""
    golds = golds_of(prompt.reference, rules, asked=prompt.question)
    question = Question("", prompt.question, golds, (), answerable=bool(golds))
    exact = METRICS["exact_match"].score(question, Record("", "", answer), rules)
    form = format_valid(answer, rules)
    return SampleAnswer(
        prompt.question, prompt.reference, answer, ended,
        form=None if form is None else form and ended, exact=exact.value == 1.0 and ended,
    )  # fmt: skip


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def greedy(stops: Sequence[int]) -> Generate:
    """Greedy decoding by the model of either back end; `stops` end an answer."""

    def generate(model: nn.Module, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[tuple[list[int], bool]]:
        from ragft.finetune.fast import attention

        training = model.training
        model.eval()
        try:
            by = _by_fast_loop if model.config._attn_implementation in attention.ALL_PACKED else _by_peft
            answers = by(model, prompts, stops, max_tokens)
        finally:
            model.train(training)
        without = [[token for token in ids if token not in stops] for ids in answers]
        return [(ids, len(ids) < len(whole)) for ids, whole in zip(without, answers, strict=True)]

    return generate


def _by_fast_loop(
    model: nn.Module, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_tokens: int
) -> list[list[int]]:
    from index.encoders.parallel import OneThreadWorkers
    from ragft.finetune import devices
    from ragft.finetune.divergence import Greedy
    from ragft.finetune.fast import attention

    trained_with = model.config._attn_implementation
    model.set_attn_implementation(attention.GROUPED)
    try:
        with closing(OneThreadWorkers(devices.workers(devices.of(model)), min_parallel=2)) as workers:
            return Greedy(prompts, stops, max_tokens, workers).answers(model)
    finally:
        model.set_attn_implementation(trained_with)


def _by_peft(
    model: nn.Module, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_tokens: int
) -> list[list[int]]:
    from ragft.finetune import devices
    from ragft.finetune.fast.decoder import compute_dtype
    from ragft.finetune.peft_backend import forward

    return forward.greedy(model, prompts, stops, max_tokens, compute_dtype(devices.of(model)))
