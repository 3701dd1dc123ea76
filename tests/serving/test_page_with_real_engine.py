"""The page as people use it: Chromium, a real socket, a real index of files, and real vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.browsers import opened
from support.domains import application
from support.engines import SETTINGS, EngineThread
from support.serving import Running, running_with

from index.refresh.refresh import refresh
from ragft.config import Config
from ragft.feedback.store import FeedbackStore
from ragft.keys import SCOPES, Caller, digest_of
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving.app import create_app
from serving.deployment import open_retriever
from serving.security import Keys

pytestmark = pytest.mark.slow

SYSTEM = "Answer in one short sentence from the numbered passages, and copy the number of the passage: [1]."
PAGES = {
    "tickets.md": "# Tickets\n\nA ticket to Ghent costs 12 euros.\n",
    "safe.md": "---\nlabels: [staff]\n---\n# Safe\n\nThe code of the safe is 7731.\n",
}
KEYS = Keys(
    {
        digest_of(b"operator"): Caller(SCOPES, None, id="operator"),
        digest_of(b"guest"): Caller(frozenset({"chat", "retrieve"}), id="guest"),
    }
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Application:
    folder = tmp_path_factory.mktemp("ghent")
    (folder / "documents").mkdir()
    for name, text in PAGES.items():
        (folder / "documents" / name).write_text(text)
    return application(
        Config.model_validate(
            {
                "name": "ghent",
                "workspace": folder / "workspace",
                "prompt": {"system": SYSTEM},
                "engine": SETTINGS.model_copy(update={"max_tokens": 300}),
                "index": {"documents": {"folder": folder / "documents"}, "search": {"top_k": 1}},
                "serve": {"setups": ["rag-only", "prompt-only"]},
            }
        )
    )


@pytest.fixture(scope="module")
def served(made: Application, vllm_engine: EngineThread) -> Iterator[Running]:
    config = made.config
    settings = config.index.refresh_settings(config.seed, model=made.model_tokenizer)
    refresh(made.index_root, config.index.documents.folder, made.encoder, settings)

    async def load() -> Pipeline:
        retriever = await asyncio.to_thread(open_retriever, made)
        return Pipeline(config, {"base": vllm_engine.engine}, retriever)

    with running_with(vllm_engine, create_app(made, load=load, keys=KEYS)) as running:
        yield running


def log_in(page: Any, key: str) -> None:
    page.locator("#login[open]").wait_for()
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.locator("#setup option").nth(1).wait_for(state="attached")


def ask(page: Any, question: str) -> Any:
    """Sends the question, and returns the turn that it becomes."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    return page.locator(".turn").last


def index_of(turn: Any) -> str:
    """The version of the index that the answer of a turn names."""
    told: str = turn.locator(".about").last.inner_text()
    return told.partition("index ")[2].partition(" ")[0]


def test_a_visit_from_the_first_question_to_logging_out(browser: Any, served: Running, made: Application) -> None:
    documents = made.config.index.documents.folder
    with opened(browser, served.url + "/") as page:
        log_in(page, "operator")
        turn = ask(page, "What does a ticket to Ghent cost?")
        turn.locator(".acts").wait_for()
        assert "12" in turn.locator(".reply .text").inner_text()
        first = index_of(turn)
        # The mark of a citation if the model wrote one, else the list of passages: both open the passage.
        turn.locator(".chip").first.click()
        page.locator("#source", has_text="A ticket to Ghent costs 12 euros.").wait_for()
        page.keyboard.press("Escape")

        turn.get_by_role("button", name="Good answer").click()
        turn.locator("button.good[aria-pressed=true]").wait_for()
        with FeedbackStore(made.workspace) as store:
            (said,) = store.each()
        assert (said.thumb, said.setup, said.index_version) == ("good", "rag-only", first)

        page.select_option("#setup", "prompt-only")
        turn = ask(page, "Tell a very long story about a ferry, with many chapters.")
        turn.locator(".reply .text", has_text=" ").wait_for()
        page.click("#stop")
        turn.get_by_text("Stopped.").wait_for()
        assert turn.locator(".chip").count() == 0

        page.check("#compare")
        turn = ask(page, "What does a ticket to Ghent cost?")
        turn.locator(".acts").nth(1).wait_for()
        assert turn.locator(".reply header").all_inner_texts() == ["rag-only", "prompt-only"]
        page.uncheck("#compare")

        (documents / "tickets.md").write_text("# Tickets\n\nA ticket to Ghent costs 35 euros.\n")
        page.get_by_role("button", name="Operate").click()
        page.click("#refresh")
        page.locator("#snapshots li").nth(1).wait_for()
        page.get_by_role("button", name="Chat", exact=True).click()
        page.select_option("#setup", "rag-only")
        page.click("#new")
        turn = ask(page, "What does a ticket to Ghent cost?")
        turn.locator(".acts").wait_for()
        assert "35" in turn.locator(".reply .text").inner_text() and index_of(turn) not in ("", first)
        page.click("#logout")
        page.locator("#login[open]").wait_for()


def test_a_restricted_document_is_shown_to_whom_it_is_for_alone(browser: Any, served: Running) -> None:
    seen = {}
    for key in ("operator", "guest"):
        with opened(browser, served.url + "/") as page:
            log_in(page, key)
            turn = ask(page, "What is the code of the safe?")
            turn.locator(".acts").wait_for()
            page.click("[data-view=search]")
            page.fill("#query", "code of the safe")
            page.keyboard.press("Enter")
            page.locator("#hits li").first.wait_for()
            seen[key] = page.content() + page.evaluate("() => JSON.stringify(localStorage)")
    assert "7731" in seen["operator"] and "7731" not in seen["guest"] and "safe.md" not in seen["guest"]
