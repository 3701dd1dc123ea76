"""Each thing is asked once, whatever happens between: killed processes, endpoints that are down or answer nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evaluation import question
from support.judges import Judge, serving

from index.durable import locked
from ragft.errors import RagftError, UsageError
from ragft.evaluate.judges import calls
from ragft.evaluate.judges.calls import Cache, ask_all, opened_cache
from ragft.evaluate.judges.endpoint import Endpoint, Reply
from ragft.evaluate.judges.rubric import OVERALL, Ask, read_score, score_request


@pytest.fixture
def judge() -> Iterator[Judge]:
    with serving(Judge()) as made:
        yield made


def endpoint(judge: Judge, retries: int = 0) -> Endpoint:
    return Endpoint(judge.url, "judge", key_variable="JUDGE_KEY", max_tokens=50, retries=retries, timeout=20)


def asks(count: int) -> dict[str, Ask]:
    return {f"key{n}": score_request(OVERALL, question(), f"Answer {n}.", None) for n in range(count)}


def ask(path: Path, judge: Judge, count: int, concurrency: int = 1) -> tuple[dict[str, str], list[Reply | None]]:
    """The failures, and the replies in the cache."""
    with opened_cache(path) as cache:
        failures = ask_all(asks(count), endpoint(judge), cache, concurrency=concurrency, advance=lambda *_: None)
        return failures, [cache.get(key) for key in asks(count)]


def test_replies_are_kept_and_nothing_is_asked_twice(tmp_path: Path, judge: Judge) -> None:
    failures, replies = ask(tmp_path / "calls.jsonl", judge, 6, concurrency=3)
    assert failures == {} and len(judge.requests) == 6
    assert all(reply and 1 <= read_score(reply.text, (1, 5))[0] <= 5 for reply in replies)
    assert ask(tmp_path / "calls.jsonl", judge, 8)[1][:6] == replies
    assert len(judge.requests) == 8


def test_a_judge_is_asked_at_temperature_0_for_an_object_of_the_schema(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    ask(tmp_path / "calls.jsonl", judge, 1)
    (body,) = judge.requests
    assert body["temperature"] == 0 and body["max_tokens"] == 50 and body["model"] == "judge"
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["reason", "score"]
    assert judge.keys == {"Bearer secret"}
    assert "secret" not in (tmp_path / "calls.jsonl").read_text()


def test_an_endpoint_without_schemas_is_asked_without(tmp_path: Path, judge: Judge) -> None:
    judge.refuses_formats = ("json_schema", "json_object")
    failures, _ = ask(tmp_path / "calls.jsonl", judge, 3)
    assert failures == {}
    assert ["response_format" in body for body in judge.requests] == [True, True, False, False, False]


def test_an_interrupted_run_goes_on_after_the_last_whole_reply(tmp_path: Path, judge: Judge) -> None:
    path = tmp_path / "calls.jsonl"
    ask(path, judge, 3)
    content = path.read_bytes()
    path.write_bytes(content + content[:25])  # a process that was killed while it wrote
    ask(path, judge, 5)
    assert len(judge.requests) == 5
    assert len(path.read_bytes().splitlines()) == 5 and path.read_bytes().startswith(content)


def test_a_judge_that_is_not_there_is_said_at_once(tmp_path: Path, judge: Judge) -> None:
    judge.fails_after = 0
    with pytest.raises(RagftError, match=r"does not answer.*0 replies are kept"):
        ask(tmp_path / "calls.jsonl", judge, 50, concurrency=8)
    assert len(judge.requests) == 1


def test_a_judge_that_goes_down_ends_the_run_and_what_it_said_is_kept(tmp_path: Path, judge: Judge) -> None:
    judge.fails_after = 5
    with pytest.raises(RagftError, match="5 replies are kept"):
        ask(tmp_path / "calls.jsonl", judge, 50)
    assert len(judge.requests) == 5 + calls.PATIENCE
    judge.fails_after = None
    assert ask(tmp_path / "calls.jsonl", judge, 7)[0] == {}
    assert len(judge.requests) == 5 + calls.PATIENCE + 2


def test_a_single_request_without_an_answer_is_a_failure_and_is_asked_again(tmp_path: Path, judge: Judge) -> None:
    judge.fails_after = 2
    failures, replies = ask(tmp_path / "calls.jsonl", judge, 3)
    assert list(failures) == ["key2"] and replies[2] is None


def test_requests_are_repeated_as_often_as_allowed(tmp_path: Path, judge: Judge) -> None:
    judge.fails_after = 0
    with opened_cache(tmp_path / "calls.jsonl") as cache, pytest.raises(RagftError, match="does not answer"):
        ask_all(asks(1), endpoint(judge, retries=1), cache, concurrency=1, advance=lambda *_: None)
    assert len(judge.requests) == 2


@pytest.mark.parametrize(("status", "said"), [(401, "JUDGE_KEY"), (403, "refuses the key"), (404, "'judge'")])
def test_a_wrong_key_or_model_is_said(tmp_path: Path, judge: Judge, status: int, said: str) -> None:
    judge.status = status
    with pytest.raises(UsageError, match=said):
        ask(tmp_path / "calls.jsonl", judge, 9)
    assert len(judge.requests) == 1


def test_requests_that_an_endpoint_does_not_take_do_not_make_it_down(tmp_path: Path, judge: Judge) -> None:
    judge.status = 400
    failures, _ = ask(tmp_path / "calls.jsonl", judge, 12)
    assert len(failures) == 12 and "no such thing" in failures["key0"]


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "calls.lock"),
        pytest.raises(RagftError, match="Another process"),
        opened_cache(tmp_path / "calls.jsonl"),
    ):
        pass


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with opened_cache(path) as cache:
        cache.keep("one", Reply("yes", cut_off=False))
    path.write_bytes(path.read_bytes() + b"nonsense\n")
    with pytest.raises(RagftError, match="line 2 is no reply"), opened_cache(path):
        pass


def test_replies_of_any_text_come_back(tmp_path: Path) -> None:
    texts = ["", "a\nb", "\u2028", "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), '"}{']
    with opened_cache(tmp_path / "calls.jsonl") as cache:
        for number, text in enumerate(texts):
            cache.keep(str(number), Reply(text, cut_off=number == 1))
    with opened_cache(tmp_path / "calls.jsonl") as again:
        assert isinstance(again, Cache)
        assert [again.get(str(number)) for number in range(5)] == [Reply(t, n == 1) for n, t in enumerate(texts)]
