"""`/admin/golden|queue|errors|evaluation`: what operators see, and that no question or hidden document is in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.fakes import INDEX_VERSION, MODEL_VERSION
from support.indexes import HashEncoder, WordTokenizer, index_of
from support.serving import Fakes, make_application, running, until

from index.documents.document import Document
from ragft.artifacts import build
from ragft.engine.base import RequestRefused
from ragft.keys import SCOPES, Caller, digest_of
from ragft.pipeline import Pipeline
from serving.app import create_app
from serving.security import Keys
from serving.telemetry import recent
from serving.telemetry.recent import without_quotes

Client = TestClient[Litestar]
SECRET = "Was Ada dismissed"


def chat(client: Any, **fields: Any) -> Any:
    body = {"model": "hybrid", "messages": [{"role": "user", "content": SECRET}], **fields}
    return client.post("/v1/chat/completions", json=body)


def errors(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/admin/errors").json()["data"]
    return found


def test_errors_are_told_without_what_was_asked(client: Client, fakes: Fakes) -> None:
    assert chat(client, model=SECRET).status_code == 404
    assert chat(client, response_format={"type": SECRET}).status_code == 400
    assert chat(client, ragft={"filter": {SECRET: {"newer": SECRET}}}).status_code == 400
    assert client.post("/v1/retrieve", json={"query": "a", "where": [SECRET]}).status_code == 400
    fakes.engine.error = RequestRefused(f"I will not answer {SECRET}")
    assert chat(client).status_code == 400
    fakes.engine.error = RuntimeError(SECRET)
    assert chat(client).status_code == 500
    found = errors(client)
    assert len(found) == 6 and SECRET not in json.dumps(found)
    newest, refused, *_, oldest = found
    assert (newest["status"], newest["route"], newest["method"]) == (500, "/v1/chat/completions", "POST")
    assert newest["sentence"].startswith("Something failed here") and newest["request_id"] in newest["sentence"]
    assert "its words are not kept" in refused["sentence"]
    assert oldest["sentence"] == "The model … is not deployed; deployed: hybrid, fine-tuned."


def test_an_answer_that_breaks_off_is_an_error_and_a_good_one_is_none(client: Client, fakes: Fakes) -> None:
    assert chat(client).status_code == 200 and errors(client) == []
    fakes.engine.error, fakes.engine.fails_after = RuntimeError("secret"), 1
    assert chat(client, stream=True).status_code == 200
    assert [(one["status"], one["sentence"]) for one in errors(client)] == [
        (200, "The answer failed after it had begun; the log says why.")
    ]


def test_the_same_error_again_is_counted_and_the_oldest_are_forgotten(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT", 2)
    for model in ("a", "b", "c"):
        chat(client, model=model)
    assert [(one["status"], one["times"]) for one in errors(client)] == [(404, 3)]
    client.post("/v1/retrieve", json={"query": " "})
    chat(client, temperature="hot")
    assert [(one["route"], one["times"]) for one in errors(client)] == [
        ("/v1/chat/completions", 1),
        ("/v1/retrieve", 1),
    ]


def test_failures_that_differ_by_their_ids_alone_are_one(client: Client, fakes: Fakes) -> None:
    fakes.engine.error = RuntimeError("broken")
    last = [chat(client).headers["x-request-id"] for _ in range(3)][-1]
    for value in (1.5, -7, 10**20):
        client.post("/v1/retrieve", json={"query": "a", "filter": value})
    refused, failed = errors(client)
    assert (refused["times"], failed["times"]) == (3, 3)
    assert failed["request_id"] == last and last in failed["sentence"]


@pytest.mark.parametrize(
    ("sentence", "param", "kept"),
    [
        (
            "The field 'a.b' is not valid: Invalid enum value 'it's me'.",
            "a.b",
            "The field 'a.b' is not valid: Invalid enum value …",
        ),
        ("The field 'my secret' is not supported here.", "my secret", "The field … is not supported here."),
        ('A filter is an object, not "cut off', None, "A filter is an object, not …"),
        ("The engine's key isn't known.", None, "The engine's key isn't known."),
    ],
)
def test_a_sentence_loses_what_it_quotes(sentence: str, param: str | None, kept: str) -> None:
    told = without_quotes(sentence, param)
    assert told.removesuffix(".") == kept.removesuffix(".")


def test_errors_of_a_domain_are_for_those_who_open_it() -> None:
    from serving.errors import ApiError
    from serving.telemetry.record import RequestRecord

    ring = recent.RecentErrors()
    for domain in ("travel", "office"):
        ring.note(RequestRecord("id", "GET", status=400, domain=domain), ApiError(400, f"Of {domain}."))
    assert [one["sentence"] for one in ring.of("travel")] == ["Of travel."]


def test_the_queue_tells_what_runs_and_what_waits(make_app: Callable[..., Litestar], fakes: Fakes) -> None:
    fakes.engine.pause, fakes.engine.tokens = 0.2, ["word "] * 100
    app = make_app()
    application = app.state.domains.deployments[0].app
    engine = application.config.engine.model_copy(update={"max_num_seqs": 2})
    application.config = application.config.model_copy(update={"engine": engine})
    with running(app) as server:
        empty = httpx.get(server.url + "/admin/queue").json()
        assert (empty["under_way"], empty["max_running"], empty["oldest_seconds"]) == (0, 2, 0.0)

        async def many() -> dict[str, Any]:
            async with httpx.AsyncClient(base_url=server.url) as client:
                body = {"model": "hybrid", "messages": [{"role": "user", "content": "Why?"}]}
                asking = [asyncio.create_task(client.post("/v1/chat/completions", json=body)) for _ in range(3)]
                while (found := (await client.get("/admin/queue")).json())["waiting"] < 1:
                    await asyncio.sleep(0.01)
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
                return dict(found)

        found = asyncio.run(asyncio.wait_for(many(), 30))
        assert (found["under_way"], found["running"], found["waiting"]) == (3, 2, 1)
        until(lambda: httpx.get(server.url + "/admin/queue").json()["under_way"] == 0)


@pytest.fixture
def indexed(tmp_path: Path, fakes: Fakes) -> Iterator[Callable[..., Litestar]]:
    """Makes an application over a real index of two snapshots, with golden questions."""
    golden = tmp_path / "golden.jsonl"
    lines = [
        {"id": "price", "question": "What does a ticket cost?", "sources": ["tickets.md#Prices"]},
        {"id": "dogs", "question": "Do dogs pay?", "sources": ["dogs.md", "gone.md"]},
    ]
    golden.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def make(keys: Keys | None = None, *, with_golden: bool = True, labels: tuple[str, ...] = ()) -> Litestar:
        gate = {"gate": {"questions": golden}} if with_golden else {}
        application = make_application(tmp_path, {"search": {"mode": "lexical", "top_k": 1}, "refresh": gate})
        encoder = HashEncoder(WordTokenizer())
        application.encoder = encoder  # type: ignore[assignment]
        tickets = Document.of("tickets.md", "# Tickets\n\n## Prices\n\nA ticket costs 12 euros.\n", labels=labels)
        dogs = Document.of("dogs.md", "# Dogs\n\nDogs pay nothing.\n")
        crowd = Document.of("crowd.md", "# Crowd\n\nWhat does a ticket cost? A ticket does cost what a ticket costs.\n")
        snapshot = index_of(application.index_root, [tickets, dogs], [tickets, dogs, crowd], encoder=encoder)

        async def load() -> Pipeline:
            return fakes.pipeline(application.retriever(snapshot))

        return create_app(application, load=load, keys=keys or Keys({}))

    yield make


def started(app: Litestar) -> Client:
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def ready(client: Client) -> None:
    until(lambda: client.get("/health/ready").status_code == 200)


def test_golden_questions_tell_where_their_sources_rank_and_ranked(indexed: Callable[..., Litestar]) -> None:
    with started(indexed()) as client:
        ready(client)
        found = client.get("/admin/golden").json()
        again = client.get("/admin/golden").json()
    assert found == again and found["k"] == 1 and found["before"] and found["before"] != found["index_version"]
    price, dogs = found["questions"]
    assert (price["name"], price["found"]) == ("price", False)
    assert price["sources"] == [{"source": "tickets.md#Prices", "rank": 2, "before": 1}]
    assert [one["rank"] for one in dogs["sources"]] == [1, None] and not dogs["found"]


def test_without_golden_questions_or_an_evaluation_it_says_so(indexed: Callable[..., Litestar]) -> None:
    with started(indexed(with_golden=False)) as client:
        ready(client)
        answers = [client.get(f"/admin/{path}") for path in ("golden", "evaluation", "evaluation/report")]
    assert [answer.status_code for answer in answers] == [404] * 3
    told = [answer.json()["error"]["message"] for answer in answers]
    assert "index.refresh.gate.questions" in told[0] and "ragft evaluate" in told[1] and told[1] == told[2]


def evaluated(workspace: Path, model: str, index: str | None = None, number: int = 1) -> str:
    """An evaluation of records of `hybrid` in these versions; returns its fingerprint."""
    parents = {"model": model} | ({"index": index} if index else {})
    records, _ = build(workspace / "records", "records", {"number": number}, lambda _: {}, parents=parents)

    def work(folder: Path) -> dict[str, Any]:
        (folder / "report.html").write_text("<!doctype html><title>Report</title><script>alert(1)</script>")
        return {"hybrid": {"exact_match": 0.5}}

    inputs = {"records": {"hybrid": records.fingerprint}, "number": number}
    return build(workspace / "evaluations", "evaluation", inputs, work)[0].fingerprint


def test_the_latest_evaluation_is_compared_with_what_serves(client: Client, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    made = evaluated(workspace, MODEL_VERSION, INDEX_VERSION)
    found = client.get("/admin/evaluation").json()
    assert (found["evaluation"], found["of_what_serves"]) == (made, True)
    assert found["sentence"] == "It is of the versions that serve now."
    assert found["figures"] == {"hybrid": {"exact_match": 0.5}}
    (manifest,) = (workspace / "evaluations").glob("*/manifest.json")
    manifest.write_text(manifest.read_text().replace(found["created"], "2020-01-01T00:00:00+00:00"))
    evaluated(workspace, "older", INDEX_VERSION, number=2)
    found = client.get("/admin/evaluation").json()
    assert found["of_what_serves"] is False and "hybrid was evaluated as model older over index" in found["sentence"]
    for folder in (workspace / "records").iterdir():
        (folder / "manifest.json").unlink(missing_ok=True)
    assert client.get("/admin/evaluation").json()["of_what_serves"] is None


def test_the_report_is_in_a_sandbox_that_runs_our_script_alone(client: Client, tmp_path: Path) -> None:
    evaluated(tmp_path / "workspace", MODEL_VERSION, INDEX_VERSION)
    answer = client.get("/admin/evaluation/report")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "allow-same-origin" not in policy
    assert "script-src 'sha256-" in policy and "connect-src" not in policy and "frame-ancestors 'none'" in policy


def test_a_key_that_does_not_open_all_documents_reads_no_evaluation_and_no_golden_questions(
    indexed: Callable[..., Litestar], tmp_path: Path
) -> None:
    keys = Keys({
        digest_of(b"some"): Caller(SCOPES, frozenset(), id="some"), digest_of(b"all"): Caller(SCOPES, None, id="all")
    })  # fmt: skip
    with started(indexed(keys, labels=("staff",))) as client:
        ready(client)
        evaluated(tmp_path / "workspace", MODEL_VERSION, INDEX_VERSION)
        for path in ("/admin/golden", "/admin/evaluation", "/admin/evaluation/report"):
            found = [
                client.get(path, headers={"authorization": f"Bearer {key}"}).status_code for key in ("some", "all")
            ]
            assert found == [403, 200]


def test_a_search_explains_itself_where_that_is_asked(indexed: Callable[..., Litestar]) -> None:
    with started(indexed()) as client:
        ready(client)
        plain = client.post("/v1/retrieve", json={"query": "ticket", "top_k": 9}).json()["hits"]
        body = {"query": "ticket", "top_k": 9, "explain": True, "where": ["document~tick*"]}
        (hit,) = client.post("/v1/retrieve", json=body).json()["hits"]
    assert len(plain) == 2 and "explanation" not in plain[0]
    told = hit["explanation"]
    assert (hit["document_id"], told["lexical"]["rank"], told["dense"], told["fused_score"]) == (
        "tickets.md",
        1,
        None,
        None,
    )
    assert [hit["text"][first:end] for first, end in told["marks"]] == ["Tickets", "ticket"]
    assert len(told["sentences"]) == 2
