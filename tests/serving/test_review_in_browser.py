"""The page of a review in Chromium, by keyboard alone; skipped as test_page_in_browser.py is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.browsers import barriers, opened
from support.reviews import ROWS, reviewing, say, write_rows
from support.serving import until

from ragft.review.review import Review
from serving.app import listen
from serving.review import create_app, make_server

pytestmark = pytest.mark.slow
NARROW = {"width": 360, "height": 740}
UNNAMED = """[...document.querySelectorAll("button, input, select, textarea")].filter(
    (it) => !(it.labels?.length || it.textContent.trim() || it.ariaLabel)).length"""
"""How many controls a screen reader could not name."""


@contextmanager
def served(review: Review, reviewer: str) -> Iterator[str]:
    """The address of a reviewer's page on a free port."""
    app = create_app(review, reviewer)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{app.state.token}/"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_rows_are_decided_searched_settled_and_taken_back_by_keyboard(browser: Any, tmp_path: Path) -> None:
    with reviewing(write_rows(tmp_path / "examples.jsonl")) as (review, _):
        say(review, "Ben", 0, "reject", reason="It is old.")
        with served(review, "Anna") as url, opened(browser, url, logs=None, viewport=NARROW) as page:
            place, press = page.locator("#place"), page.keyboard.press
            assert page.locator("mark").inner_text() == "A ticket costs 12 euros."
            assert page.locator(".saying").count() == 0  # what Ben says is not seen yet
            press("a")
            place.get_by_text("1 of 3: line 2").wait_for()
            press("e")
            area = page.locator("#field-answer")
            assert area.evaluate("it => it === document.activeElement")
            area.press("Control+a")
            page.keyboard.type("At ten [1], ae")  # letters are text here, no decision
            press("Control+Enter")
            place.get_by_text("1 of 2: line 3").wait_for()
            # A row is text, whatever it holds.
            assert page.locator("#fields").inner_text().count("Who wrote the <b>guide</b>?") == 1
            press("r")
            press("Enter")
            page.get_by_role("alert").get_by_text("Give a reason").wait_for()
            press("2")
            assert page.locator("#reason").input_value() == "The source does not say so"
            press("Enter")
            place.get_by_text("1 of 1: line 4").wait_for()
            said = [(one.reviewer, one.verdict, one.reason) for one in review.store.decisions()][1:]
            assert said == [
                ("Anna", "accept", ""), ("Anna", "edit", ""), ("Anna", "reject", "The source does not say so")
            ]  # fmt: skip
            assert list(review.store.decisions())[2].edited == {"answer": "At ten [1], ae"}
            press("u")
            place.get_by_text("line 3").wait_for()
            assert review.standings()[2].said == {} and page.locator("#counts").inner_text().startswith("2 of 4")
            page.select_option("#filter", "conflicts")
            place.get_by_text("line 1").wait_for()
            assert "Ben: rejected: It is old." in page.locator("#said").inner_text()
            page.locator("#row").focus()
            press("a")
            page.locator("#empty").get_by_text("There is no conflict").wait_for()
            settled = review.standings()[0].settled
            assert settled is not None and (settled.reviewer, settled.verdict) == ("Anna", "accept")
            page.select_option("#filter", "all")
            place.get_by_text("of 4").wait_for()
            page.locator("#row").focus()
            press("/")
            page.keyboard.type("dogs")
            place.get_by_text("1 of 1: line 4").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(UNNAMED) == 0
            assert barriers(page) == []
        assert (tmp_path / "examples.jsonl").read_text().count("\n") == len(ROWS)
