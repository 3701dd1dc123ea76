"""Questions that the endpoint keeps, and `/admin/drift`, which compares them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, until

from ragft.feedback.asked import Asked, AskedStore
from ragft.feedback.database import FILE
from ragft.keys import Caller, digest_of
from serving import asked
from serving.api import drift
from serving.security import Keys

Client = TestClient[Litestar]
KEYS = Keys({
    digest_of(scope.encode()): Caller(frozenset({scope}), id=f"id of {scope}") for scope in ("chat", "admin")
})  # fmt: skip
FOLLOW_UP = [
    {"role": "user", "content": "Ada here, ada@mail.example. Trains?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And for ada@mail.example on Sundays?"},
]


@pytest.fixture
def opened(make_app: Callable[..., Litestar]) -> Iterator[Callable[..., Client]]:
    """Makes a client of an application that is ready."""
    clients: list[Client] = []

    def make(**serve: Any) -> Client:
        app = make_app(KEYS, **{"log_questions": True, **serve})
        clients.append(TestClient(app, base_url="http://localhost", raise_server_exceptions=False))
        clients[-1].__enter__()
        until(lambda: clients[-1].get("/health/ready").status_code == 200)
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__()


def ask(client: Client, messages: list[dict[str, str]] | str, **options: Any) -> Any:
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    body = {"model": "hybrid", "messages": turns, **options}
    answer = client.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer chat"})
    assert answer.status_code == 200, answer.text
    return answer


def drift_of(client: Client, query: str = "", key: str = "admin") -> Any:
    return client.get(f"/admin/drift{query}", headers={"authorization": f"Bearer {key}"})


def kept(tmp_path: Path) -> list[Asked]:
    with AskedStore(tmp_path / "workspace") as store:
        return store.sample(0, 1e12, 100, 0)[0]


def test_every_answered_question_is_kept_when_the_server_stops_with_personal_data_replaced(
    opened: Callable[..., Client], fakes: Fakes, tmp_path: Path
) -> None:
    client = opened(grounding="report")
    ask(client, FOLLOW_UP)
    ask(client, "Why?", stream=True, user="ada")
    headers = {"authorization": "Bearer chat"}
    client.post("/v1/responses", json={"model": "fine-tuned", "input": "Why?"}, headers=headers)
    form = {**headers, "sec-fetch-site": "same-origin"}
    assert client.post("/web/ask", data={"question": "Where?"}, headers=form).status_code == 200
    fakes.engine.tokens = ("I do not know.",)
    ask(client, "Who?", user="ada")
    fakes.engine.error = RuntimeError("broken")
    assert client.post(
        "/v1/chat/completions", json={"model": "hybrid", "messages": FOLLOW_UP}, headers=headers
    ).status_code == 500  # fmt: skip
    client.__exit__()
    first, streamed, response, plain, refused = kept(tmp_path)
    assert first.question == "And for EMAIL on Sundays?" and first.query is not None
    assert first.query.startswith("Ada here, EMAIL.") and "ada@mail" not in first.query
    assert (first.caller, first.setup, first.index_version) == ("id of chat", "hybrid", fakes.retriever.index_version)
    assert (first.encoder, first.scores, first.grounded) == ("fake", {"dense": 0.5, "rank": 0.5}, "true")
    assert (response.setup, response.scores, response.index_version) == ("fine-tuned", {}, None)
    assert plain.question == "Where?" and plain.query is None
    assert [one.refused for one in (first, streamed, plain, refused)] == [False, False, False, True]
    assert refused.grounded is None and len({one.unit for one in (first, streamed, response, plain)}) == 4
    assert streamed.unit == refused.unit  # of one user


def test_a_conversation_that_begins_with_an_empty_turn_is_answered_and_kept(
    opened: Callable[..., Client], tmp_path: Path
) -> None:
    client = opened()
    ask(client, [{"role": "user", "content": ""}, {"role": "assistant", "content": "Yes?"}, FOLLOW_UP[0]])
    ask(client, "Why?", user="")
    client.__exit__()
    assert len({one.unit for one in kept(tmp_path)}) == 2


def test_nothing_is_kept_unless_it_is_wanted(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened(log_questions=False)
    ask(client, "Why?")
    assert "log_questions is off" in drift_of(client).json()["verdict"]
    client.__exit__()
    assert not (tmp_path / "workspace" / FILE).exists()


def test_drift_is_told_to_admins_alone_and_again_for_some_minutes(
    opened: Callable[..., Client], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened()
    for number in range(25):
        ask(client, f"Is it {number}?")
    assert drift_of(client, key="chat").status_code == 403
    first = drift_of(client)
    assert first.status_code == 200, first.text
    assert (first.json()["asked"], first.json()["units"], first.json()["setup"]) == (25, 25, "hybrid")
    assert first.json()["drift"] is False and "nothing to compare" in first.json()["verdict"]
    ask(client, "And this?")
    assert drift_of(client).json() == first.json()
    monkeypatch.setattr(drift, "KEPT_SECONDS", -1.0)
    assert drift_of(client).json()["asked"] == 26  # what waits to be written is counted
    for query in ("?days=0", "?days=x", "?days=nan", "?days=1000"):
        assert drift_of(client, query).status_code == 400
    assert drift_of(client, "?days=1.5").json()["days"] == 1.5


def test_questions_that_cannot_be_kept_are_counted_and_answers_go_on(
    opened: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened()
    ask(client, "Why?")
    log = client.app.state.domains.deployments[0].feedback.asked
    log.flush()
    log._store._file.execute("PRAGMA max_page_count = 1")
    ask(client, "x" * 50_000)
    log.flush()
    monkeypatch.setattr(asked, "MOST_CHARACTERS", 10)
    log.close()
    log._writer = None
    ask(client, "A question without any room")
    assert log.lost == 2
    metrics = client.get("/metrics", headers={"authorization": "Bearer admin"}).text
    assert 'ragft_questions_lost_total{domain="trains"} 2.0' in metrics


def test_a_database_that_cannot_be_read_is_422_and_names_no_path(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    (tmp_path / "workspace").mkdir(exist_ok=True)
    with sqlite3.connect(tmp_path / "workspace" / FILE) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    told = drift_of(client)
    assert told.status_code == 422 and "workspace" not in told.text and "99" not in told.text
