"""`ragft finetune` from documents and examples to a published adapter: everything is real but the model's size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.commands import Ended
from support.domains import Domain

Ragft = Callable[..., Ended]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_encoder")]

FINETUNE = {"rank": 4, "batch_size": 2, "eval_count": 2, "eval_samples": 0, "patience": 9, "device": "cpu"}
ANSWER = {"format": r".+ \[\d\]|I do not know\.", "value": r"^(\S+) \[\d\]$"}


@pytest.fixture
def desk(domain: Domain, tiny_base: Path, ragft: Ragft) -> Domain:
    """The domain with an index, and a worse answer in each example."""
    examples = [json.loads(line) for line in (domain.folder / "examples.jsonl").read_text().splitlines()]
    domain.lines("examples.jsonl", [{**one, "rejected": "1999-01-01 [2]"} for one in examples])
    configure(domain, tiny_base)
    assert ragft("index", "build", "-c", domain.config).status == 0
    return domain


def configure(domain: Domain, tiny_base: Path, **finetune: Any) -> None:
    domain.configure(model={"base": str(tiny_base)}, answer=ANSWER, finetune={**FINETUNE, **finetune})


def finetuned(ragft: Ragft, domain: Domain) -> tuple[dict[str, Any], Path, Ended]:
    """The manifest of the adapter that the command names, and its folder."""
    ended = ragft("finetune", "-c", domain.config, "--json")
    assert ended.status == 0, ended.err
    folder = Path(ended.values["folder"])
    return json.loads((folder / "manifest.json").read_text()), folder, ended


@pytest.mark.parametrize(("method", "changes", "loss"), [
    ("dpo", {"learning_rate": 1e-2, "epochs": 2}, (0.0, math.log(2))),
    ("grpo", {"generations": 2, "epochs": 1}, (0.0, 1.0)),
])  # fmt: skip
def test_methods_of_preferences_and_rewards_train_from_documents_and_examples(
    ragft: Ragft, desk: Domain, tiny_base: Path, method: str, changes: dict[str, Any], loss: tuple[float, float]
) -> None:
    configure(desk, tiny_base, method=method, **changes)
    manifest, folder, _ = finetuned(ragft, desk)
    assert manifest["inputs"]["finetune.method"] == method
    assert manifest["inputs"]["trl"]
    figures = manifest["figures"]
    assert (figures["backend"], figures["rows"] + figures["validation_rows"]) == ("peft", 4)
    assert loss[0] <= figures["best_loss"] <= loss[1]
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert all(value.isfinite().all() for value in load_file(folder / "adapter" / "adapter_model.safetensors").values())
    assert (folder / "training.html").is_file()
    assert json.loads((folder / "adapter" / "manifest.json").read_text())["trained_on"]["backend"] == "peft"
    assert finetuned(ragft, desk)[0] == manifest, "a second run trains nothing"


def test_more_epochs_begin_from_an_adapter_that_is_the_parent_of_the_next_one(
    ragft: Ragft, desk: Domain, tiny_base: Path
) -> None:
    configure(desk, tiny_base, method="lora", learning_rate=1e-2, epochs=4)
    before, first, _ = finetuned(ragft, desk)
    configure(desk, tiny_base, method="lora", learning_rate=1e-2, epochs=8)
    _, _, longer = finetuned(ragft, desk)
    assert f"The adapter in {first} is not gone on from: its finetune.epochs was 4, and with 8" in longer.err
    assert "finetune.start_from begins from its values instead" in longer.err
    configure(desk, tiny_base, method="lora", learning_rate=1e-2, epochs=4, start_from=str(first))
    after, second, ended = finetuned(ragft, desk)
    assert after["parents"] == {"mix": before["parents"]["mix"], "adapter": before["fingerprint"]}
    assert after["inputs"]["start_from"] and "finetune.start_from" not in after["inputs"]
    was, now = (made["figures"]["history"][-1]["train_loss"] for made in (before, after))
    assert now < was
    is_worse = after["figures"]["best_loss"] >= before["figures"]["best_loss"]
    assert ("that training began from had no higher validation loss" in ended.err) == is_worse
    # A parent that nothing can be better than.
    after["figures"]["best_loss"] = 0.0
    (second / "manifest.json").write_text(json.dumps(after))
    configure(desk, tiny_base, method="lora", learning_rate=1e-2, epochs=1, start_from=str(second))
    _, _, said = finetuned(ragft, desk)
    assert "that training began from had no higher validation loss" in said.err
    # Of another origin, or in a form that this method does not train: refused before anything is.
    for changes, sentence in (
        ({"method": "qlora"}, "trains on weights in nf4: set finetune.method to lora"),
        ({"method": "lora", "rank": 8}, "its rank is 4, and finetune.rank is 8: set finetune.rank to 4"),
        ({"method": "dpo"}, "compares with the base"),
    ):
        configure(desk, tiny_base, start_from=str(first), **changes)
        refused = ragft("finetune", "-c", desk.config)
        assert refused.status != 0 and sentence in refused.sentence


def test_what_the_machine_cannot_do_is_refused_by_check_and_by_training(
    ragft: Ragft, desk: Domain, tiny_base: Path
) -> None:
    configure(desk, tiny_base, optimizer="paged-adamw-8bit")
    findings = {row["what"]: row for row in ragft("check", "-c", desk.config, "--json").values["findings"]}
    assert findings["training device"]["state"] == "error"
    assert "paged-adamw-8bit, which is not possible on cpu" in findings["training device"]["detail"]
    assert "is not possible on cpu" in ragft("finetune", "-c", desk.config).sentence


def test_check_loads_the_base_once_and_names_the_back_end_that_took_its_steps(
    ragft: Ragft, desk: Domain, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragft.finetune.fast import probe

    loads, plain = [], probe.why_not_fast
    monkeypatch.setattr(probe, "why_not_fast", lambda *given, **more: (loads.append(1), plain(*given, **more))[1])
    found = {row["what"]: row for row in ragft("check", "-c", desk.config, "--json").values["findings"]}
    assert found["training back end"]["detail"].startswith("fast; the base is stored in float32")
    assert found["training back end"]["detail"].endswith("finetune.method=lora trains without it")
    assert found["training"]["state"] == "ok" and loads == [1]
    monkeypatch.setattr(probe, "why_not_fast", lambda *_, **__: "its layers are strange")
    found = {row["what"]: row for row in ragft("check", "-c", desk.config, "--json").values["findings"]}
    assert found["training back end"]["detail"].startswith(
        "PEFT, which is slower (The fast back end cannot train llama"
    )
