"""What was administered is on disk, and no key is in anything that was written."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, until

from ragft.errors import UsageError
from ragft.keys import Caller, add_key, digest_of, new_key
from serving.security import Keys

KEYS = Keys(
    {
        digest_of(b"boss"): Caller(frozenset({"admin"}), id="0123456789ab", name="operations"),
        digest_of(b"web"): Caller(frozenset({"chat"}), id="ba9876543210"),
    }
)
BOSS = {"authorization": "Bearer boss", "x-request-id": "r1"}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.mark.medium
def test_each_admin_call_of_a_known_caller_is_a_line_with_its_result(
    make_app: Callable[..., Litestar], log: Path
) -> None:
    with TestClient(make_app(keys=KEYS, audit_log=log), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        client.get("/admin/versions", headers=BOSS)
        client.post("/admin/index/refresh", json={"documents": ["../etc/passwd"]}, headers=BOSS)
        client.post("/admin/index/refresh", content=b"{" * 3000, headers={**BOSS, "content-type": "application/json"})
        client.get("/admin/versions", headers={"authorization": "Bearer web"})
        client.get("/admin/versions", headers={"authorization": "Bearer guess"})
        client.get("/v1/models", headers={"authorization": "Bearer web"})
        # What an open page repeats all the time is a line only where it was refused.
        client.get("/admin/queue", headers=BOSS)
        client.get("/admin/errors", headers={"authorization": "Bearer web"})
    found = lines(log)
    assert [(line["caller"], line["route"], line["result"]) for line in found] == [
        ("0123456789ab", "GET /admin/versions", 200),
        ("0123456789ab", "POST /admin/index/refresh", "begun"),
        ("0123456789ab", "POST /admin/index/refresh", 400),
        ("0123456789ab", "POST /admin/index/refresh", "begun"),
        ("0123456789ab", "POST /admin/index/refresh", 400),
        ("ba9876543210", "GET /admin/versions", 403),
        ("ba9876543210", "GET /admin/errors", 403),
    ]
    assert found[1]["what"] == {"documents": ["../etc/passwd"]} and found[1]["name"] == "operations"
    assert found[3]["what"]["bytes"] == 3000 and found[0]["request_id"] == "r1"
    assert all(line["time"].endswith("+00:00") for line in found)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_what_cannot_be_recorded_is_not_done(make_app: Callable[..., Litestar], log: Path) -> None:
    with TestClient(make_app(keys=KEYS, audit_log=log), base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        log.rename(log.with_suffix(".1"))
        log.mkdir()
        # The stand-in's index cannot be refreshed: a call that reached it would not be 507.
        answer = client.post("/admin/index/refresh", json={"documents": [""]}, headers=BOSS)
        assert answer.status_code == 507 and "nothing was done" in answer.json()["error"]["message"]
        log.rmdir()
        assert client.post("/admin/index/refresh", json={"documents": [""]}, headers=BOSS).status_code == 400
    assert [line["result"] for line in lines(log)] == ["begun", 400]


def test_a_log_that_cannot_be_written_is_refused_at_the_start(make_app: Callable[..., Litestar], log: Path) -> None:
    with pytest.raises(UsageError, match=r"serve\.audit_log"):
        make_app(keys=KEYS, audit_log=log.parent / "missing" / "audit.jsonl")


def test_no_key_is_in_anything_that_is_written_or_answered(
    make_app: Callable[..., Litestar], fakes: Fakes, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str], log: Path,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    good, bad, master = new_key(), new_key(), "master-" + new_key()
    file = tmp_path / "keys"
    add_key(file, good, Caller(frozenset({"chat", "admin"}), requests=40, tokens=1000))
    file.write_text(f"{file.read_text()}chat {bad}\n{bad} chat\nchat {digest_of(b'x')} name={bad}= \n")
    app = make_app(keys=Keys.load(file, {"RAGFT_API_KEY": master}), audit_log=log, cors=["https://app.example.org"])
    ask = {"model": "hybrid", "messages": [{"role": "user", "content": "a"}]}
    answered = ""
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        for key in (good, bad, master):
            for sent in (f"Bearer {key}", f"Basic {key}", key, f"Bearer {key}x", f"Bearer a.{key}.b"):
                headers = {"authorization": sent, "origin": "https://app.example.org"}
                for stream in (False, True):
                    answer = client.post("/v1/chat/completions", json={**ask, "stream": stream}, headers=headers)
                    answered += answer.text + str(answer.headers)
                fakes.engine.error = RuntimeError("it broke")
                answered += client.post("/v1/chat/completions", json=ask, headers=headers).text
                fakes.engine.error = None
                answered += client.post("/admin/index/refresh", json={"documents": [""]}, headers=headers).text
                answered += (
                    client.get("/admin/versions", headers=headers).text + client.get("/no", headers=headers).text
                )
    out = capfd.readouterr()
    file.unlink()
    written = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "it broke" in caplog.text and digest_of(good.encode())[:12] in written
    for text in (answered, caplog.text, out.out, out.err, written):
        for key in (good, bad, master):
            assert key not in text
            assert digest_of(key.encode()) not in text  # nor what the file holds of it
