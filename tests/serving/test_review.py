"""The page of a review: open to whoever has its address, on which opinions stay independent, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.reviews import reviewing, say, write_rows

from ragft.database import DatabaseFull
from ragft.review.review import Review
from serving.review import create_app

OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Review]:
    with reviewing(write_rows(tmp_path / "examples.jsonl")) as (opened, _):
        yield opened


class Page:
    """A client of one reviewer's page."""

    def __init__(self, app: Litestar) -> None:
        self.client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        self.home = f"/{app.state.token}"

    def get(self, path: str) -> Any:
        return self.client.get(f"{self.home}/{path}")

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"{self.home}/{path}", json=body, headers=OURS)


def test_the_page_loads_from_here_alone_and_nobody_without_its_address_reads_or_writes(review: Review) -> None:
    page = Page(create_app(review, "Anna"))
    shown = page.get("")
    assert shown.status_code == 200 and "Anna" in shown.text and "examples.jsonl" in shown.text
    policy = shown.headers["content-security-policy"]
    assert (
        "default-src 'none'" in policy and "unsafe" not in policy and shown.headers["referrer-policy"] == "no-referrer"
    )
    assert "style=" not in shown.text and "http:" not in shown.text and "https:" not in shown.text
    for name in ("review.js", "review.css", "api.js", "element.js"):
        assert page.get(f"file/{name}").status_code == 200
    for name in ("app.js", "page.html", "..%2fpage.html"):
        assert page.get(f"file/{name}").status_code == 404
    key, body = review.items[0].key, {"row": review.items[0].key, "verdict": "accept"}
    for home in ("", "/guess", page.home[:-1], page.home + "x"):
        for path in ("", "/board", f"/rows/{key}", "/file/review.js"):
            assert page.client.get(home + path).status_code == 404
        assert page.client.post(f"{home}/decisions", json=body, headers=OURS).status_code in (404, 405)
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "http://other.example"}):
        assert page.client.post(f"{page.home}/decisions", json=body, headers=headers).status_code == 403
        assert page.client.post(f"{page.home}/undo", json={}, headers=headers).status_code == 403
    assert list(review.store.decisions()) == []
    assert Page(create_app(review, "Anna")).home != page.home


@pytest.mark.medium
def test_what_is_decided_is_kept_and_taken_back(review: Review) -> None:
    page, key = Page(create_app(review, "Anna")), review.items[0].key
    told = page.post("decisions", row=key, verdict="edit", fields={"answer": "13 euros [1]"}).json()
    assert (told["row"]["mine"], told["decided"], told["all"], told["conflicts"]) == ("edit", 1, 4, 0)
    assert page.get(f"rows/{key}").json()["decision"]["edited"] == {"answer": "13 euros [1]"}
    assert [one.reviewer for one in review.store.decisions()] == ["Anna"]
    assert page.post("undo").json()["row"]["mine"] is None
    assert page.post("undo").json()["error"]["message"] == "There is nothing to take back."
    assert [one["mine"] for one in page.get("board").json()["rows"]] == [None] * 4


def test_what_is_no_decision_is_told_and_not_kept(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    page, key = Page(create_app(review, "Anna")), review.items[0].key
    for body, status in (
        ({"row": key, "verdict": "reject"}, 400), ({"row": key, "verdict": "maybe"}, 400), ({"row": "x"}, 400),
        ({"row": "x", "verdict": "accept"}, 400), ({"row": key, "verdict": "accept", "reviewer": "Ben"}, 400),
    ):  # fmt: skip
        answer = page.post("decisions", **body)
        assert answer.status_code == status and answer.json()["error"]["message"]
    assert page.get("rows/x").status_code == 404

    def full(_: object) -> None:
        raise DatabaseFull("There is no room on the disk: free some space.")

    monkeypatch.setattr(review.store, "add", full)
    answer = page.post("decisions", row=key, verdict="accept")
    assert answer.status_code == 507 and "no room" in answer.json()["error"]["message"]
    assert list(review.store.decisions()) == []


def test_others_are_seen_after_the_own_decision_or_to_settle(review: Review) -> None:
    key = review.items[0].key
    say(review, "Ben", 0, "reject", reason="It is old.")
    say(review, "Cleo", 0, "accept")
    page = Page(create_app(review, "Anna"))
    assert page.get(f"rows/{key}").json()["others"] == []
    settling = page.get(f"rows/{key}?settling=true").json()["others"]
    assert [(one["reviewer"], one["verdict"]) for one in settling] == [("Ben", "reject"), ("Cleo", "accept")]
    told = page.post("decisions", row=key, verdict="reject", reason="As Ben says.", settles=True).json()
    assert (told["conflicts"], told["row"]["settled"], told["row"]["mine"]) == (0, "reject", None)
    page.post("decisions", row=key, verdict="accept")
    assert len(page.get(f"rows/{key}").json()["others"]) == 3
