"""Every engine of the table can be configured and opened; opening one loads nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import FakeEngine

from ragft import engine
from ragft.config import EngineSection
from ragft.engine.backends import BACKENDS
from ragft.templates import TemplateOptions


@pytest.mark.parametrize("name", BACKENDS)
def test_every_engine_of_the_table_is_opened_by_its_name(tmp_path: Path, name: str) -> None:
    servers = {"tuned": [{"url": "http://127.0.0.1:1/v1"}]}
    settings = EngineSection.model_validate({"backend": name, "servers": servers})
    assert type(engine.open(tmp_path, settings)).__name__ == BACKENDS[name].engine
    assert BACKENDS[name].title in (EngineSection.model_fields["backend"].description or "")


def test_a_new_engine_is_one_entry_and_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make(folder: Path, settings: EngineSection, **how: object) -> FakeEngine:
        made.append((folder, settings, how))
        return FakeEngine()

    monkeypatch.setattr(sys.modules[__name__], "make", make, raising=False)
    vllm = next(iter(BACKENDS.values()))
    monkeypatch.setitem(BACKENDS, "new", replace(vllm, name="new", module=__name__, engine="make"))
    settings = EngineSection(backend="new")
    assert isinstance(engine.open(tmp_path, settings, seed=3), FakeEngine)
    told = {"seed": 3, "max_queued": None, "gpu_memory_share": 0.9, "template": TemplateOptions(), "model": "tuned",
            "forked": False}  # fmt: skip
    assert made == [(tmp_path, settings, told)]


def test_an_engine_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="should be one of vllm, remote"):
        EngineSection(backend="other")
