"""Pages in a real browser: Debian's Chromium through playwright, and axe-core, which finds what shuts people out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
REFUSED = "Failed to load resource"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is no Chromium at /usr/bin/chromium, or no playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, url: str, *, logs: str | None = REFUSED, **options: Any) -> Iterator[Any]:
    """A page of its own context at `url`; whatever it logs, raises or requests elsewhere fails the test.

    Args:
        logs: what errors of the console may hold; by default a refused request, which many tests are about. None: there
            may be none.
    """
    faults: list[str] = []
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def console(said: Any) -> None:  # is told of a breach of the Content-Security-Policy, too
        if said.type == "error" and (logs is None or logs not in said.text):
            faults.append(said.text)

    page.on("console", console)
    page.on("request", lambda asked: None if asked.url.startswith(url) else faults.append(asked.url))
    page.goto(url)
    yield page
    page.context.close()
    assert faults == [], faults


def barriers(page: Any) -> list[str]:
    """What axe-core finds on the page as it is now, one line a place: the rule, its impact, the element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    # A colour in the middle of a transition is none that a person reads.
    page.evaluate("() => Promise.all(document.getAnimations().map((it) => it.finished.catch(() => null)))")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


def barriers_in_file(browser: Any, folder: Path, page: str) -> list[str]:
    """`barriers` of a page that is one file, written into `folder`, light and dark, wide and narrow."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    found = []
    for scheme, width in (("light", 1200), ("dark", 400)):
        with opened(browser, path.as_uri(), color_scheme=scheme, viewport={"width": width, "height": 800}) as shown:
            found += [f"{scheme}, {width} px wide: {barrier}" for barrier in barriers(shown)]
    return found
