"""Web pages of other origins: none may call, but for those that are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import ValidationError
from support.serving import until

from ragft.config.serve import ServeSection
from ragft.keys import Caller
from serving.security import Keys, digest_of

Client = TestClient[Litestar]
OURS, OTHERS = "https://app.example.org", "https://evil.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
CHAT = "/v1/chat/completions"


@pytest.fixture
def listed(make_app: Callable[..., Litestar]) -> Iterator[Client]:
    keys = Keys({digest_of(b"key"): Caller(frozenset({"chat"}))})
    with TestClient(make_app(keys=keys, cors=[OURS]), base_url="http://example.org") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def test_a_listed_origin_may_ask_first_and_read_every_answer(listed: Client) -> None:
    asked = listed.options(CHAT, headers={"origin": OURS, **PREFLIGHT})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == OURS and asked.headers["vary"] == "Origin"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    for path, key, status in (("/v1/models", "key", 200), ("/v1/models", "no", 401), ("/admin/versions", "key", 403)):
        answer = listed.get(path, headers={"origin": OURS, "authorization": f"Bearer {key}"})
        assert answer.status_code == status and answer.headers["access-control-allow-origin"] == OURS
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.medium
@pytest.mark.parametrize(
    "origin", [OTHERS, "null", f"{OURS}.evil.example", f"{OURS}:444", OURS.upper(), "http://app.example.org", "*"]
)
def test_another_origin_is_told_nothing(listed: Client, origin: str) -> None:
    for answer in (
        listed.options(CHAT, headers={"origin": origin, **PREFLIGHT}),
        listed.get("/v1/models", headers={"origin": origin, "authorization": "Bearer key"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "Origin"
    assert listed.options(CHAT, headers={"origin": origin, **PREFLIGHT}).status_code == 401


def test_without_a_list_no_origin_may_call(client: Client) -> None:
    answer = client.options(CHAT, headers={"origin": "http://localhost", **PREFLIGHT})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.org", "https://*.example.org", f"{OURS}/", "https://a b", ""]
)
def test_what_is_no_single_origin_is_refused_in_the_configuration(origin: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        ServeSection.model_validate({"cors": [origin]})
