"""The command line: exit statuses, one sentence for what is refused, help for everything, JSON for machines."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.commands import Ended
from support.domains import MIX, Domain

from ragft import artifacts
from ragft.cli import app
from ragft.data.examples import read_examples
from ragft.stages.adapter import trained_on

Ragft = Callable[..., Ended]
CommandPath = tuple[str, ...]


def commands() -> Iterator[tuple[CommandPath, Any]]:
    """Every command with its path, groups included."""

    def below(path: CommandPath, command: Any) -> Iterator[tuple[CommandPath, Any]]:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below((*path, name), inner)

    yield from below((), typer.main.get_command(app))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_says_what_it_does(path: CommandPath) -> None:
    command = COMMANDS[path]
    assert command.help and command.help.strip()
    for parameter in command.params:
        if parameter.name != "help" and "completion" not in parameter.name:
            assert parameter.help and parameter.help.strip().endswith((".", "=3", "8000.")), (path, parameter.name)


@pytest.mark.medium
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_every_command_ends_with_0(path: CommandPath, ragft: Ragft) -> None:
    for flag in ("--help", "-h"):
        ended = ragft(*path, flag)
        assert ended.status == 0 and "Usage:" in ended.out


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['ragft', '--help']\n"
        "from ragft.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {
        "torch", "transformers", "vllm", "faiss", "numpy", "sentence_transformers", "peft", "bitsandbytes", "pyarrow",
        "litestar", "openai", "pydantic", "yaml", "blake3", "huggingface_hub",
    }  # fmt: skip
    assert "Usage:" in ended.stdout
    assert heavy & set(json.loads(ended.stderr.splitlines()[-1].replace("'", '"'))) == set()


def test_version_is_that_of_the_installed_package(ragft: Ragft) -> None:
    assert ragft("--version").out == f"ragft {importlib.metadata.version('ragft')}\n"


def test_module_can_be_run() -> None:
    ended = subprocess.run([sys.executable, "-m", "ragft", "no-such-command"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "No such command" in ended.stderr


# --- wrong use and wrong configuration: 2


def test_missing_configuration(ragft: Ragft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = ragft("run")
    assert ended.status == 2
    assert ended.sentence == (
        "ragft: There is no configuration 'ragft.yaml': name one with -c FILE, or make one with `ragft new NAME`."
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("name: [", "is not readable as YAML"), ("name: a\nfinetun: {}", "did you mean 'finetune'?"), ("a", "key: value")],
)
def test_wrong_configuration(ragft: Ragft, domain: Domain, text: str, sentence: str) -> None:
    domain.config.write_text(text)
    for command in (["data", "audit"], ["index", "build"], ["finetune"], ["serve"]):
        ended = ragft(*command, "-c", domain.config)
        assert ended.status == 2
        assert sentence in ended.sentence


def test_wrong_override(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("data", "split", "-c", domain.config, "--set", "seed")
    assert ended.status == 2
    assert "--set 'seed' has no '='" in ended.sentence


@pytest.mark.parametrize("arguments", [["data", "audit", "--no-such"], ["data", "show", "--row", "-1"], ["ask"]])
def test_wrong_arguments(ragft: Ragft, domain: Domain, arguments: list[str]) -> None:
    ended = ragft(*arguments, *(["-c", domain.config] if arguments != ["ask"] else []))
    assert ended.status == 2
    assert ended.out == "" and "Traceback" not in ended.err


def test_broken_line_of_examples(ragft: Ragft, domain: Domain) -> None:
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write("{question}\n")
    ended = ragft("data", "split", "-c", domain.config)
    assert ended.status == 2
    assert f"{domain.folder / 'examples.jsonl'}, line 5: no JSON" in ended.sentence


def test_repeated_id(ragft: Ragft, domain: Domain) -> None:
    domain.lines("examples.jsonl", [{"id": "e", "question": "a", "answer": "b"}] * 2)
    ended = ragft("data", "split", "-c", domain.config)
    assert ended.status == 2
    assert "line 2: duplicate id 'e' (first on line 1)" in ended.sentence


def test_unknown_setup(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("ask", "Who?", "-c", domain.config, "--setup", "hybird")
    assert ended.status == 2
    assert ended.sentence == (
        "ragft: There is no setup 'hybird': choose one of prompt-only, rag-only, fine-tuned, hybrid."
    )


def test_empty_question(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("ask", " ", "-c", domain.config)
    assert (ended.status, ended.sentence) == (2, "ragft: The question is empty.")


def test_labels_are_not_sent_to_a_server(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("ask", "Who?", "-c", domain.config, "--server", "http://127.0.0.1:9", "--labels", "staff")
    assert ended.status == 2 and "API key decides" in ended.sentence


def test_serve_takes_several_configurations_where_other_commands_take_one(
    ragft: Ragft, domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Domain(tmp_path / "other")
    served: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "serving.app.serve", lambda *apps: served.extend((a.config.name, a.config.serve.port) for a in apps)
    )
    for one, name in ((domain, "desk"), (other, "rail")):
        one.configure(name=name, serve={"setups": ["prompt-only"]})
    both = ("-c", domain.config, "-c", other.config)
    assert ragft("serve", *both, "--port", "9000").status == 0
    assert served == [("desk", 9000), ("rail", 9000)]
    refused = ragft("serve", *both, "--mcp")
    assert refused.status == 2 and "single domain" in refused.sentence
    twice = ragft("serve", "-c", domain.config, "-c", domain.config)
    assert twice.status == 2 and "same name (desk)" in twice.sentence


def test_adapter_that_is_none(ragft: Ragft, domain: Domain, tmp_path: Path) -> None:
    ended = ragft("merge", "-c", domain.config, "--adapter", tmp_path)
    assert ended.status == 2
    assert "adapter_config.json is missing" in ended.sentence
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_text("pickle")
    ended = ragft("merge", "-c", domain.config, "--adapter", tmp_path)
    assert ended.status == 2
    assert "no adapter_model.safetensors" in ended.sentence


# --- failures: 1


@pytest.mark.medium
def test_empty_folder_of_documents(ragft: Ragft, domain: Domain, loaded_encoder: None) -> None:
    for path in (domain.folder / "documents").iterdir():
        path.unlink()
    ended = ragft("index", "build", "-c", domain.config)
    assert ended.status == 1
    assert "holds no readable document" in ended.sentence


@pytest.mark.parametrize("command", [["index", "list"], ["index", "verify"], ["index", "rollback"]])
def test_index_that_is_not_there(ragft: Ragft, domain: Domain, command: list[str]) -> None:
    ended = ragft(*command, "-c", domain.config)
    assert ended.status == 1
    assert "build it with `ragft index build`" in ended.sentence


def test_model_that_is_not_there(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("serve", "-c", domain.config)
    assert ended.status == 1
    assert "There is no tuned model in" in ended.sentence and "`ragft run`" in ended.sentence


def test_full_disk(ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "write_file", full)
        ended = ragft("data", "split", "-c", domain.config)
    assert ended.status == 1
    assert "The disk is full" in ended.sentence and "free some space" in ended.sentence
    assert ragft("data", "split", "-c", domain.config).status == 0


def test_missing_package(ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_vllm(app: object) -> None:
        raise ModuleNotFoundError("No module named 'vllm'", name="vllm")

    monkeypatch.setattr("ragft.stages.evaluation.evaluate", without_vllm)
    ended = ragft("evaluate", "-c", domain.config)
    assert ended.status == 1
    assert "'vllm' is not installed; `ragft doctor` says" in ended.sentence


def test_no_permission(ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(app: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/out")

    monkeypatch.setattr("ragft.stages.data.split", forbidden)
    ended = ragft("data", "split", "-c", domain.config)
    assert ended.status == 1
    assert "No permission for /data/out" in ended.sentence


def test_interrupt_says_that_nothing_is_lost(ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(app: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ragft.stages.adapter.finetune", interrupted)
    ended = ragft("finetune", "-c", domain.config)
    assert ended.status == 130
    assert "Nothing is lost" in ended.err and "Traceback" not in ended.err


def test_bug_shows_its_traceback(ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(app: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ragft.stages.data.split", bug)
    with pytest.raises(ZeroDivisionError):
        ragft("data", "split", "-c", domain.config)


@pytest.mark.medium
@pytest.mark.parametrize("place", ["before", "behind"])
def test_debug_shows_the_traceback_of_what_is_refused(place: str, domain: Domain) -> None:
    arguments = ["data", "split", "-c", str(domain.config), "--set", "sed=1"]
    arguments = ["--debug", *arguments] if place == "before" else [*arguments, "--debug"]
    ended = subprocess.run([sys.executable, "-m", "ragft", *arguments], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr and "did you mean 'seed'" in ended.stderr


# --- results


@pytest.mark.medium
def test_json_is_one_line_and_nothing_else(
    ragft: Ragft, domain: Domain, loaded_encoder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(domain.folder)
    made = ragft("new", "handbook", "--json")
    assert made.values == {"folder": "handbook"}
    for command in (["data", "audit"], ["data", "split"], ["data", "mix"], ["data", "show"], ["index", "refresh"]):
        ended = ragft(*command, "--json")
        assert ended.status == 0, ended.err
        assert isinstance(ended.values, dict)
    assert ragft("doctor", "--json").values["findings"]


def test_result_says_where_it_is(ragft: Ragft, domain: Domain) -> None:
    ended = ragft("data", "split", "-c", domain.config)
    assert ended.status == 0
    summary, place = ended.out.splitlines()
    assert summary == "3 examples to train on, 1 to validate"
    assert (Path(place.removeprefix("Result: ")) / "train.jsonl").is_file()


@pytest.mark.medium
def test_row_that_is_not_there(ragft: Ragft, domain: Domain, loaded_encoder: None) -> None:
    ended = ragft("data", "show", "-c", domain.config, "--row", "99")
    assert ended.status == 2
    assert "There are 3 training rows: choose one from 0 to 2." in ended.err


@pytest.mark.medium
def test_shown_row_marks_what_is_learnt(ragft: Ragft, domain: Domain, loaded_encoder: None) -> None:
    values = ragft("data", "show", "-c", domain.config, "--json").values
    learnt = "".join(token for token, trained in zip(values["tokens"], values["trained"], strict=True) if trained)
    assert learnt == values["messages"][-1]["content"] + "<|im_end|>"
    assert len(values["tokens"]) == len(values["token_ids"]) == len(values["trained"])


@pytest.mark.medium
def test_shown_row_says_where_its_answer_stands_and_what_is_worse(
    ragft: Ragft, domain: Domain, loaded_encoder: None
) -> None:
    domain.configure(answer={"value": r"(\w+) \[1\]"})
    assert ragft("data", "pairs", "-c", domain.config, "--out", domain.folder / "pairs.jsonl").status == 0
    domain.configure(
        data={"examples": "pairs.jsonl", "split": {"validation_share": 0.25}, "mix": {**MIX, "adversarial_share": 1.0}}
    )
    shown = [ragft("data", "show", "-c", domain.config, "--row", number).out for number in range(3)]
    assert any("the answer in [" in one for one in shown) and any("with an order in a passage" in one for one in shown)
    assert all("worse answer: " in one for one in shown)


def test_pairs_give_examples_worse_answers_and_overwrite_nothing(ragft: Ragft, domain: Domain) -> None:
    out = domain.folder / "pairs.jsonl"
    values = ragft("data", "pairs", "-c", domain.config, "--out", out, "--json").values
    before, after = read_examples(domain.folder / "examples.jsonl"), read_examples(out)
    assert [one.question for one in after] == [one.question for one in before]
    assert sum(values["worse"].values()) == len(after) and any(one.rejected for one in after)
    assert all(one.rejected != one.answer for one in after)
    ended = ragft("data", "pairs", "-c", domain.config, "--out", out)
    assert ended.status == 2 and "exists already" in ended.err


# --- configuration, models, scores


def test_config_prints_every_value_and_where_it_came_from(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain.configure(answer={"format": r"\A[a-z]+ \[\d+\]\Z"})
    monkeypatch.setenv("RAGFT__SERVE__PORT", "7")
    monkeypatch.setenv("COLUMNS", "300")
    values = ragft("config", "-c", domain.config, "--set", "seed=3", "--json").values
    assert values["seed"] == {"value": 3, "source": "--set seed=3"}
    assert values["serve.port"] == {"value": 7, "source": "environment variable RAGFT__SERVE__PORT"}
    assert values["name"] == {"value": "desk", "source": str(domain.config)}
    assert values["finetune.rank"] == {"value": 16, "source": "default"}
    shown = ragft("config", "-c", domain.config).out
    assert r"\A[a-z]+ \[\d+\]\Z" in shown  # no markup of the terminal's
    assert len(shown.splitlines()) == len(values) + 1


def merged(domain: Domain, *numbers: int) -> list[str]:
    """Models as `ragft merge` makes them, the oldest first; the last one is deployed."""
    app = domain.application()
    made = []
    for number in numbers:
        figures = {"divergence": 0.01 * number, "version": f"{number}" * 16, "trained_with": {"model.base": "smollm2"}}
        model, _ = artifacts.build(app.registry.root, "model", {"number": number}, lambda _, f=figures: f)  # type: ignore[misc]
        app.registry.deploy(model)
        made.append(model.fingerprint)
    return made


def test_models_go_back_and_forth_by_name(ragft: Ragft, domain: Domain) -> None:
    first, second = merged(domain, 1, 2)
    listed = ragft("models", "list", "-c", domain.config)
    assert f"* {second}" in listed.out and f"- {first}" in listed.out and "smollm2" in listed.out
    back = ragft("models", "rollback", "-c", domain.config)
    assert (back.status, back.out) == (
        0, f"Deployed: {first}; {second} served before, and `ragft models rollback` deploys it again\n"
    )  # fmt: skip
    states = {
        row["fingerprint"]: row["state"]
        for row in ragft("models", "list", "-c", domain.config, "--json").values["models"]
    }
    assert states == {first: "deployed", second: "previous"}
    assert ragft("models", "deploy", second[:6], "-c", domain.config, "--json").values == {
        "deployed": second, "before": first
    }  # fmt: skip
    shown = ragft("models", "show", first, "-c", domain.config)
    assert "divergence: 0.01" in shown.out and str(domain.workspace / "models" / first) in shown.out


def test_models_that_are_not_there_are_refused(ragft: Ragft, domain: Domain) -> None:
    assert "There are no models yet" in ragft("models", "list", "-c", domain.config).out
    (only,) = merged(domain, 1)
    ended = ragft("models", "deploy", "zzz", "-c", domain.config)
    assert ended.status == 2 and only in ended.sentence
    ended = ragft("models", "rollback", "-c", domain.config)
    assert ended.status == 1 and "no other model has served" in ended.sentence


def test_old_models_are_deleted_but_for_those_that_serve_or_served_last(ragft: Ragft, domain: Domain) -> None:
    made = merged(domain, 1, 2, 3, 4)
    assert ragft("models", "deploy", made[0], "-c", domain.config).status == 0  # the one before it is the fourth
    planned = ragft("models", "gc", "--keep", "1", "--dry-run", "-c", domain.config, "--json").values
    assert set(planned["removed"]) == {made[1], made[2]} and len(list(domain.workspace.glob("models/*/"))) == 4
    assert ragft("models", "gc", "--keep", "1", "-c", domain.config).status == 0
    assert {path.name for path in domain.workspace.glob("models/*/")} == {made[0], made[3]}


def test_scoring_without_answers_says_how_to_get_some(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ragft("score", "-c", domain.config, "--set", "evaluate.setups=[rag-only]")
    assert ended.status == 1 and "There are no answers to score yet" in ended.sentence
    ended = ragft("score", "-c", domain.config, "--questions", domain.folder / "questions.jsonl")
    assert ended.status == 2 and "give both, or none" in ended.sentence
    ended = ragft("evaluate", "--suite", "abstention", "-c", domain.config, "--set", "evaluate.setups=[rag-only]")
    assert ended.status == 1 and "There are no answers to score yet" in ended.sentence


def test_answers_of_another_program_are_scored_without_an_index_or_a_model(ragft: Ragft, domain: Domain) -> None:
    rows = [
        {"question_id": name, "setup": setup, "answer": answer}
        for name, answer in (("q1", "yes"), ("q2", "2026-04-30"), ("q3", "I do not know."))
        for setup in ("theirs", "hybrid")
    ]
    file = domain.lines("their-answers.jsonl", rows)
    ended = ragft("score", "-c", domain.config, "--records", file)
    assert ended.status == 0 and "theirs" in ended.out and "report.html" in ended.out
    values = ragft("score", "-c", domain.config, "--records", file, "--json").values
    assert values["theirs"]["exact_match"] == values["hybrid"]["exact_match"] == 1.0
    assert {path.name for path in domain.workspace.iterdir()} == {"evaluations"}


def plain_adapter(folder: Path) -> Path:
    """A folder that looks like an adapter; what is refused before it is read needs no more."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.medium
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--weights", "1,2,3"), "There are 2 adapters and 3 weights"),
        (("--weights", "1,x"), "give numbers with commas"),
        (("--weights", "1,0"), "leave an adapter out"),
        (("--combine", "slerp"), "choose one of linear, ties, dare_linear, dare_ties"),
        (("--density", "0.5"), "--density is of ties"),
        (("--combine", "ties", "--density", "0"), "above 0"),
    ],
)
def test_a_combination_that_cannot_be_is_refused(
    ragft: Ragft, domain: Domain, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    both = [option for name in ("one", "two") for option in ("--adapter", plain_adapter(tmp_path / name))]
    ended = ragft("merge", "-c", domain.config, *both, *options)
    assert ended.status == 2 and sentence in ended.sentence


def test_weights_of_one_adapter_are_refused(ragft: Ragft, domain: Domain, tmp_path: Path) -> None:
    ended = ragft("merge", "-c", domain.config, "--adapter", plain_adapter(tmp_path / "one"), "--combine", "ties")
    assert ended.status == 2 and "are of several adapters" in ended.sentence


@pytest.mark.medium
def test_adapters_of_different_weights_are_not_combined(ragft: Ragft, domain: Domain, tmp_path: Path) -> None:
    one, two = plain_adapter(tmp_path / "one"), plain_adapter(tmp_path / "two")
    trained = trained_on(domain.application())
    replace(trained, quantisation=None).write(one)
    replace(trained, quantisation="nf4").write(two)
    ended = ragft("merge", "-c", domain.config, "--adapter", one, "--adapter", two)
    assert ended.status == 2 and "trained on the same weights can be combined" in ended.sentence


def test_the_card_tells_what_the_manifest_and_the_base_do(ragft: Ragft, domain: Domain, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")
    domain.configure(model={"base": str(base)})
    app = domain.application()
    figures = {
        "divergence": 0.0012, "version": "v1", "prompts": 4, "trained_with": {"model.base": str(base)},
        "format_valid_served": None,
    }  # fmt: skip
    model, _ = artifacts.build(app.registry.root, "model", {"number": 1}, lambda _: figures)
    app.registry.deploy(model)
    version = artifacts.hash_model(model.folder)
    ended = ragft("models", "card", "-c", domain.config)
    assert ended.status == 0
    _, front, body = ended.out.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0" and str(tmp_path) not in ended.out
    assert "| divergence | 0.0012 |" in body and "not scored" in body and "Not evaluated" in body
    assert (model.folder / "README.md").read_text().strip() == ended.out.strip()
    assert artifacts.hash_model(model.folder) == version
