"""`ragft tune`: values are compared by validation rows alone and kept through interruptions; nothing is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import Ended
from support.domains import Domain, application

from ragft.config import FinetuneSection, load_config
from ragft.errors import RagftError
from ragft.finetune import search
from ragft.stages import tuning
from ragft.stages.adapter import finetune

pytest.importorskip("optuna")

TRAINING = {"method": "lora", "eval_count": 2, "batch_size": 1, "rank": 2, "max_seq_length": 512, "epochs": 1.0}
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1}, "epochs": [1.0, 2.0]}


@pytest.fixture
def configure(domain: Domain, tiny_base: Path) -> Callable[..., Domain]:
    def configure(space: dict[str, Any] | None = None, **settings: Any) -> Domain:
        domain.configure(
            model={"base": str(tiny_base)}, engine={"max_tokens": 8}, finetune={**TRAINING, **settings},
            tune={"space": SPACE if space is None else space, "trials": 3}, answer={"format": r".+ \[\d\]"},
        )  # fmt: skip
        return domain

    return configure


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_the_best_values_are_printed_and_nothing_is_published(
    configure: Callable[..., Domain], ragft: Callable[..., Ended]
) -> None:
    domain = configure()
    (domain.folder / "questions.jsonl").unlink()  # a search that read them would fail
    ended = ragft("tune", "-c", domain.config)
    assert ended.status == 0, ended.err
    block = yaml.safe_load(ended.out.split("\n\n")[1])
    FinetuneSection.model_validate(block["finetune"])
    assert set(block["finetune"]) == set(SPACE)
    (folder,) = (domain.workspace / "tuning").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "LOCK", "journal.jsonl", "trials.jsonl", "tuning.html", "manifest.json"
    }  # fmt: skip
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert trials[0]["values"] == {"epochs": 1.0, "learning_rate": 1e-3}, "what is configured comes first"
    best = min((trial for trial in trials if trial["ended"] == "finished"), key=lambda trial: trial["loss"])
    assert best["values"] == block["finetune"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "tuning" and manifest["figures"]["best"] == best
    assert f"{best['loss']:.4f}" in (folder / "tuning.html").read_text()
    assert not (domain.workspace / "adapters").exists()


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_a_trial_has_the_loss_of_the_adapter_that_its_values_train(configure: Callable[..., Domain]) -> None:
    tuned = tuning.tune(configure().application())
    trained = finetune(configure(**tuned.best.values).application())
    assert trained.figures["best_loss"] == tuned.best.loss


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_an_interrupted_search_tries_what_an_undisturbed_one_does(
    configure: Callable[..., Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = configure()
    undisturbed = [trial.values for trial in tuning.tune(domain.application()).trials]
    (folder,) = (domain.workspace / "tuning").iterdir()
    folder.rename(domain.folder / "before")
    train, calls = tuning.train, list[int]()

    def interrupted(*arguments: Any, progress: Any, **others: Any) -> Any:
        def once(state: Any) -> None:
            progress(state)
            calls.append(state.step)
            if len(calls) == 5:
                raise KeyboardInterrupt

        return train(*arguments, progress=once, **others)

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(domain.application())
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["figures"]["trials"] == 1, "what was tried is kept"
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"op_co')  # as a kill leaves it
    resumed = tuning.tune(domain.application())
    assert [trial.values for trial in resumed.trials] == undisturbed
    assert calls[5] == 3, "the trial goes on at its checkpoint, the first validation"


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_time_that_is_up_keeps_the_trial_for_the_next_call(configure: Callable[..., Domain]) -> None:
    domain = configure()
    with pytest.raises(RagftError, match=r"No trial finished in less than a second: raise tune\.minutes"):
        tuning.tune(application(load_config(domain.config, ["tune.minutes=0.00001"])))
    assert len(tuning.tune(domain.application()).trials) == 3


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_answers_decide_where_they_select(configure: Callable[..., Domain]) -> None:
    tuned = tuning.tune(configure(select="form", eval_samples=1).application())
    assert set(tuned.best.metrics) == {"form", "exact_match"}
    assert search.Trial.rank(tuned.best, "form") == min(trial.rank("form") for trial in tuned.trials)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"max_seq_length": [256]}, "'max_seq_length' cannot be searched"),
        ({"rank": [0]}, "rank cannot be 0"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, "high is 0.001, which is not above low, 0.01"),
        ({"virtual_tokens": [4]}, "finetune.method = lora does not use"),
        ({"lr_scheduler": {"low": 0, "high": 1}}, "takes a list of names"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(
    configure: Callable[..., Domain], ragft: Callable[..., Ended], space: dict[str, Any], sentence: str
) -> None:
    ended = ragft("tune", "-c", configure(space).config)
    assert ended.status in (1, 2) and sentence in ended.err


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_a_search_without_validation_rows_that_fit_is_refused(
    configure: Callable[..., Domain], ragft: Callable[..., Ended]
) -> None:
    domain = configure(max_seq_length=32)
    ended = ragft("tune", "-c", domain.config)
    assert ended.status == 2 and "there are none: raise data.split.validation_share" in ended.err


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_a_learning_rate_is_found_and_nothing_is_kept(
    configure: Callable[..., Domain], ragft: Callable[..., Ended]
) -> None:
    domain = configure(learning_rate=0.5)
    ended = ragft("tune", "--learning-rate", "-c", domain.config)
    assert ended.status == 0, ended.err
    assert "learning rate is suggested" in ended.out or "Suggested learning rate" in ended.out
    assert "Configured is 0.5" in ended.out and "#####" in ended.out
    assert not list((domain.workspace / "tuning").iterdir()) and not (domain.workspace / "adapters").exists()
