"""How `make test` shares the tests among its workers."""

from __future__ import annotations

import re

from support import ROOT, TESTS
from support.workers import ENGINE, sendable, slow_first, unit_of


def test_files_that_use_the_sessions_engine_are_run_by_one_worker() -> None:
    asks = re.compile(r"\bvllm_engine: \w")
    files = {path.relative_to(ROOT).as_posix() for path in TESTS.rglob("test_*.py") if asks.search(path.read_text())}
    assert files == set(ENGINE)
    assert {unit_of(f"{file}::test_it") for file in ENGINE} == {"engine"}


def test_a_file_stays_whole_and_one_with_more_slow_tests_comes_before() -> None:
    class Item:
        def __init__(self, nodeid: str) -> None:
            self.nodeid, self.slow = nodeid, nodeid.endswith("slow")

        def get_closest_marker(self, name: str) -> bool:
            return name == "slow" and self.slow

    names = [
        "a.py::one",
        f"{ENGINE[0]}::slow",
        "b.py::slow",
        "b.py::two",
        "c.py::one",
        f"{ENGINE[1]}::slow",
        "a.py::two",
    ]
    items = [Item(name) for name in names]
    slow_first(items)  # type: ignore[arg-type]
    ordered = [
        f"{ENGINE[0]}::slow",
        f"{ENGINE[1]}::slow",
        "b.py::slow",
        "b.py::two",
        "a.py::one",
        "a.py::two",
        "c.py::one",
    ]
    assert [item.nodeid for item in items] == ordered


def test_what_a_test_said_in_no_utf_8_can_be_sent() -> None:
    report = {"sections": [("log", "caf\udce9.md")], "user": {"a": 1.5, "b": None}}
    assert sendable(report) == {"sections": [("log", "caf\\udce9.md")], "user": {"a": 1.5, "b": None}}
