"""The table of methods is what the configuration offers."""

from __future__ import annotations

import importlib

import pytest

from ragft.config import FinetuneSection
from ragft.finetune.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table_can_be_configured_and_has_a_trainer(name: str) -> None:
    assert FinetuneSection(method=name).method == name
    assert callable(importlib.import_module(METHODS[name].trainer).train)
    assert METHODS[name].trains in (FinetuneSection.model_fields["method"].description or "")


def test_a_method_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="should be one of qlora, lora"):
        FinetuneSection(method="prefix")


def test_only_qlora_quantises_what_it_trains_on() -> None:
    assert {name: method.quantisation for name, method in METHODS.items()} == {"lora": None, "qlora": "nf4"}
