"""Requests that are not as the API has them: each is a 400 that names its field, and none reaches an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient
from support.garbage import VALUES, nested
from support.serving import Fakes

from ragft.setups import SETUPS
from serving.api.bodies import decode_object
from serving.api.chat_request import read_request
from serving.api.completions import CompletionBody, read_completion
from serving.api.embeddings import EmbeddingsBody
from serving.api.responses import ResponseBody, read_response_request
from serving.api.schemas import ChatBody, check
from serving.errors import ApiError

Client = TestClient[Litestar]
DEPLOYED = {"hybrid": SETUPS["hybrid"]}
TURN = {"role": "user", "content": "Why?"}

READERS: dict[str, tuple[type[msgspec.Struct], dict[str, Any], Callable[[Mapping[str, Any]], Any]]] = {
    "chat": (ChatBody, {"messages": [TURN]}, lambda body: read_request(body, DEPLOYED)),
    "completions": (CompletionBody, {"prompt": "Why"}, lambda body: read_completion(body, DEPLOYED, 8)),
    "responses": (ResponseBody, {"input": "Why?"}, lambda body: read_response_request(body, DEPLOYED)),
    "embeddings": (EmbeddingsBody, {"input": "Why?"}, lambda body: check(body, EmbeddingsBody)),
}
ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/retrieve"]


@pytest.mark.medium
@pytest.mark.parametrize("api", READERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_of_any_field_is_taken_or_refused_by_the_fields_name(api: str, data: st.DataObject) -> None:
    kind, body, read = READERS[api]
    field = data.draw(st.sampled_from(kind.__struct_fields__))
    value = data.draw(VALUES)
    try:
        read({"model": "hybrid", **body, field: value})
    except ApiError as error:
        assert error.status == (404 if field == "model" and isinstance(value, str) else 400)
        assert (error.param or "").partition(".")[0] == field
        assert len(error.message) < 500


@pytest.mark.medium
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b'{"model": "\xff"}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "hybrid", "temperature": NaN}',
        b'{"n": ' + b"9" * 5_000 + b"}",
        b'{"temperature": 1e999}',
        b"[" * 100_000,
        b'{"model": ' + json.dumps(nested(150)).encode() + b"}",
        b'{"tools": ' + json.dumps(nested(900)).encode() + b"}",
        b"[]",
        b"null",
        b'"text"',
        b"",
        b"{",
    ],
    ids=lambda body: body[:20],
)
def test_body_that_is_no_json_object_of_sane_depth_is_400(client: Client, fakes: Fakes, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert fakes.engine.requests == fakes.engine.texts == []


@pytest.mark.parametrize("levels", [100, 101])
def test_brackets_within_brackets_are_counted_and_not_those_beside_each_other(levels: int) -> None:
    body = json.dumps({"beside": [[]] * 500, "within": nested(levels - 1)}).encode()
    if levels <= 100:
        assert decode_object(body)["within"]
    else:
        with pytest.raises(ApiError, match="nested too deeply"):
            decode_object(body)
