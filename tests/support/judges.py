"""A judge with known habits: a small OpenAI-compatible server, and records for it to judge."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from blake3 import blake3

from ragft.data.questions import Question
from ragft.evaluate.judges.endpoint import Reply
from ragft.evaluate.judges.plan import PreferenceRow, ScoreRow, plan
from ragft.evaluate.judges.rubric import OVERALL, Criterion
from ragft.evaluate.records import Record
from support.evaluation import question, record
from support.http import JsonHandler

_ANSWERS = re.compile(r"<answer(?: ([AB]))?>\n(.*?)\n</answer>", re.DOTALL)


def chance(*texts: str) -> float:
    """A number from 0 to 1 that depends on the texts alone."""
    return int.from_bytes(blake3("\0".join(texts).encode()).digest()[:6]) / 2**48


@dataclass
class Judge:
    """What the judge does.

    Attributes:
        quality: of an answer, from 0 to 1.
        first_bias: probability that it takes the answer shown first, whatever that is.
        longer_bias: probability that it takes the longer answer, whichever is shown first.
        says: replies with this instead, by the user's turn; None where it judges.
        status: HTTP status of every answer.
        refuses_formats: types of `response_format` that it does not know.
        fails_after: requests after which it answers with status 503.
        requests: the bodies of all requests.
    """

    quality: Callable[[str], float] = lambda answer: chance("quality", answer)
    first_bias: float = 0.0
    longer_bias: float = 0.0
    says: Callable[[str], str | None] = lambda shown: None
    status: int = 200
    refuses_formats: tuple[str, ...] = ()
    fails_after: int | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    def reply(self, shown: str) -> str:
        said = self.says(shown)
        if said is not None:
            return said
        answers = [text for _, text in _ANSWERS.findall(shown)]
        if len(answers) == 1:
            return json.dumps({"reason": "So it seems.", "score": 1 + min(4, round(4 * self.quality(answers[0])))})
        one, other = answers
        both = sorted(answers)
        if chance("first", one, other) < self.first_bias:
            preference = "A"
        elif len(one) != len(other) and chance("longer", *both) < self.longer_bias:
            preference = "A" if len(one) > len(other) else "B"
        else:
            preference = "A" if self.quality(one) > self.quality(other) else "B"
        return json.dumps({"reason": "So it seems.", "preference": preference})


@contextmanager
def serving(judge: Judge) -> Iterator[Judge]:
    """The judge behind an address on loopback, which it knows as `judge.url`."""
    lock = threading.Lock()

    class Handler(JsonHandler, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.body()
            with lock:
                judge.requests.append(body)
                judge.keys.add(self.headers.get("authorization", ""))
                count = len(judge.requests)
            form = (body.get("response_format") or {}).get("type")
            if judge.fails_after is not None and count > judge.fails_after:
                self.reply(503, {"error": {"message": "overloaded"}})
            elif judge.status != 200:
                self.reply(judge.status, {"error": {"message": "no such thing"}})
            elif form in judge.refuses_formats:
                self.reply(400, {"error": {"message": f"response_format {form} is not known"}})
            else:
                message = {"role": "assistant", "content": judge.reply(body["messages"][-1]["content"])}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                head = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
                self.reply(200, {**head, "choices": [choice]})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(count: int, documents: int = 10) -> list[Question]:
    """Questions, so many of which stand on each document that there are so many documents."""
    return [question("yes", id=f"q{n}", question=f"Is it {n}?", sources=[f"d{n % documents}.md"]) for n in range(count)]


def answered(questions: Sequence[Question], **texts: Callable[[int], str | None]) -> list[Record]:
    """The records of setups, by what each answers to the n-th question; None: an answer that failed."""
    return [
        record(text or "", question_id=asked.id, setup=setup, error=None if text is not None else "TimeoutError")
        for setup, answer in texts.items()
        for number, asked in enumerate(questions)
        for text in [answer(number)]
    ]


def judged(
    judge: Judge, questions: Sequence[Question], records: Sequence[Record], criteria: Sequence[Criterion] = (OVERALL,)
) -> tuple[list[ScoreRow], list[PreferenceRow]]:
    """What the judge says of all setups and their pairs, without a server between."""
    setups = list(dict.fromkeys(record.setup for record in records))
    made = plan(
        questions, records, criteria, setups=setups, pairs=list(itertools.combinations(setups, 2)), refusal=None,
        key_of=lambda ask: ask.key("judge", "http://here", 100),
    )  # fmt: skip

    def find(key: str) -> Reply:
        return Reply(judge.reply(made.asks[key].messages[-1]["content"]), cut_off=False)

    return made.score_rows(find), made.preference_rows(find)
