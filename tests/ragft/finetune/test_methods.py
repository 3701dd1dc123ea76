"""The table of methods is what the configuration offers."""

from __future__ import annotations

import importlib

import pytest
from support import ROOT

from ragft.config import FinetuneSection
from ragft.finetune.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table_can_be_configured_and_has_a_trainer(name: str) -> None:
    assert FinetuneSection(method=name).method == name
    assert callable(importlib.import_module(METHODS[name].trainer).train)
    assert METHODS[name].trains in (FinetuneSection.model_fields["method"].description or "")


def test_a_method_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="should be one of qlora, lora, dora"):
        FinetuneSection(method="prefix")


def test_only_qlora_quantises_what_it_trains_on() -> None:
    assert {name for name, method in METHODS.items() if method.quantisation} == {"qlora"}


def test_a_method_that_is_not_served_says_why_and_the_others_do_not() -> None:
    assert {name for name, method in METHODS.items() if method.served == "not"} == {
        "prompt-tuning", "p-tuning", "prefix-tuning", "adapter",
    }  # fmt: skip
    assert all(bool(method.not_served) == (method.served == "not") for method in METHODS.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_brings_its_learning_rate_and_a_given_one_stays(name: str) -> None:
    assert FinetuneSection(method=name).learning_rate == METHODS[name].learning_rate
    assert FinetuneSection(method=name, learning_rate=0.5).learning_rate == 0.5


def test_keys_of_other_methods_are_unused() -> None:
    assert METHODS["full"].unused({"rank", "layers", "epochs"}) == ["layers", "rank"]
    assert METHODS["lora+"].unused({"rank", "lora_plus_ratio"}) == []
    assert METHODS["prefix-tuning"].unused({"rank", "virtual_tokens"}) == ["rank"]


@pytest.mark.parametrize("name", METHODS)
def test_the_page_that_compares_methods_knows_each_and_says_how_it_is_served(name: str) -> None:
    page = (ROOT / "docs" / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    first_table = page.partition("\n\nThose up to")[0]
    (row,) = [line for line in first_table.splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[3] == METHODS[name].yields
    assert cells[4] == METHODS[name].served
