"""`/v1/preference`: a choice between answers that the caller got, with the setups that the server knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.serving import Fakes, until

from ragft.feedback.database import FILE
from ragft.feedback.store import FeedbackStore
from ragft.feedback.votes import Vote
from ragft.keys import Caller, digest_of
from serving.security import Keys

Client = TestClient[Litestar]
KEYS = Keys({digest_of(name.encode()): Caller(frozenset({"chat"}), id=f"id of {name}") for name in ("one", "two")})


@pytest.fixture
def client(make_app: Callable[..., Litestar], fakes: Fakes) -> Iterator[Client]:
    fakes.engine.ids = (f"chatcmpl-{number}" for number in count()).__next__
    app = make_app(KEYS, log_questions=True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def call(client: Client, path: str, body: dict[str, Any], key: str = "one") -> Any:
    return client.post(path, json=body, headers={"authorization": f"Bearer {key}"})


def ask(client: Client, model: str, question: str = "What does ada@mail.example pay?", key: str = "one") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    return str(call(client, "/v1/chat/completions", body, key).json()["id"])


def kept(tmp_path: Path) -> list[Vote]:
    with FeedbackStore(tmp_path / "workspace") as store:
        return list(store.votes())


def test_a_vote_is_kept_with_setups_and_places_and_without_personal_data(client: Client, tmp_path: Path) -> None:
    answers = [ask(client, "fine-tuned"), ask(client, "hybrid")]
    body = {"answers": answers, "choice": 2, "blind": True, "comment": "See bob@mail.example."}
    told = call(client, "/v1/preference", body)
    assert told.status_code == 200
    assert told.json() == {"id": told.json()["id"], "setups": ["fine-tuned", "hybrid"], "replaced": False}
    (vote,) = kept(tmp_path)
    assert vote.best is not None and vote.best.setup == "hybrid" and vote.best.index_version
    assert (vote.caller, vote.blind, vote.question, vote.comment) == (
        "id of one", True, "What does EMAIL pay?", "See EMAIL."
    )  # fmt: skip
    assert [one.answer_id for one in vote.shown] == answers and all(one.answer for one in vote.shown)
    again = call(client, "/v1/preference", {"answers": answers[::-1], "choice": "tie", "blind": True})
    assert again.json() == {"id": vote.id, "setups": ["hybrid", "fine-tuned"], "replaced": True}
    assert [(one.choice, one.comment) for one in kept(tmp_path)] == [("tie", None)]
    assert b"ada@mail" not in (tmp_path / "workspace" / FILE).read_bytes()


def test_only_answers_that_the_key_got_count_and_only_to_one_question(client: Client, tmp_path: Path) -> None:
    mine, theirs = ask(client, "hybrid"), ask(client, "hybrid", key="two")
    other = ask(client, "fine-tuned", "And a dog?")
    for answers, status in (([mine, theirs], 404), ([mine, "chatcmpl-none"], 404), ([mine, other], 400)):
        refused = call(client, "/v1/preference", {"answers": answers, "choice": 1, "blind": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (status, "answers")
    with FeedbackStore(tmp_path / "workspace") as store:
        assert list(store.votes()) == []


def test_what_is_no_vote_is_400(client: Client) -> None:
    for changed in (
        {"choice": 3}, {"choice": 0}, {"choice": "best"}, {"choice": True}, {"blind": None}, {"answers": ["a"]},
        {"answers": ["a", "a"]}, {"answers": [str(number) for number in range(17)]}, {"setups": ["hybrid", "hybrid"]},
    ):  # fmt: skip
        refused = call(client, "/v1/preference", {"answers": ["a", "b"], "choice": 1, "blind": True, **changed})
        assert refused.status_code == 400 and refused.json()["error"]["message"].endswith("."), changed
