"""`serve.split` over stand-ins: which arm answers, what is recorded of it, and shadows that nobody waits for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support import promql
from support.domains import application
from support.fakes import MODEL_VERSION, FakeEngine
from support.serving import Fakes, make_application, running, until

from ragft.config import Config
from ragft.engine.base import EngineBusy, RequestRefused
from ragft.errors import UsageError
from ragft.keys import Caller
from ragft.pipeline import Pipeline
from ragft.stages.split import experiments_root
from ragft.traffic.log import Outcome, experiments, read_outcomes
from serving.app import create_app
from serving.deployment import Deployment
from serving.security import Keys, digest_of
from serving.split import Shadows

Client = TestClient[Litestar]
HALVES = {"now": {"setup": "hybrid", "share": 0.5}, "tried": {"setup": "fine-tuned", "share": 0.5}}
BESIDE = {"now": {"setup": "hybrid", "share": 1.0}, "beside": {"setup": "rag-only", "shadow": True}}
ARMS = {"hybrid": "now", "fine-tuned": "tried"}
CHAT = "/v1/chat/completions"


class Served:
    """An application with an experiment, and what was recorded of it."""

    def __init__(self, client: Client, app: Litestar) -> None:
        self.client, self.app = client, app
        self.deployment: Deployment = app.state.domains.deployments[0]
        self.root = experiments_root(self.deployment.app)

    def ask(self, text: str = "What does a ticket cost?", **fields: Any) -> Any:
        headers = fields.pop("headers", {})
        messages = fields.pop("messages", [{"role": "user", "content": text}])
        return self.client.post(CHAT, json={"model": "split", "messages": messages, **fields}, headers=headers)

    def arm(self, text: str = "What does a ticket cost?", **fields: Any) -> str:
        answer = self.ask(text, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ragft"]["arm"])

    def outcomes(self) -> list[Outcome]:
        split = self.deployment.split
        assert split is not None and split._recorder is not None
        split._recorder.flush()
        found = (one for told in experiments(self.root) for one in read_outcomes(self.root, told.id)[0])
        return sorted(found, key=lambda one: one.time)

    def metric(self, name: str, **labels: str) -> float:
        return promql.value(self.client.get("/metrics").text, name, **labels)


@pytest.fixture
def serving(tmp_path: Path, fakes: Fakes) -> Callable[..., Any]:
    """Serves an experiment with these arms; other arguments are keys of `serve`."""

    @contextmanager
    def serve(arms: dict[str, Any], keys: Keys | None = None, split: Any = None, **more: Any) -> Iterator[Served]:
        told = {"arms": arms, "decides": "refused", "window": 0, **(split or {})}
        application = make_application(tmp_path, setups=["hybrid", "fine-tuned", "rag-only"], split=told, **more)
        app = create_app(application, load=fakes.load, keys=keys or Keys({}))
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
            until(lambda: client.get("/health/ready").status_code == 200)
            yield Served(client, app)

    return serve


def test_an_answer_names_the_arm_that_answered_and_the_model_that_was_asked(serving: Any) -> None:
    with serving(HALVES) as served:
        seen = set()
        for number in range(20):
            body = served.ask(user=f"user {number}").json()
            assert body["model"] == "split"
            assert body["ragft"]["arm"] == ARMS[body["ragft"]["setup"]]
            seen.add((body["ragft"]["arm"], body["ragft"]["experiment"]))
        assert {arm for arm, _ in seen} == {"now", "tried"} and len({told for _, told in seen}) == 1
        assert "split" in [card["id"] for card in served.client.get("/v1/models").json()["data"]]
        assert served.client.get("/v1/models/split").status_code == 200


def test_setups_answer_by_their_own_names_and_take_no_part(serving: Any) -> None:
    with serving(HALVES) as served:
        for setup in ("hybrid", "rag-only"):
            body = served.ask(model=setup).json()
            assert body["model"] == body["ragft"]["setup"] == setup and "arm" not in body["ragft"]
        assert served.outcomes() == []
        # A bare text has no setup, so that there is nothing to compare.
        assert served.client.post("/v1/completions", json={"model": "split", "prompt": "a"}).status_code == 404


def test_streams_and_responses_take_part_too(serving: Any) -> None:
    with serving(HALVES) as served:
        arm = served.arm(user="ann")
        lines = served.ask(user="ann", stream=True).text.splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert {chunk["model"] for chunk in chunks} == {"split"}
        assert [chunk["ragft"]["arm"] for chunk in chunks if "ragft" in chunk] == [arm]
        body = {"model": "split", "input": "What does a ticket cost?", "user": "ann"}
        answer = served.client.post("/v1/responses", json=body).json()
        assert (answer["model"], answer["ragft"]["arm"]) == ("split", arm)
        first, second, third = served.outcomes()
        assert first.unit == second.unit == third.unit and {one.arm for one in (first, second, third)} == {arm}
        assert all(one.first_token is not None and one.answer_tokens == 3 for one in (first, second))


def test_a_user_a_conversation_and_a_first_turn_keep_to_one_arm(serving: Any) -> None:
    turns = [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And dogs?"},
    ]  # fmt: skip
    with serving(HALVES) as served:
        for number in range(8):
            name = f"one {number}"
            same = {
                "user": [{"user": name}, {"user": name, "ragft": {"conversation": "any"}}, {"safety_identifier": name}],
                "conversation": [{"ragft": {"conversation": name}}, {"ragft": {"conversation": name}}],
            }
            for kind, fields in same.items():
                arms = {served.arm(f"{kind} {place}", **one) for place, one in enumerate(fields)}
                assert len(arms) == 1, kind
        served.arm("Hello")
        served.arm(messages=turns)
        opening, follow_up = served.outcomes()[-2:]
        assert opening.unit == follow_up.unit
    assert len({one.unit for one in read_outcomes(served.root, experiments(served.root)[0].id)[0]}) == 17


def test_the_name_of_a_key_keeps_to_one_arm_unless_that_is_not_asked_for(serving: Any) -> None:
    keys = Keys({digest_of(b"k"): Caller(frozenset({"chat"}), None, id="1", name="web")})
    headers = {"authorization": "Bearer k"}
    for sticky, units in ((["user", "key"], 1), (["user", "first-turn"], 6)):
        with serving(HALVES, keys, {"sticky": sticky, "name": f"by-{len(sticky)}-{units}"}) as served:
            for number in range(6):
                fields = {"model": served.deployment.split.model.name, "headers": headers}
                assert served.ask(f"question {number}", **fields).status_code == 200
            assert len({one.unit for one in served.outcomes()[-6:]}) == units


def test_what_is_recorded_tells_how_it_went_and_nothing_of_what_was_said(serving: Any, fakes: Fakes) -> None:
    with serving(HALVES) as served:
        while served.arm(user=(user := f"zebra-{len(served.outcomes())}")) != "now":
            pass
        fakes.engine.tokens = ("I do not know.",)
        served.ask(user=user)
        fakes.engine.error = EngineBusy("full")
        served.ask(user=user)
        right, refused, failed = served.outcomes()[-3:]
        assert (right.status, right.refused, right.grounded, right.interrupted) == (200, False, "true", False)
        assert right.seconds > 0 and right.first_token > 0 and (right.prompt_tokens, right.answer_tokens) == (2, 3)
        assert (refused.refused, refused.grounded) == (True, None)
        assert (failed.status, failed.failed, failed.refused) == (503, True, None)
        text = "".join(path.read_text() for path in served.root.rglob("*.json*"))
        assert "zebra" not in text and "ticket" not in text and "euros" not in text
        assert served.metric("ragft_split_requests_total", arm="now", status="503") == 1


def test_a_declared_refusal_is_an_outcome_like_any_other(serving: Any, fakes: Fakes) -> None:
    limits = {"grounding": "refuse", "refuse_below": 0.9}
    with serving({"now": HALVES["now"], "again": HALVES["now"]}, **limits) as served:
        assert served.ask().json()["ragft"]["refused"]
        (told,) = served.outcomes()
    assert told.refused and told.status == 200 and fakes.engine.requests == []


def test_another_split_or_another_model_is_another_experiment(serving: Any, fakes: Fakes) -> None:
    with serving(HALVES) as served:
        first = served.ask().json()["ragft"]["experiment"]
    with serving(HALVES) as served:
        assert served.ask().json()["ragft"]["experiment"] == first
        fakes.engine.version = "f" * 16
        second = served.ask().json()["ragft"]["experiment"]
        fakes.engine.version = MODEL_VERSION
        assert served.ask().json()["ragft"]["experiment"] == first
    quarters = {"now": {"setup": "hybrid", "share": 0.75}, "tried": {"setup": "fine-tuned", "share": 0.25}}
    with serving(quarters) as served:
        third = served.ask().json()["ragft"]["experiment"]
        assert len({first, second, third}) == 3
        counts = {told.id: len(read_outcomes(served.root, told.id)[0]) for told in experiments(served.root)}
        served.outcomes()
    assert counts[first] == 3 and counts[second] == 1


def test_what_a_model_answered_that_came_in_between_is_nobodys(serving: Any, fakes: Fakes) -> None:
    class Replaced(FakeEngine):
        async def chat(self, request: Any) -> Any:
            completion = await super().chat(request)
            self.version = "e" * 16
            return completion

    fakes.engine = Replaced()
    with serving(HALVES) as served:
        assert served.ask().status_code == 200
        assert served.outcomes() == []


def test_a_second_server_of_a_workspace_is_refused_before_it_loads_anything(serving: Any, tmp_path: Path) -> None:
    with serving(HALVES):
        again = make_application(
            tmp_path, setups=["hybrid", "fine-tuned"], split={"arms": HALVES, "decides": "refused"}
        )
        fakes = Fakes()
        app = create_app(again, load=fakes.load, keys=Keys({}))
        with TestClient(app, base_url="http://localhost"):
            until(lambda: app.state.domains.failure is not None)
        assert isinstance(app.state.domains.failure, UsageError)
        assert "Another server records the experiments" in str(app.state.domains.failure)


def test_an_arm_may_have_a_model_of_its_own(tmp_path: Path) -> None:
    app = make_application(tmp_path)
    arms = {"now": {"setup": "hybrid", "share": 0.5}, "tried": {"setup": "hybrid", "model": "feed", "share": 0.5}}
    config = {**app.config.model_dump(), "serve": {"split": {"arms": arms}}}
    app = application(Config.model_validate(config))
    with pytest.raises(UsageError, match=r"serve\.split\.arms\.tried\.model: 'feed' names no model"):
        create_app(app, keys=Keys({}))
    folder = app.registry.root / ("feed" * 4)
    folder.mkdir(parents=True)
    manifest = {"kind": "model", "fingerprint": folder.name, "created": "", "inputs": {}, "figures": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    own, deployed = FakeEngine(version="d" * 16), FakeEngine()

    async def load() -> Pipeline:
        return Pipeline(app.config, {"tuned": deployed, f"model {folder.name}": own}, Fakes().retriever)  # type: ignore[arg-type, dict-item]

    created = create_app(app, load=load, keys=Keys({}))
    with TestClient(created, base_url="http://localhost") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        served = Served(client, created)
        for number in range(12):
            found = served.ask(user=f"{number}").json()["ragft"]
            assert found["setup"] == "hybrid"
            assert found["model_version"] == ("d" * 16 if found["arm"] == "tried" else MODEL_VERSION)
        (told,) = experiments(served.root)
    assert [arm.model_version for arm in told.arms] == [MODEL_VERSION, "d" * 16]
    assert own.requests and deployed.requests


def test_a_shadow_answers_the_same_question_and_nobody_sees_it(serving: Any, fakes: Fakes) -> None:
    with serving(BESIDE) as served:
        body = served.ask().json()
        assert body["ragft"]["arm"] == "now" and body["ragft"]["setup"] == "hybrid"
        until(lambda: len(served.outcomes()) == 2)
        shown, shadow = served.outcomes()
        assert (shown.arm, shown.shadow, shadow.arm, shadow.shadow) == ("now", False, "beside", True)
        assert shown.id == shadow.id and shown.unit == shadow.unit and shown.request_id == shadow.request_id
        assert (shadow.grounded, shadow.refused, shadow.answer_tokens) == ("true", False, 3)
        served.ask(stream=True)
        until(lambda: len(served.outcomes()) == 4)
        assert [request.options.get("stream") for request in fakes.engine.requests] == [None, None, True, None]
        # It is in no metric of what users got.
        assert served.metric("ragft_answers_total", setup="rag-only") == 0
        assert served.metric("ragft_split_requests_total", arm="beside", status="200") == 2


def test_a_shadow_that_fails_harms_nobody_and_is_an_outcome(serving: Any, fakes: Fakes) -> None:
    class Fragile(FakeEngine):
        async def chat(self, request: Any) -> Any:
            self.error = RequestRefused("too long") if self.requests else None
            return await super().chat(request)

    fakes.engine = Fragile()
    with serving(BESIDE) as served:
        assert served.ask().status_code == 200
        until(lambda: len(served.outcomes()) == 2)
        assert [one.failed for one in served.outcomes()] == [False, True]


def test_a_shadow_charges_no_key(serving: Any) -> None:
    keys = Keys({digest_of(b"k"): Caller(frozenset({"chat", "metrics"}), None, id="1", name="web", tokens=100)})
    with serving(BESIDE, keys) as served:
        headers = {"authorization": "Bearer k"}
        served.ask(headers=headers)
        until(lambda: len(served.outcomes()) == 2)
        left = served.ask(headers=headers).headers["x-ratelimit-remaining-tokens"]
    assert 93 <= int(left) <= 95  # less the tokens of one answer: a minute refills it


def test_a_shadow_ends_when_a_request_comes_and_delays_nobody(tmp_path: Path) -> None:
    class Slow(FakeEngine):
        """Answers users at once, and shadows, which have no passages here, never."""

        async def chat(self, request: Any) -> Any:
            if "Passages" not in request.messages[-1]["content"]:
                async with self._slot():
                    await asyncio.sleep(60)
            return await super().chat(request)

    fakes = Fakes(engine=Slow())
    arms = {"now": {"setup": "hybrid", "share": 1.0}, "beside": {"setup": "fine-tuned", "shadow": True}}
    split = {"arms": arms, "decides": "refused"}
    app = create_app(make_application(tmp_path, split=split), load=fakes.load, keys=Keys({}))
    with running(app) as server, httpx.Client(base_url=server.url) as client:
        body = {"model": "split", "messages": [{"role": "user", "content": "What?"}]}
        for number in range(3):
            assert client.post(CHAT, json=body).status_code == 200
            until(lambda: fakes.engine.running == 1)
            assert fakes.engine.cancelled == number
        split_of = app.state.domains.deployments[0].split
        assert split_of.shadows.dropped == 2
    assert fakes.engine.cancelled == 3  # the last one when the server stopped
    root = experiments_root(app.state.domains.deployments[0].app)
    found, _ = read_outcomes(root, experiments(root)[0].id)
    assert [one.arm for one in found] == ["now"] * 3


def test_shadows_are_dropped_first_where_there_is_no_room() -> None:
    async def scene() -> None:
        ended: list[str] = []

        def work(name: str) -> Callable[[], Any]:
            async def run() -> None:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    ended.append(name)
                    raise

            return run

        shadows = Shadows(3)
        shadows.begin()
        for name in "abc":
            shadows.offer(work(name))
        await asyncio.sleep(0)
        assert shadows.dropped == 1 and ended == []  # one request and two shadows are all that has room
        shadows.begin()
        await asyncio.sleep(0.01)
        assert ended == ["b"] and shadows.dropped == 2
        shadows.end()
        shadows.offer(work("d"))
        await asyncio.sleep(0)
        await shadows.close()
        assert ended == ["b", "a", "d"]

    asyncio.run(scene())
