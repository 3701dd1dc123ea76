"""The page in a real browser: Chromium, a real socket, and an engine that answers what a test wants.

Skipped where there is no Chromium (Debian's package of that name), or no playwright.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from support.browsers import barriers, opened
from support.desk import desk
from support.fakes import FakeEngine
from support.serving import Fakes, Running, running

from ragft.feedback.store import Feedback, FeedbackStore
from ragft.keys import SCOPES, Caller, digest_of
from serving.security import Keys

pytestmark = pytest.mark.slow
HOSTILE = (
    "<script>document.title='run'</script> <img src=x onerror=\"document.title='run'\"> "
    "<a href=\"javascript:document.title='run'\">link</a> [click](javascript:alert(1)) "
    "<style>body{display:none}</style> <iframe src=/></iframe> <form action=/><input></form>"
)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes(FakeEngine(["A **ticket** ", "costs 12 euros ", "[1], see [7]."]))


@pytest.fixture
def served(make_app: Callable[..., Litestar]) -> Iterator[Running]:
    with running(make_app()) as server:
        yield server


@pytest.fixture
def page(browser: Any, served: Running) -> Iterator[Any]:
    """The page of an endpoint without keys; whatever it logs or requests elsewhere fails the test."""
    with opened(browser, served.url + "/") as page:
        yield page


def feedback_in(tmp_path: Path) -> list[Feedback]:
    with FeedbackStore(tmp_path / "workspace") as store:
        return list(store.each())


def ask(page: Any, question: str) -> None:
    page.locator("#setup option").first.wait_for(state="attached")
    page.fill("#question", question)
    page.keyboard.press("Enter")


def test_a_question_is_answered_and_its_source_opened(page: Any) -> None:
    ask(page, "How much is a ticket?")
    reply = page.locator(".reply")
    reply.locator(".acts").wait_for()
    assert reply.locator(".text").inner_text() == "A ticket costs 12 euros 1, see [7]."
    assert reply.locator("strong").inner_text() == "ticket"
    told = reply.locator(".about").last.inner_text()
    assert "The cited passages hold what the answer says." in told
    assert "Searched for: How much is a ticket?" in told and "It names 1 passage that it was not given." in told
    chip = reply.locator(".chip").first
    chip.focus()
    page.keyboard.press("Enter")
    source = page.locator("#source")
    source.wait_for()
    assert source.locator("h2").inner_text() == "Tickets"
    assert source.locator("mark").inner_text() == "A ticket costs 12 euros."
    assert chip.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert source.is_hidden() and chip.evaluate("chip => chip === document.activeElement")


def test_a_bad_answer_is_corrected_by_keyboard_alone(page: Any, tmp_path: Path) -> None:
    ask(page, "How much is a ticket?")
    bad, good = (page.get_by_role("button", name=f"{name} answer") for name in ("Bad", "Good"))
    bad.focus()
    page.keyboard.press("Enter")
    assert bad.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert page.locator("form.feedback").count() == 0 and bad.evaluate("it => it === document.activeElement")
    page.keyboard.press("Enter")
    # The first field has the focus; words choose in a list.
    page.keyboard.type("It is wrong")
    page.keyboard.press("Tab")
    page.keyboard.type("13 euros [1]")
    page.keyboard.press("Tab")
    page.keyboard.type("1:")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#spoken", has_text="Thank you").wait_for(state="attached")
    assert bad.get_attribute("aria-pressed") == "true" and bad.evaluate("it => it === document.activeElement")
    (said,) = feedback_in(tmp_path)
    assert (said.thumb, said.reason, said.corrected_answer) == ("bad", "wrong", "13 euros [1]")
    assert said.source is not None and said.source.startswith("tickets.md#")
    good.click()
    page.locator("button.good[aria-pressed=true]").wait_for()
    assert [(one.thumb, one.reason) for one in feedback_in(tmp_path)] == [("good", None)]


def test_feedback_that_is_not_kept_says_why_and_stays_in_the_form(page: Any, tmp_path: Path) -> None:
    ask(page, "How much is a ticket?")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_label("Anything else?").fill("It is late.")
    page.route("**/v1/feedback", lambda route: route.fulfill(
        status=507, content_type="application/json", body='{"error": {"message": "The disk is full."}}'
    ))  # fmt: skip
    page.get_by_role("button", name="Send").click()
    page.get_by_role("alert").get_by_text("The disk is full.").wait_for()
    assert page.get_by_label("Anything else?").input_value() == "It is late."
    page.unroute("**/v1/feedback")
    page.get_by_role("button", name="Send").click()
    page.locator("button.bad[aria-pressed=true]").wait_for()
    assert [one.comment for one in feedback_in(tmp_path)] == ["It is late."]


def test_all_setups_answer_side_by_side_and_the_chat_is_kept(page: Any) -> None:
    page.locator("#setup option").nth(1).wait_for(state="attached")
    page.check("#compare")
    ask(page, "And a dog?")
    page.locator(".acts").nth(1).wait_for()
    assert page.locator(".reply header").all_inner_texts() == ["hybrid", "fine-tuned"]
    page.reload()
    page.click("#earlier summary")
    page.get_by_role("button", name="And a dog?").click()
    assert page.locator(".reply").count() == 2


def test_an_answer_is_stopped_in_the_middle(page: Any, fakes: Fakes) -> None:
    fakes.engine.tokens, fakes.engine.pause = ["word "] * 500, 0.05
    ask(page, "Tell me all")
    page.get_by_text("word word").wait_for()
    page.click("#stop")
    page.get_by_text("Stopped.").wait_for()
    assert page.locator(".reply .text").inner_text().startswith("word") and page.is_enabled("#send")
    assert fakes.engine.cancelled == 1


def test_nothing_hostile_runs_or_shows(browser: Any, served: Running, fakes: Fakes) -> None:
    fakes.engine.tokens = [HOSTILE, " [1]"]
    # The sanitizer parses the styles in a document that is never shown, where the policy stops them already.
    with opened(browser, served.url + "/", logs="Applying inline style") as page:
        ask(page, HOSTILE)
        page.locator(".acts").wait_for()
        assert page.title() == "trains"
        assert page.locator(".reply :is(script, img, style, iframe, form, input)").count() == 0
        assert page.locator('.reply a[href^="javascript"]').count() == 0
        assert page.locator(".question p").inner_text() == HOSTILE and page.locator("#question").is_visible()


def test_an_error_in_the_stream_keeps_what_had_come(page: Any, fakes: Fakes) -> None:
    fakes.engine.error, fakes.engine.fails_after = RuntimeError("secret"), 2
    ask(page, "How much?")
    page.locator(".fault").wait_for()
    text = page.locator(".reply").inner_text()
    assert "A ticket" in text and "secret" not in text
    fakes.engine.error = None
    page.get_by_role("button", name="Retry").click()
    page.locator(".reply").get_by_text("see [7].").wait_for()


def test_a_key_opens_a_session_and_logging_out_ends_it(browser: Any, make_app: Callable[..., Litestar]) -> None:
    keys = Keys({digest_of(b"secret"): Caller(SCOPES, None, id="desk")})
    with running(make_app(keys)) as server, opened(browser, server.url + "/") as page:
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.get_by_text("This API key is not known here.").wait_for()
        page.fill("#key", "secret")
        page.keyboard.press("Enter")
        ask(page, "How much?")
        page.locator(".acts").wait_for()
        assert "secret" not in page.evaluate("() => document.cookie + JSON.stringify(localStorage)")
        page.click("#logout")
        page.locator("#login[open]").wait_for()


def test_the_search_shows_passages_and_their_scores(page: Any) -> None:
    page.click("[data-view=search]")
    page.fill("#query", "ticket")
    page.keyboard.press("Enter")
    page.locator("#hits li").nth(1).wait_for()
    first = page.locator("#hits li").first.inner_text()
    assert "A ticket costs 12 euros." in first and "cosine 0.5" in first


def test_an_operator_sees_what_serves_and_others_do_not(
    browser: Any, served: Running, make_app: Callable[..., Litestar]
) -> None:
    with opened(browser, served.url + "/") as page:
        ask(page, "How much?")
        page.locator(".acts").wait_for()
        page.get_by_role("button", name="Operate").click()
        page.locator("#serving dd").get_by_text("hybrid, fine-tuned").wait_for()
        assert "fedcba9876543210" in page.locator("#serving").inner_text()
        page.locator(".chart").nth(2).wait_for()
        page.get_by_role("button", name="What would a refresh change?").click()
        page.locator("#operated p").wait_for()
        page.get_by_role("button", name="Do people ask something else now?").click()
        page.locator("#drift").get_by_text("There are too few questions to tell").wait_for()
    keys = Keys({digest_of(b"secret"): Caller(frozenset({"chat"}), None, id="guest")})
    with running(make_app(keys)) as server, opened(browser, server.url + "/") as page:
        page.fill("#key", "secret")
        page.keyboard.press("Enter")
        ask(page, "How much?")
        page.locator(".acts").wait_for()
        assert page.locator("[data-view=operate]").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen(browser: Any, served: Running, scheme: str) -> None:
    with opened(browser, served.url + "/", viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        ask(page, "long" * 200)
        page.locator(".acts").wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360


def test_without_javascript_a_form_answers(browser: Any, served: Running) -> None:
    with opened(browser, served.url + "/", java_script_enabled=False) as page:
        page.fill("noscript input[name=question]", "How much is a ticket?")
        page.locator("noscript button").last.click()
        page.get_by_text("costs 12 euros [1], see [7].").wait_for()
        assert "A ticket costs 12 euros." in page.locator("ol").inner_text()


# --- the blind choice, the search and the operator's view, over one endpoint that has all of it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Fakes, Path]]:
    folder = tmp_path_factory.mktemp("desk")
    with desk(folder) as (server, fakes):
        yield server, fakes, folder


@pytest.fixture
def view(browser: Any, whole: tuple[Running, Fakes, Path]) -> Iterator[Any]:
    with opened(browser, whole[0].url + "/") as page:
        yield page


def test_a_blind_choice_hides_what_gives_a_setup_away_until_it_is_made(
    view: Any, whole: tuple[Running, Fakes, Path]
) -> None:
    view.locator("#setup option").nth(2).wait_for(state="attached")
    view.check("#blind")
    assert view.is_checked("#compare")
    ask(view, "How much is a ticket?")
    vote = view.get_by_role("group", name="Which answer is the best?")
    vote.wait_for()
    replies = view.locator(".turn .columns")
    hidden = replies.evaluate("it => it.outerHTML") + vote.inner_text()
    assert not any(word in hidden for word in ("hybrid", "rag-only", "fine-tuned", "0123456789abcdef", "--c", "chip"))
    # Marks of citations would tell who retrieves.
    assert view.locator(".reply .text").all_inner_texts() == ["A ticket costs 12 euros."] * 3
    assert view.locator(".reply header").all_inner_texts() == ["Answer 1", "Answer 2", "Answer 3"]
    assert (view.locator("#spoken").text_content() or "").startswith(
        "Answer 1: A **ticket** costs 12 euros.\nAnswer 2: "
    )
    # By keyboard alone; a refusal is told, and nothing is shown for it.
    view.route("**/v1/preference", lambda route: route.fulfill(
        status=507, content_type="application/json", body='{"error": {"message": "The disk is full."}}'
    ))  # fmt: skip
    vote.get_by_role("button", name="Answer 2").focus()
    view.keyboard.press("Enter")
    vote.get_by_role("alert").get_by_text("The disk is full.").wait_for()
    assert view.locator(".reply header").first.inner_text() == "Answer 1"
    view.unroute("**/v1/preference")
    vote.get_by_role("button", name="Answer 2").focus()
    view.keyboard.press("Enter")
    view.locator(".vote", has_text="You chose: ").wait_for()
    names = view.locator(".reply header").all_inner_texts()
    assert sorted(names) == ["fine-tuned", "hybrid", "rag-only"] and view.locator(".reply div.about").count() == 3
    with FeedbackStore(whole[2] / "workspace") as store:
        (kept,) = store.votes()
    assert ([one.setup for one in kept.shown], kept.choice, kept.blind) == (names, 2, True)


def test_columns_are_shuffled_and_each_order_comes(view: Any) -> None:
    drawn = view.evaluate("""async () => {
        const { shuffled } = await import("/web/vote.js");
        return Array.from({ length: 3000 }, () => shuffled(["a", "b", "c"]).join(""));
    }""")
    counts = {order: drawn.count(order) for order in set(drawn)}
    # 500 of each are expected, with a standard deviation of about 20.
    assert len(counts) == 6 and all(380 < count < 620 for count in counts.values())


def test_the_names_may_be_seen_without_a_choice_and_open_choices_are_kept_as_such(
    view: Any, whole: tuple[Running, Fakes, Path]
) -> None:
    view.locator("#setup option").nth(2).wait_for(state="attached")
    view.check("#blind")
    ask(view, "How much?")
    view.get_by_role("button", name="Show the names without choosing").click()
    view.locator(".vote", has_text="Nothing was chosen.").wait_for()
    assert "hybrid" in view.locator(".reply header").all_inner_texts()
    view.uncheck("#blind")
    ask(view, "And a dog?")
    view.locator(".turn").nth(1).get_by_role("button", name="All equally good").click()
    view.locator(".vote", has_text="all are equally good").wait_for()
    with FeedbackStore(whole[2] / "workspace") as store:
        last = list(store.votes())[-1]
    assert (last.choice, last.blind, [one.setup for one in last.shown]) == (
        "tie", False, ["hybrid", "rag-only", "fine-tuned"]
    )  # fmt: skip


def test_an_answer_that_failed_leaves_nothing_to_choose_or_to_hide(
    view: Any, whole: tuple[Running, Fakes, Path]
) -> None:
    view.locator("#setup option").nth(2).wait_for(state="attached")
    view.check("#blind")
    whole[1].engine.error, whole[1].engine.fails_after = RuntimeError("secret"), 1
    ask(view, "How much?")
    view.locator(".reply .fault").nth(2).wait_for()
    whole[1].engine.error, whole[1].engine.fails_after = None, None
    assert view.locator(".vote").count() == 0 and "hybrid" in view.locator(".reply header").all_inner_texts()


def test_the_search_is_narrowed_and_says_why_a_passage_ranks_where_it_does(view: Any) -> None:
    view.click("[data-view=search]")
    view.fill("#query", "What do tickets cost?")
    view.keyboard.press("Enter")
    ticket = view.locator("#hits > li", has_text="two tickets cost 20")
    ticket.wait_for()
    assert ticket.locator("mark").all_inner_texts() == ["Tickets", "ticket", "costs", "tickets", "cost"]
    assert ticket.locator("img").count() == 0 and view.title() == "trains"
    summary = ticket.locator("summary")
    summary.focus()
    view.keyboard.press("Enter")
    told = ticket.locator(".why li").all_inner_texts()
    assert "by vectors (cosine" in told[0] and "/ (60 + " in told[1] and told[2].startswith("Together 0.0")
    assert "Words of the query in it: " in told[3] and "costs / cost (" in told[3]
    view.fill("#condition input[name=field]", "year")
    view.select_option("#condition select", ">=")
    view.fill("#condition input[name=value]", "2024")
    view.keyboard.press("Enter")
    view.locator("#hits > li", has_text="Dogs need").wait_for(state="detached")
    ticket.get_by_role("button", name="Only where product is rail").click()
    view.locator("#hits > li", has_text="Trains leave").wait_for(state="detached")
    assert view.locator("#hits > li").count() == 1
    view.get_by_role("button", name="Remove the condition year>=2024").click()
    view.locator("#hits > li", has_text="Dogs need").wait_for()
    ticket.locator(".open").click()
    assert view.locator("#source mark").first.inner_text() == "Tickets"
    view.get_by_role("button", name="Read the document").click()
    view.locator("#source .chunk.cited").first.wait_for()


def test_an_operator_sees_golden_questions_evaluation_queue_and_errors(
    browser: Any, view: Any, whole: tuple[Running, Fakes, Path]
) -> None:
    httpx.post(f"{whole[0].url}/v1/retrieve", json={"query": " "})
    view.get_by_role("button", name="Operate").click()
    golden = view.locator("#golden")
    golden.locator("td").first.wait_for()
    told = golden.inner_text()
    assert "of 2 find their sources within the first 3 passages" in told and "not in 50" in told
    assert golden.locator("img").count() == 0 and "<img" in told
    assert "0 running (up to " in view.locator("#queue").inner_text()
    view.locator("#errors td", has_text="The query is empty.").wait_for()
    assert "POST /v1/retrieve: 400" in view.locator("#errors").inner_text()
    evaluation = view.locator("#evaluation")
    evaluation.get_by_text("It is of the versions that serve now.").wait_for()
    assert "0.75" in evaluation.inner_text()
    # In its sandbox, the report has no origin and runs no script but that of our reports.
    with view.context.expect_page() as opening:
        evaluation.get_by_role("link", name="Open the report").click()
    report = opening.value
    report.get_by_role("heading", name="Which setup").wait_for()
    assert report.title() == "Report" and report.evaluate("() => self.origin") == "null"


def test_a_late_answer_about_another_domain_is_not_shown(view: Any) -> None:
    def golden(question: str) -> dict[str, Any]:
        source = {"source": "a.md", "rank": 1, "before": None}
        one = {"question": question, "found": True, "sources": [source]}
        return {"questions": [one], "k": 3, "looked_to": 50, "left_out": 0, "before": None}

    nothing = {"setups": [], "models": {}, "started": 0, "available": {"snapshots": [], "models": []}}
    late: list[Any] = []
    models = {"data": [{"id": "one/hybrid"}, {"id": "two/hybrid"}]}
    view.route("**/v1/models", lambda route: route.fulfill(json=models))
    view.route("**/admin/versions?*", lambda route: route.fulfill(json=nothing))
    view.route("**/admin/golden?domain=one", lambda route: late.append(route))
    view.route("**/admin/golden?domain=two", lambda route: route.fulfill(json=golden("Of two?")))
    view.reload()
    with view.expect_request("**/admin/golden?domain=one"):
        view.get_by_role("button", name="Operate").click()
    view.select_option("#of-domain", "two")
    shown = view.locator("#golden")
    shown.get_by_text("Of two?").wait_for()
    with view.expect_response("**/admin/golden?domain=one"):
        late[0].fulfill(json=golden("Of one?"))
    view.evaluate("() => new Promise((done) => setTimeout(done, 200))")
    assert "Of two?" in shown.inner_text() and "Of one?" not in shown.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_views_fit_a_narrow_screen(browser: Any, whole: tuple[Running, Fakes, Path], scheme: str) -> None:
    with opened(browser, whole[0].url + "/", viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        page.click("[data-view=search]")
        page.fill("#query", "What do tickets cost?")
        page.keyboard.press("Enter")
        page.locator("#hits .why").first.wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360
        page.get_by_role("button", name="Operate").click()
        page.locator("#golden td").first.wait_for()
        page.locator("#evaluation td").first.wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_no_view_shuts_anyone_out(browser: Any, whole: tuple[Running, Fakes, Path], scheme: str, width: int) -> None:
    url = whole[0].url + "/"
    with opened(browser, url, viewport={"width": width, "height": 740}, color_scheme=scheme) as page:
        found = {"empty": barriers(page)}
        page.check("#compare")
        ask(page, "How much is a ticket?")
        page.get_by_role("group", name="Which answer is the best?").wait_for()
        page.get_by_role("button", name="Bad answer").first.click()
        page.locator(".chip").first.click()
        page.locator("#source mark").wait_for()
        found["answers, feedback and a source"] = barriers(page)
        page.get_by_role("button", name="Read the document").click()
        page.locator("#source .chunk.cited").first.wait_for()
        found["document"] = barriers(page)
        page.keyboard.press("Escape")
        page.click("[data-view=search]")
        page.fill("#query", "What do tickets cost?")
        page.keyboard.press("Enter")
        page.locator("#hits summary").first.click()
        found["search"] = barriers(page)
        page.get_by_role("button", name="Operate").click()
        page.locator("#golden td").first.wait_for()
        page.locator("#evaluation td").first.wait_for()
        found["operate"] = barriers(page)
    assert {view: places for view, places in found.items() if places} == {}


def test_neither_the_login_nor_the_form_without_scripts_shuts_anyone_out(
    browser: Any, make_app: Callable[..., Litestar]
) -> None:
    with running(make_app(Keys({digest_of(b"secret"): Caller(SCOPES, None, id="desk")}))) as server:
        with opened(browser, server.url + "/") as page:
            page.locator("#login[open]").wait_for()
            assert barriers(page) == []
        # What the form without scripts gets; axe needs scripts to look at it.
        with httpx.Client(base_url=server.url, headers={"origin": server.url}, follow_redirects=True) as client:
            client.post("/web/session", data={"key": "secret"})
            answer = client.post("/web/ask", data={"question": "How much?"})
        with opened(browser, "about:blank") as page:
            page.set_content(answer.text)
            assert "costs 12 euros" in page.inner_text("body") and barriers(page) == []
