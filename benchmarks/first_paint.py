"""How soon the page is seen, and how much of it is sent: first paint from loopback in Chromium.

    python benchmarks/first_paint.py [--visits 20] [--width 1200]

The application is the real one over an engine that answers at once. Each visit has a browser context of its own, so
that nothing is cached; the last figures are of a visit that had been there before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]  # tests has an `index`, too

from support.browsers import chromium
from support.fakes import FakeEngine
from support.serving import Fakes, make_application, running

from serving.app import create_app
from serving.security import Keys

PAINTED = """() => new Promise((told) => new PerformanceObserver((list) => {
    const first = list.getEntriesByName("first-contentful-paint")[0]
    if (first) told(first.startTime)
}).observe({type: "paint", buffered: true}))"""
SENT = """() => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""


def visit(context: Any, url: str) -> tuple[float, float]:
    """Milliseconds from the start of the navigation to the first contentful paint, and bytes that were sent."""
    page = context.new_page()
    page.goto(url, wait_until="networkidle")
    figures = page.evaluate(PAINTED), page.evaluate(SENT)
    page.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=20, help="how often the page is opened")
    parser.add_argument("--width", type=int, default=1200, help="of the window, in pixels")
    arguments = parser.parse_args()
    size = {"width": arguments.width, "height": 800}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        app = create_app(make_application(Path(folder)), load=Fakes(FakeEngine()).load, keys=Keys.load(None, {}))
        with running(app) as served:
            report(browser, served.url, size, arguments.visits)


def report(browser: Any, url: str, size: dict[str, int], visits: int) -> None:
    """Visits the page as often with nothing cached as with everything, and prints what that took."""
    visit(browser.new_context(viewport=size), url)  # the browser's own first page is slow
    times, sent = [], 0.0
    for _ in range(visits):
        context = browser.new_context(viewport=size)
        time, sent = visit(context, url)
        times.append(time)
        context.close()
    context = browser.new_context(viewport=size)
    again = [visit(context, url) for _ in range(visits + 1)][1:]
    print(f"first paint, nothing cached: {statistics.median(times):.0f} ms (median), {max(times):.0f} ms (slowest)")
    print(f"first paint, been there before: {statistics.median(time for time, _ in again):.0f} ms (median)")
    print(f"sent: {sent / 1000:.1f} kB, and {again[-1][1] / 1000:.1f} kB when been there before")


if __name__ == "__main__":
    main()
