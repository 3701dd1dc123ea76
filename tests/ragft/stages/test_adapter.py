"""What cannot be served is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import Ended
from support.domains import Domain, Quiet

from ragft.config import Config
from ragft.errors import UsageError
from ragft.finetune import training
from ragft.finetune.methods import METHODS
from ragft.stages import adapter as stage
from ragft.stages import model
from ragft.stages.application import Application

NOT_SERVED = [name for name, method in METHODS.items() if method.served == "not"]


def _application(folder: Path, method: str) -> Application:
    config = {"name": "desk", "workspace": str(folder / "out"), "finetune": {"method": method, "max_seq_length": 64}}
    return Application(Config.model_validate(config), Quiet())


@pytest.mark.parametrize("method", NOT_SERVED)
def test_a_merge_of_what_cannot_be_served_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(model, "finetune", lambda app: pytest.fail("it trained"))
    with pytest.raises(UsageError, match=rf"finetune\.method = {method} cannot be served: .*; use lora"):
        model.merge(_application(tmp_path, method))


@pytest.mark.parametrize("command", ["run", "merge"])
def test_commands_that_would_serve_it_refuse_it_in_a_sentence(
    ragft: Callable[..., Ended], domain: Domain, command: str
) -> None:
    domain.configure(finetune={"method": "prefix-tuning"})
    ended = ragft(command, "-c", domain.config)
    assert ended.status == 2
    assert "finetune.method = prefix-tuning cannot be served" in ended.sentence


def test_the_back_end_of_an_adapter_that_says_nothing_is_that_of_the_method(tmp_path: Path) -> None:
    for method in METHODS:
        app = _application(tmp_path, method)
        app.base_hash, app.tokenizer = "base1", SimpleNamespace(chat_template="{{ messages }}")
        assert stage.trained_on(app).backend == ("fast" if method in ("lora", "qlora") else "peft")
    assert "fast" in training.trainer_for(Config(name="desk").finetune)
