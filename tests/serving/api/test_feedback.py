"""`/v1/feedback`: about an answer that the caller got, kept with its versions, and its texts if wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, until

from ragft.feedback.database import FILE
from ragft.feedback.store import Feedback, FeedbackStore
from ragft.keys import Caller, digest_of
from serving import feedback
from serving.security import Keys

Client = TestClient[Litestar]
KEYS = Keys({digest_of(name.encode()): Caller(frozenset({"chat"}), id=f"id of {name}") for name in ("one", "two")})
ASK: dict[str, Any] = {
    "model": "hybrid",
    "messages": [
        {"role": "system", "content": "House."},
        {"role": "user", "content": "I am ada@mail.example. Trains?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "What does a ticket for ada@mail.example cost?"},
    ],
}


@pytest.fixture
def opened(make_app: Callable[..., Litestar]) -> Iterator[Callable[..., Client]]:
    """Makes clients of applications that are ready, one after the other over one workspace."""
    clients: list[Client] = []

    def make(**serve: Any) -> Client:
        for client in clients:
            client.__exit__()
        clients[:] = [TestClient(make_app(KEYS, **serve), base_url="http://localhost", raise_server_exceptions=False)]
        clients[0].__enter__()
        until(lambda: clients[0].get("/health/ready").status_code == 200)
        return clients[0]

    yield make
    for client in clients:
        client.__exit__()


def call(client: Client, path: str, body: dict[str, Any], key: str = "one") -> Any:
    return client.post(path, json=body, headers={"authorization": f"Bearer {key}"})


def asked(client: Client, **options: Any) -> str:
    answer = call(client, "/v1/chat/completions", {**ASK, **options})
    assert answer.status_code == 200, answer.text
    if options.get("stream"):
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        return str(msgspec.json.decode(lines[-1])["id"])
    return str(answer.json()["id"])


def kept(tmp_path: Path) -> list[Feedback]:
    with FeedbackStore(tmp_path / "workspace") as store:
        return list(store.each())


def test_feedback_is_kept_with_what_answered_and_without_texts(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    identity = asked(client)
    assert not (tmp_path / "workspace" / FILE).exists()  # nothing is written of who only asks
    said = {"thumb": "bad", "reason": "wrong", "comment": " Write to bob@mail.example. ", "source": "a.md"}
    first = call(client, "/v1/feedback", {"id": identity, **said})
    assert (first.status_code, first.json()["replaced"], first.json()["answer_id"]) == (200, False, identity)
    (one,) = kept(tmp_path)
    assert (one.caller, one.setup, one.comment, one.source) == ("id of one", "hybrid", "Write to EMAIL.", "a.md")
    assert one.index_version and one.model_version and one.id == first.json()["id"]
    assert (one.question, one.answer, one.history, one.passages) == (None, None, (), ())
    second = call(client, "/v1/feedback", {"id": identity, "thumb": "good"})
    assert second.json() == {**first.json(), "replaced": True}
    assert [(one.thumb, one.comment) for one in kept(tmp_path)] == [("good", None)]


@pytest.mark.parametrize("stream", [False, True])
def test_texts_are_kept_where_that_is_wanted_with_personal_data_replaced(
    opened: Callable[..., Client], tmp_path: Path, stream: bool
) -> None:
    client = opened(log_questions=True)
    call(client, "/v1/feedback", {"id": asked(client, stream=stream), "thumb": "good"})
    (one,) = kept(tmp_path)
    assert one.question == "What does a ticket for EMAIL cost?" and one.answer
    assert [turn["content"] for turn in one.history] == ["I am EMAIL. Trains?", "Yes."]
    assert one.passages and all("#" in passage for passage in one.passages)
    assert b"ada@mail" not in (tmp_path / "workspace" / FILE).read_bytes()


def test_what_the_question_tells_is_personal_in_the_comment_too(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened(log_questions=True)
    question = {**ASK, "messages": [{"role": "user", "content": "My password is Hunter2x9. What does a ticket cost?"}]}
    identity = str(call(client, "/v1/chat/completions", question).json()["id"])
    call(client, "/v1/feedback", {"id": identity, "thumb": "bad", "comment": "Hunter2x9 was asked for again."})
    (one,) = kept(tmp_path)
    assert one.question and "Hunter2x9" not in one.question and "Hunter2x9" not in str(one.comment)


def test_a_response_can_be_told_of_as_well(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    identity = call(client, "/v1/responses", {"model": "hybrid", "input": "Why?"}).json()["id"]
    assert call(client, "/v1/feedback", {"id": identity, "thumb": "good"}).status_code == 200
    assert kept(tmp_path)[0].answer_id == identity


def test_an_answer_is_known_to_whoever_got_it_alone(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    identity = asked(client)
    others = call(client, "/v1/feedback", {"id": identity, "thumb": "bad"}, "two")
    nobody = call(client, "/v1/feedback", {"id": "chatcmpl-none", "thumb": "bad"})
    assert (others.status_code, nobody.status_code) == (404, 404)
    assert others.json()["error"]["message"].replace(identity, "chatcmpl-none") == nobody.json()["error"]["message"]
    assert nobody.json()["error"]["param"] == "id" and not (tmp_path / "workspace" / FILE).exists()


def test_feedback_may_be_changed_after_the_server_began_anew(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened(log_questions=True)
    identity, forgotten = asked(client), asked(client, stream=True)
    call(client, "/v1/feedback", {"id": identity, "thumb": "bad"})
    (before,) = kept(tmp_path)
    client = opened()
    if identity != forgotten:
        assert call(client, "/v1/feedback", {"id": forgotten, "thumb": "bad"}).status_code == 404
    assert call(client, "/v1/feedback", {"id": identity, "thumb": "good"}).json()["replaced"]
    (after,) = kept(tmp_path)
    assert (after.thumb, after.question, after.model_version) == ("good", before.question, before.model_version)


def test_the_oldest_answers_are_forgotten_first(
    opened: Callable[..., Client], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened(log_questions=True)
    desk = client.app.state.domains.deployments[0].feedback
    identity = asked(client)
    (remembered,) = desk._answers.values()
    monkeypatch.setattr(feedback, "MOST", 1)
    call(client, "/v1/responses", {"model": "hybrid", "input": "Why?"})
    assert call(client, "/v1/feedback", {"id": identity, "thumb": "good"}).status_code == 404
    assert len(desk._answers) == 1
    # However few there are, their texts do not fill the memory.
    monkeypatch.setattr(feedback, "MOST_CHARACTERS", 10)
    asked(client)
    assert not desk._answers and desk._characters == 0 and remembered.answered.question


FAULTY: list[tuple[dict[str, Any], str | None]] = [
    ({"thumb": "good"}, "id"),
    ({"id": "a"}, "thumb"),
    ({"id": "a", "thumb": "meh"}, "thumb"),
    ({"id": "a", "thumb": "bad", "reason": "because"}, "reason"),
    ({"id": "a", "thumb": "bad", "comment": "x" * 20_001}, "comment"),
    ({"id": "a", "thumb": "bad", "key": "x"}, "key"),
    ({"id": "a", "thumb": "good", "corrected_answer": "Better."}, None),
]


def test_what_is_no_feedback_is_refused(client: Client) -> None:
    for body, param in FAULTY:
        refused = client.post("/v1/feedback", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_full_disk_is_507_and_loses_nothing(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    identity = asked(client)
    assert call(client, "/v1/feedback", {"id": identity, "thumb": "good"}).status_code == 200
    (store,) = [client.app.state.domains.deployments[0].feedback._store]
    store._file.execute("PRAGMA max_page_count = 1")
    full = call(client, "/v1/feedback", {"id": identity, "thumb": "bad", "comment": "x" * 15_000})
    assert full.status_code == 507 and "not kept" in full.json()["error"]["message"]
    assert [one.thumb for one in kept(tmp_path)] == ["good"]
    store._file.execute("PRAGMA max_page_count = 1000")
    assert call(client, "/v1/feedback", {"id": identity, "thumb": "bad"}).status_code == 200


def test_a_database_that_cannot_be_read_is_503_and_answers_go_on(opened: Callable[..., Client], tmp_path: Path) -> None:
    client = opened()
    (tmp_path / "workspace").mkdir(exist_ok=True)
    with sqlite3.connect(tmp_path / "workspace" / FILE) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    identity = asked(client)
    refused = call(client, "/v1/feedback", {"id": identity, "thumb": "good"})
    assert refused.status_code == 503 and "99" not in refused.text
