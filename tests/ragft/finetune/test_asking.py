"""Answers on the way: what is asked, how it is scored, and that asking changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ragft.config import AnswerSection, FinetuneSection
from ragft.data.rows import Row
from ragft.evaluate.metrics import Rules
from ragft.finetune.asking import Asked, Prompt, count_of, greedy, prompts_of, scored
from ragft.finetune.fast import attention, decoder, probe
from ragft.finetune.fast.trainer import train
from ragft.finetune.report import TrainReport
from ragft.prompts import Rendered, conversation, turn
from ragft.templates import Template

Rows = Callable[..., list[Rendered]]
RULES = Rules.of(AnswerSection(format=r"\d{4} \[\d\]", value=r"(\d{4})"))


def prompt(reference: str = "2027 [1]", ids: Sequence[int] = (5,), tokens: int = 6) -> Prompt:
    return Prompt("When?", tuple(ids), reference, tokens)


@pytest.mark.parametrize(
    ("answer", "ended", "form", "exact"),
    [
        ("2027 [1]", True, True, True),
        ("2028 [1]", True, True, False),
        ("It is 2027.", True, False, True),
        ("2027 [1]", False, False, False),  # it went on talking
        ("I do not know.", True, True, False),
        ("", True, False, False),
    ],
)
def test_an_answer_is_scored_as_the_evaluation_scores_it(answer: str, ended: bool, form: bool, exact: bool) -> None:
    found = scored(prompt(), answer, ended, RULES)
    assert (found.form, found.exact) == (form, exact)


def test_a_prompt_to_refuse_is_right_when_refused() -> None:
    assert scored(prompt("I do not know."), "I do not know.", True, RULES).exact
    assert not scored(prompt("I do not know."), "2027 [1]", True, RULES).exact


def test_metrics_are_shares_and_form_is_left_out_where_none_is_declared() -> None:
    answers = {"2027 [1]": ([1], True), "no": ([2], True)}
    texts = {1: "2027 [1]", 2: "no"}

    def asked(rules: Rules) -> Asked:
        return Asked(
            [prompt(), prompt()], rules, lambda model, prompts, most: list(answers.values()),
            lambda ids: texts[ids[0]], max_tokens=8,
        )  # fmt: skip

    assert asked(RULES)(torch.nn.Identity()) == {"exact_match": 0.5, "form": 0.5}
    assert asked(Rules())(torch.nn.Identity()) == {"exact_match": 0.5}


def settings(**changes: object) -> FinetuneSection:
    return FinetuneSection.model_validate({"eval_count": 4, **changes})


def test_by_default_no_more_is_asked_than_costs_a_twentieth_of_the_training() -> None:
    # Each prompt costs 90 / 3 + 5 · 4 = 50 trained tokens at each of four validations.
    prompts = [prompt(ids=range(90), tokens=4)] * 20
    rows = [Rendered((1,) * 100, (True,) * 100)]
    assert count_of(settings(), rows * 159, prompts) == 0, "so few answers would say nothing"
    assert count_of(settings(), rows * 160, prompts) == 4
    assert count_of(settings(), rows * 240, prompts) == 6
    assert count_of(settings(epochs=2), rows * 120, prompts) == 6
    assert count_of(settings(), rows * 10_000, prompts) == 8
    assert count_of(settings(), rows * 10_000, prompts[:2]) == 2
    assert count_of(settings(), rows, []) == 0


def test_a_number_that_is_set_and_a_metric_that_selects_are_obeyed() -> None:
    prompts, rows = [prompt()] * 50, [Rendered((1, 1), (True, True))]
    assert count_of(settings(eval_samples=20), rows, prompts) == 20
    assert count_of(settings(eval_samples=60), rows, prompts) == 50
    assert count_of(settings(select="exact_match"), rows, prompts) == 32


def test_prompts_are_validation_rows_that_have_a_house_format_and_fit(chat_tokenizer: object) -> None:
    def row(kind: str, question: str, passages: list[str] | None = None) -> Row:
        messages = conversation("Be brief.", question, passages, following=[turn("assistant", "2027 [1]")])
        return Row("e", kind, tuple(messages))  # type: ignore[arg-type]

    rows = [row("gold", "When?", ["It ends in 2027."]), row("general", "Sing."), row("gold", "Long?", ["word " * 500])]
    (found,) = prompts_of(rows, Template(chat_tokenizer), max_seq_length=200, seed=0)
    assert (found.question, found.reference) == ("When?", "2027 [1]")


@pytest.mark.medium
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_asking_in_the_middle_of_a_training_changes_nothing(
    llama_folder: Path, make_rows: Rows, tmp_path: Path, method: str
) -> None:
    data = (llama_folder, make_rows(16), make_rows(4, seed=1))
    values = settings(method=method, rank=4, epochs=3, batch_size=4, token_budget=128, max_seq_length=64, patience=9)
    prompts = [prompt(ids=row.ids[:-6]) for row in make_rows(5, seed=1)]
    asked = Asked(prompts, Rules(), greedy([2]), lambda ids: " ".join(map(str, ids)), max_tokens=12)
    plain = train(*data, values, seed=0, folder=tmp_path / "plain")
    watched = train(*data, values, seed=0, folder=tmp_path / "watched", evaluate=asked)
    one, two = (load_file(report.adapter / "adapter_model.safetensors") for report in (plain, watched))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert losses(plain) == losses(watched)
    assert len(asked.answers) == 5 and set(watched.best_metrics) == {"exact_match"}


def losses(report: TrainReport) -> list[tuple[float, float | None]]:
    return [(entry.train_loss, entry.validation_loss) for entry in report.history]


def test_the_model_is_left_with_the_attention_that_it_trains_with(llama_folder: Path, make_rows: Rows) -> None:
    model = probe.load_for_training(llama_folder, torch.float32, max_seq_length=64)
    found = greedy([2])(model, [row.ids[:-6] for row in make_rows(3)], 4)
    assert all(len(ids) <= 4 and 2 not in ids for ids, _ in found)
    assert all(len(ids) == 4 for ids, ended in found if not ended)
    assert model.config._attn_implementation == attention.PACKED


def test_a_model_of_another_back_end_answers_without_dropout_and_stays_as_it_was(
    llama_folder: Path, make_rows: Rows
) -> None:
    model = decoder.load(llama_folder, torch.float32, attention_name="sdpa")
    prompts = [row.ids[:-6] for row in make_rows(3)]
    calm = greedy([2])(model, prompts, 4)
    assert greedy([2])(model.train(), prompts, 4) == calm
    assert model.training and model.config._attn_implementation == "sdpa"
