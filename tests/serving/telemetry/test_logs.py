"""The server's log: a line for each request that says how it went, and not what was asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.fakes import INDEX_VERSION, MODEL_VERSION
from support.serving import Fakes, until

from serving.telemetry.logs import logging_to_stderr

CHAT = "/v1/chat/completions"
ASK = {"model": "hybrid", "messages": [{"role": "user", "content": "What does a zebra cost?"}], "stream": True}


@pytest.fixture
def logged(make_app: Callable[..., Litestar], capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Sends requests to a ready application, and returns the lines of its log."""

    def send(*calls: Callable[[TestClient[Litestar]], Any], form: Any = "json", requests: Any = "summary") -> list[str]:
        with (
            logging_to_stderr(form, requests),
            TestClient(make_app(request_log=requests), base_url="http://localhost", raise_server_exceptions=False) as c,
        ):
            until(lambda: c.get("/health/ready").status_code == 200)
            capsys.readouterr()
            for call in calls:
                call(c)
        return capsys.readouterr().err.splitlines()

    return send


def ask(client: TestClient[Litestar]) -> Any:
    return client.post(CHAT, json=ASK, headers={"x-request-id": "mine-1", "authorization": "Bearer key-4711"})


def test_a_request_is_one_line_of_json_without_what_was_asked(logged: Callable[..., list[str]]) -> None:
    (line,) = logged(ask)
    values = json.loads(line)
    assert values["request_id"] == "mine-1"
    assert (values["route"], values["setup"], values["status"]) == (CHAT, "hybrid", 200)
    assert (values["index_version"], values["model_version"]) == (INDEX_VERSION, MODEL_VERSION)
    assert set(values["ms"]) == {"search", "prompt", "queue", "first_token", "generate", "total"}
    assert (values["prompt_tokens"], values["answer_tokens"], values["citations"]) == (2, 3, 1)
    for secret in ("zebra", "12 euros", "key-4711", "testclient", "127.0.0.1"):
        assert secret not in line


def test_contents_are_logged_where_they_are_asked_for(logged: Callable[..., list[str]]) -> None:
    (line,) = logged(ask, requests="contents")
    assert json.loads(line)["question"] == "What does a zebra cost?"
    assert json.loads(line)["answer"] == "Costs 12 euros [1]."
    assert "12 euros" in "".join(logged(ask, form="text", requests="contents"))


def test_text_is_one_line_for_people(logged: Callable[..., list[str]]) -> None:
    (line,) = logged(ask, form="text")
    assert f"POST {CHAT} hybrid: 200 in " in line and line.endswith("request mine-1")


def test_no_requests_are_logged_where_none_are_asked_for(logged: Callable[..., list[str]]) -> None:
    assert logged(ask, requests="none") == []


def test_a_line_goes_to_what_stderr_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    """While an engine loads, the usual one belongs to its processes."""
    with logging_to_stderr("json", "summary"):
        with redirect_stderr(StringIO()) as other:
            logging.getLogger("ragft.serving").error("broken: %s", "caf\udce9.md")
        assert json.loads(other.getvalue())["message"] == "broken: caf\udce9.md"
    assert capsys.readouterr().err == ""


def test_a_monitor_that_is_answered_leaves_no_line(logged: Callable[..., list[str]]) -> None:
    assert logged(lambda client: [client.get(path) for path in ("/health/live", "/health/ready", "/metrics")]) == []


def test_an_error_and_its_request_share_an_id_and_take_a_line_each(
    logged: Callable[..., list[str]], fakes: Fakes
) -> None:
    fakes.engine.error = ValueError("a bug\nover two lines")
    failed, request = (json.loads(line) for line in logged(ask))
    assert failed["request_id"] == request["request_id"] == "mine-1"
    assert "a bug" in failed["exception"] and failed["level"] == "error"
    assert (request["status"], request["reason"]) == (500, "error")
