"""`/admin/documents`: documents by id, what became of them, and that no request reaches another file."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.serving import Fakes, Running, make_application, running

from index.encoders.encoder import Encoder
from index.refresh.refresh import refresh
from ragft.models import resolve_encoder
from ragft.pipeline import Pipeline
from ragft.stages import uploads
from ragft.stages.application import Application
from serving.app import create_app
from serving.deployment import open_retriever
from serving.security import Keys


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    folder = tmp_path_factory.mktemp("served")
    (folder / "documents").mkdir()
    (folder / "documents" / "dogs.md").write_text("# Dogs\n\nDogs travel free.\n")
    index = {"documents": {"folder": folder / "documents"}, "search": {"mode": "lexical"}}
    made = make_application(folder, index, documents=True)
    made.encoder = Encoder(resolve_encoder("all-minilm-l6-v2"))
    return made


@pytest.fixture(scope="module")
def documents(application: Application) -> Path:
    return application.config.index.documents.folder


@pytest.fixture(scope="module")
def served(application: Application, documents: Path) -> Iterator[Running]:
    made_with = application.config.index.refresh_settings(application.config.seed, model=application.model_tokenizer)
    refresh(application.index_root, documents, application.encoder, made_with)

    async def load() -> Pipeline:
        return Fakes().pipeline(await asyncio.to_thread(open_retriever, application))

    with running(create_app(application, load=load, keys=Keys({}))) as server:
        yield server


def call(served: Running, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    answer = httpx.request(method, f"{served.url}/admin/documents{path}", timeout=60, **more)
    return answer.status_code, answer.json()


def found(served: Running, query: str) -> set[str]:
    hits = httpx.post(served.url + "/v1/retrieve", json={"query": query}).json()["hits"]
    return {hit["document_id"] for hit in hits}


@pytest.mark.medium
def test_document_waits_is_indexed_replaced_and_gone(served: Running, documents: Path) -> None:
    status, put = call(served, "PUT", "/cats-1", json={"text": "# Cats\n\nCats travel in baskets.\n"})
    assert (status, put["state"], put["document"]) == (200, "waiting", "uploads/cats-1.md")
    assert found(served, "baskets") == set()
    status, put = call(
        served, "PUT", "/cats-1", json={"text": "Cats ride in baskets.", "format": "txt", "refresh": True}
    )
    assert (status, put["state"]) == (200, "indexed")
    assert [path.name for path in (documents / "uploads").glob("cats*")] == ["cats-1.txt"]
    assert found(served, "baskets") == {"uploads/cats-1.txt"}
    assert call(served, "GET", "/cats-1")[1] == put and put in call(served, "GET", "")[1]["data"]
    assert call(served, "DELETE", "/cats-1?refresh=true") == (200, {"id": "cats-1", "deleted": True})
    assert found(served, "baskets") == set()
    assert call(served, "GET", "/cats-1")[0] == call(served, "DELETE", "/cats-1")[0] == 404


@pytest.mark.medium
def test_document_that_cannot_be_read_is_skipped_with_the_reason(served: Running) -> None:
    content = base64.b64encode(b"\x00\x01").decode()
    status, put = call(served, "PUT", "/broken", json={"base64": content, "format": "pdf", "refresh": True})
    assert (status, put["state"]) == (200, "skipped") and put["reason"]
    assert call(served, "GET", "/broken")[1]["reason"] == put["reason"]
    assert call(served, "DELETE", "/broken")[0] == 200


@pytest.mark.medium
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": "a", "format": "exe"}, "format"),
        ({"text": "a", "format": "../md"}, "format"),
        ({"text": "a", "base64": "YQ=="}, "text"),
        ({}, "text"),
        ({"base64": "%%"}, "base64"),
        ({"text": 7}, "text"),
        ({"text": "a", "path": "/etc/passwd"}, "path"),
    ],
)
def test_document_that_is_not_valid_is_400(served: Running, documents: Path, body: dict[str, Any], param: str) -> None:
    status, refused = call(served, "PUT", "/fish", json=body)
    assert (status, refused["error"]["param"]) == (400, param)
    assert not list(documents.glob("**/fish*"))


def test_document_larger_than_a_body_is_413(served: Running) -> None:
    assert call(served, "PUT", "/big", json={"text": "a" * 2_000_000})[0] == 413


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
    | st.sampled_from(["a/b", "..", "A"])
)
@example(name="../dogs")
@example(name="..%2fdogs")
@example(name="dogs.md")
@example(name="/etc/passwd")
@example(name="a\x00b")
@example(name="a\n")
@example(name="a" * 101)
def test_no_id_reaches_a_file_of_another_name(application: Application, documents: Path, name: str) -> None:
    before = {path for path in documents.glob("**/*") if path.is_file()}
    try:
        upload, names = uploads.put(application, name, "md", b"text")
    except uploads.UsageError:
        assert {path for path in documents.glob("**/*") if path.is_file()} == before
        return
    written = {path for path in documents.glob("**/*") if path.is_file()} - before
    assert written <= {documents / "uploads" / f"{name}.md", documents / "uploads" / ".lock"}
    assert names == [upload.document] == [f"uploads/{name}.md"]
    uploads.delete(application, name)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["..", "../dogs", "%2e%2e%2fdogs", "dogs.md", "a%00", "A", "-a"])
def test_such_an_id_is_refused_and_changes_nothing(served: Running, documents: Path, name: str) -> None:
    path = "/" + (name if "%" in name else quote(name, safe=""))
    for method, body in (("PUT", {"text": "x"}), ("GET", None), ("DELETE", None)):
        assert call(served, method, path, **({"json": body} if body else {}))[0] in (400, 404, 405)
    assert (documents / "dogs.md").read_text().startswith("# Dogs")


def test_without_the_setting_there_is_no_such_route(tmp_path: Path) -> None:
    with running(create_app(make_application(tmp_path), load=Fakes().load, keys=Keys({}))) as server:
        assert call(server, "GET", "")[0] == 404
