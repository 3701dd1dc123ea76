"""The suite `forgetting` over tiny models: what it compares, what it computes again, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.domains import application
from support.exports import tiny_model, tiny_tokenizer
from support.fakes import FakeEngine

from ragft import cli
from ragft.artifacts import build
from ragft.config import Config
from ragft.errors import RagftError, UsageError
from ragft.evaluate.suites.choices import ChoiceQuestion
from ragft.evaluate.suites.forgetting import Forgotten, rounding_sentence
from ragft.finetune import likelihood
from ragft.finetune.fast import decoder
from ragft.finetune.peft_backend.attach import quantise
from ragft.stages.application import Application
from ragft.stages.estimates import Part, _evaluation
from ragft.stages.forgetting import Task, forgetting, likelihoods_of, results_of, tasks, tokenized

QUESTIONS = [
    {
        "id": f"q{n}",
        "question": f"What is {n} and one?",
        "choices": ["none", f"{n + 1}", "a large number"],
        "answer": "B",
    }
    for n in range(8)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def app(tmp_path: Path, base: Path) -> Application:
    """A domain with two tasks of general ability, and a deployed model that is its base with other weights."""
    files = [write(tmp_path / f"{name}.jsonl", QUESTIONS) for name in ("sums", "more-sums")]
    return desk(tmp_path, base, files=files)


def desk(folder: Path, base: Path, *, deploy: int | None = 1, **general: Any) -> Application:
    """The application; `deploy` says by how much the deployed model differs from its base."""
    values = {
        "name": "desk",
        "workspace": folder / "out",
        "model": {"base": str(base)},
        "evaluate": {"general": general},
    }
    app = application(Config.model_validate(values))
    if deploy is None:
        return app

    def tuned(growing: Path) -> dict[str, Any]:
        for path in base.iterdir():
            (growing / path.name).write_bytes(path.read_bytes())
        weights = load_file(growing / "model.safetensors")
        torch.manual_seed(deploy)
        for values in weights.values():
            values += 0.1 * deploy * torch.randn(values.shape).to(values.dtype)
        save_file(weights, growing / "model.safetensors", metadata={"format": "pt"})
        return {}

    app.registry.deploy(build(app.registry.root, "model", {"deploy": deploy}, tuned)[0])
    return app


def test_each_task_is_compared_and_all_of_them_together(app: Application) -> None:
    figures = forgetting(app).figures
    results = {(one["task"], one["metric"]): one for one in figures["results"]}
    assert set(results) == {
        *((task, metric) for task in ("sums", "more-sums") for metric in ("acc", "acc_norm")), ("together", "acc_norm"),
    }  # fmt: skip
    assert results["together", "acc_norm"]["base"]["n"] == 16
    # Two files of the same questions: the same answers, with half of the spread when both are counted.
    first, second = (results[task, "acc_norm"] for task in ("sums", "more-sums"))
    assert {**first, "task": ""} == {**second, "task": ""}
    assert results["together", "acc_norm"]["difference"] == first["difference"]
    assert figures["unread"] == {"sums": 0, "more-sums": 0}


@pytest.mark.medium
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_shows_every_task_and_its_verdict(
    app: Application, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "ragft.yaml"
    config.write_text(yaml.safe_dump(app.config.model_dump(mode="json", include={"name", "workspace", "model"})))
    files = f"evaluate.general.files=[{', '.join(map(str, app.config.evaluate.general.files))}]"
    command = ["ragft", "evaluate", "--suite", "forgetting", "-c", str(config), "--set", files]
    monkeypatch.setattr("sys.argv", [*command, *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    if as_json:
        values = json.loads(said)
        assert (len(values["results"]), values["margin"]) == (5, 0.02)
        assert Path(values["folder"], "forgetting.json").is_file()
    else:
        assert "sums: acc_norm" in said and "together: acc_norm" in said
        assert "not worse than -2.0 points: " in said


def test_what_rounding_costs_by_itself_is_told_apart_where_the_deployed_model_has_rounded_weights(
    tmp_path: Path, base: Path
) -> None:
    app = desk(tmp_path, base, deploy=None, files=[write(tmp_path / "sums.jsonl", QUESTIONS)])

    def deploy(quantised: str | None, onto: str) -> dict[str, Any]:
        """The figures of a model that is the rounded base, merged from nothing else."""

        def merged(growing: Path) -> dict[str, Any]:
            network = decoder.load(base, torch.float32, attention_name="eager")
            quantise(network)
            network.save_pretrained(growing)
            return {"onto": onto}

        app.registry.deploy(build(app.registry.root, "model", {"quantised": quantised, "onto": onto}, merged)[0])
        return forgetting(app).figures

    figures = deploy("nf4", "trained")
    assert figures["rounding"] == [one for one in figures["results"] if one["primary"]] != []
    rounded = Forgotten.from_json(figures["rounding"][0])
    assert rounding_sentence(rounded).startswith("sums: the base rounded to NF4, before anything is trained: ")
    assert deploy("nf4", "original")["rounding"] == deploy(None, "trained")["rounding"] == []


def test_what_it_keeps_is_taken_for_no_answers_of_a_setup_when_an_evaluation_is_reckoned(app: Application) -> None:
    forgetting(app)
    assert _evaluation(app) == Part("evaluation", None, "unknown")


def test_a_model_that_is_its_base_has_lost_nothing(tmp_path: Path, base: Path) -> None:
    asked = write(tmp_path / "sums.jsonl", QUESTIONS)
    for one in forgetting(desk(tmp_path, base, deploy=0, files=[asked])).figures["results"]:
        assert (one["difference"], one["gained"], one["lost"], one["p"]) == (0, 0, 0, 1)
        assert one["verdict"] == "not shown", "eight questions cannot show it"
    wide = forgetting(desk(tmp_path, base, deploy=0, files=[asked], margin=0.5)).figures["results"]
    assert {one["verdict"] for one in wide} == {"shown"}


def test_the_base_answers_once_for_any_number_of_tuned_models(
    app: Application, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = forgetting(app)
    loaded = []
    load = decoder.load
    monkeypatch.setattr(decoder, "load", lambda folder, *a, **k: loaded.append(folder) or load(folder, *a, **k))
    other = desk(tmp_path, base, deploy=2, files=app.config.evaluate.general.files)
    second = forgetting(other)
    assert loaded == [other.registry.deployed().folder]
    assert first.fingerprint != second.fingerprint
    # Another margin asks nobody anything.
    again = forgetting(desk(tmp_path, base, deploy=2, files=app.config.evaluate.general.files, margin=0.1))
    assert len(loaded) == 1 and again.fingerprint != second.fingerprint


def test_questions_longer_than_the_model_has_positions_are_left_out_and_counted(tmp_path: Path) -> None:
    short = tiny_model(tmp_path / "base", max_position_embeddings=64)
    long = {**QUESTIONS[0], "id": "long", "question": "word " * 80}
    figures = forgetting(desk(tmp_path, short, files=[write(tmp_path / "sums.jsonl", [*QUESTIONS, long])])).figures
    assert figures["unread"] == {"sums": 1}
    assert {one["base"]["n"] for one in figures["results"]} == {len(QUESTIONS)}
    with pytest.raises(RagftError, match="None of 1 question of sums fits the positions"):
        forgetting(desk(tmp_path, short, files=[write(tmp_path / "sums.jsonl", [long])]))


def test_a_limit_takes_a_seeded_sample(app: Application, tmp_path: Path, base: Path) -> None:
    files = app.config.evaluate.general.files
    few, _ = tasks(desk(tmp_path, base, files=files, limit=3))
    assert [len(task.questions) for task in few] == [3, 3]
    assert (few, []) == tasks(desk(tmp_path, base, files=files, limit=3))


def test_likelihoods_are_those_of_plain_rows(base: Path) -> None:
    model, tokenizer = decoder.load(base, torch.float32, attention_name="eager"), tiny_tokenizer()
    questions = [ChoiceQuestion(row["id"], row["question"], tuple(row["choices"]), 1) for row in QUESTIONS]
    found = likelihoods_of(model, tokenizer, questions, torch.float32, lambda *_: None)
    rows = likelihood.alone(model, [tokenized(one, tokenizer) for one in questions], torch.float32)
    for values, expected in zip(found, rows, strict=True):
        assert values == pytest.approx(expected, abs=1e-3)


def test_a_choice_is_tokenized_as_it_stands_behind_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    question = ChoiceQuestion("1", "When does it end?", ("2027-04-30", "2027", "never"), 0)
    asked = tokenized(question, tokenizer)
    for choice, ids in zip(question.choices, asked.continuations, strict=True):
        assert tokenizer.decode([*asked.prompt, *ids]) == f"Question: When does it end?\nAnswer: {choice}"
        assert ids
    assert asked.prompt[0] != tokenizer.bos_token_id


def test_a_question_counts_only_where_both_models_read_it() -> None:
    question = ChoiceQuestion("1", "?", ("a", "b"), 0)
    task = Task("t", "", (question, question))
    results, unread = results_of([task], {"t": [[-1.0, -2.0], None]}, {"t": [[-2.0, -1.0], [-1.0, -2.0]]}, 0.02)
    assert unread == {"t": 1}
    assert {(one.lost, one.base.n) for one in results} == {(1, 1)}


def test_what_cannot_be_compared_is_refused_in_a_sentence(tmp_path: Path, base: Path) -> None:
    asked = write(tmp_path / "sums.jsonl", QUESTIONS)
    with pytest.raises(UsageError, match=r"evaluate\.general\.files names no file of questions"):
        forgetting(desk(tmp_path, base))
    with pytest.raises(UsageError, match=r"no file of questions '.*gone\.jsonl': set evaluate\.general\.files"):
        forgetting(desk(tmp_path, base, files=[tmp_path / "gone.jsonl"]))
    (tmp_path / "other").mkdir()
    again = write(tmp_path / "other" / "sums.jsonl", QUESTIONS)
    with pytest.raises(UsageError, match="two files 'sums'"):
        forgetting(desk(tmp_path, base, files=[asked, again]))
    with pytest.raises(UsageError, match="field 'choices' is missing"):
        forgetting(desk(tmp_path, base, files=[write(tmp_path / "q.jsonl", [{"id": 1, "question": "?"}])]))


def test_without_a_tuned_model_there_is_nothing_to_compare(tmp_path: Path, base: Path) -> None:
    asked = write(tmp_path / "sums.jsonl", QUESTIONS)
    with pytest.raises(RagftError, match="There is no tuned model"):
        forgetting(desk(tmp_path, base, deploy=None, files=[asked]))


INSTRUCTIONS = [
    {"key": 1, "prompt": "Name a fruit. No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {"key": 2, "prompt": "Shout.", "instruction_id_list": ["change_case:english_capital"], "kwargs": [{}]},
    {"key": 3, "prompt": "In German.", "instruction_id_list": ["language:response_language"], "kwargs": [{}]},
]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeEngine]:
    """The engines that were opened: the base answers in capitals, the tuned model in a list."""
    opened: list[FakeEngine] = []

    def open_engine(app: Application, folder: Path, **_: Any) -> FakeEngine:
        words = ["A ", "PEAR."] if folder == app.base else ["A pear, ", "a plum."]
        opened.append(FakeEngine(words, folder.name))
        return opened[-1]

    monkeypatch.setattr(Application, "engine", open_engine)
    return opened


def test_instructions_are_answered_by_the_engine_and_verified_by_rules(
    tmp_path: Path, base: Path, engines: list[FakeEngine]
) -> None:
    asked = write(tmp_path / "ifeval.jsonl", INSTRUCTIONS)
    made = forgetting(desk(tmp_path, base, files=[asked]), generate=True)
    (found,) = made.figures["results"]
    assert (found["task"], found["metric"], found["lost"], found["gained"]) == ("ifeval", "strict", 2, 0)
    assert made.figures["unverifiable"] == {"ifeval": 1}
    assert [engine.asked for engine in engines] == [[row["prompt"] for row in INSTRUCTIONS[:2]]] * 2
    assert not any(engine.started for engine in engines)
    again = desk(tmp_path, base, files=[asked], margin=0.5)
    forgetting(again, generate=True)
    assert len(engines) == 2, "answers are asked for once"


def test_instructions_are_left_out_aloud_without_an_engine(
    tmp_path: Path, base: Path, engines: list[FakeEngine]
) -> None:
    files = [write(tmp_path / "ifeval.jsonl", INSTRUCTIONS), write(tmp_path / "sums.jsonl", QUESTIONS)]
    app = desk(tmp_path, base, files=files)
    assert {one["task"] for one in forgetting(app).figures["results"]} == {"sums"}
    assert "ifeval.jsonl is left out" in app.reporter.said[0]
    assert not engines
    with pytest.raises(UsageError, match="files of instructions alone: add --generate"):
        forgetting(desk(tmp_path, base, files=files[:1]))


def test_too_many_failed_answers_are_no_result(
    tmp_path: Path, base: Path, engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = write(tmp_path / "ifeval.jsonl", INSTRUCTIONS)
    app = desk(tmp_path, base, files=[asked])
    failing = {"Shout.": RagftError("no room")}
    monkeypatch.setattr(Application, "engine", lambda app, folder, **_: FakeEngine(["A"], "v", failures=failing))
    with pytest.raises(RagftError, match="1 of 2 answers of the base model failed"):
        forgetting(app, generate=True)
