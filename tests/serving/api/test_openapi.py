"""`/openapi.json` and `/docs`."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

from litestar import Litestar
from litestar.testing import TestClient
from support.domains import application
from support.serving import Fakes, make_application, until

from serving.app import create_app
from serving.security import Caller, Keys, digest_of

Client = TestClient[Litestar]


def test_every_route_is_described_with_its_scope_and_its_body(client: Client) -> None:
    document = client.get("/openapi.json").json()
    operations = {
        f"{method} {path}": operation for path, own in document["paths"].items() for method, operation in own.items()
    }
    assert {
        "post /v1/chat/completions", "post /v1/completions", "post /v1/responses", "post /v1/embeddings",
        "post /v1/retrieve", "get /v1/models", "get /v1/models/{name}", "post /admin/index/refresh",
        "get /health/live", "get /openapi.json",
    } <= operations.keys()  # fmt: skip
    assert operations["post /v1/retrieve"]["security"] == [{"key": ["retrieve"]}]
    assert operations["get /health/live"]["security"] == []
    schemas = document["components"]["schemas"]
    body = operations["post /v1/chat/completions"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"messages", "structured_outputs", "ragft"} <= schemas[body["$ref"].rpartition("/")[2]]["properties"].keys()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', client.get("/openapi.json").text))
    assert named <= schemas.keys()
    assert all(operation["summary"] for operation in operations.values())
    # The one route whose request says nothing.
    writing = {name for name in operations if not name.startswith(("get ", "delete "))}
    assert {name for name in writing if "requestBody" not in operations[name]} == {"post /admin/models/rollback"}


def _query(client: Client, path: str, method: str = "get") -> dict[str, bool]:
    """The query parameters that a route is said to have, and whether each is needed."""
    parameters = client.get("/openapi.json").json()["paths"][path][method].get("parameters", [])
    return {one["name"]: one["required"] for one in parameters if one["in"] == "query"}


def test_a_query_parameter_is_said_to_be_needed_where_a_request_without_it_is_refused(client: Client) -> None:
    assert _query(client, "/v1/document") == {"id": True, "domain": False}
    assert client.get("/v1/document").status_code == 400
    assert _query(client, "/admin/drift") == {"days": False, "domain": False}
    assert _query(client, "/v1/retrieve", "post") == {}  # its body names the domain
    assert _query(client, "/v1/models") == {}  # it is about all of them


def test_the_domain_is_said_to_be_needed_where_a_server_has_several(tmp_path: Path, fakes: Fakes) -> None:
    apps = [make_application(tmp_path / name) for name in ("office", "travel")]
    named = [
        application(app.config.model_copy(update={"name": name}))
        for app, name in zip(apps, ("office", "travel"), strict=True)
    ]
    app = create_app(*named, load={"office": fakes.load, "travel": fakes.load}, keys=Keys({}))
    with TestClient(app, base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert _query(client, "/v1/document") == {"id": True, "domain": True}
        assert client.get("/v1/document?id=a.md").json()["error"]["param"] == "domain"


def test_page_shows_the_same_and_loads_nothing(client: Client) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "POST /v1/embeddings" in answer.text and "default-src 'none'" in unescape(answer.text)
    assert not re.search(r"<(script|link|img|iframe)|src=|@import|url\(", answer.text)


def test_both_need_a_key(make_app: Callable[..., Litestar]) -> None:
    keys = Keys({digest_of(b"chat"): Caller(frozenset({"chat"})), digest_of(b"find"): Caller(frozenset({"retrieve"}))})
    with TestClient(make_app(keys=keys), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        for path in ("/openapi.json", "/docs"):
            asked = {key: client.get(path, headers={"authorization": f"Bearer {key}"}) for key in ("chat", "find")}
            assert (client.get(path).status_code, asked["chat"].status_code) == (401, 200)
            assert asked["find"].status_code == 403
