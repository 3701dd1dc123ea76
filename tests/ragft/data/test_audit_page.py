"""The page of an audit: findings, lengths and the map, harmless and open to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.browsers import barriers_in_file
from support.domains import Domain
from support.indexes import HashEncoder, WordTokenizer, index_of

from ragft.data.audit import audit
from ragft.data.audit.coverage import coverage_of
from ragft.data.audit.page import render_audit

ATTACK = "<script>alert('x')</script>"


@pytest.fixture
def page(domain: Domain, tmp_path: Path) -> str:
    """An audit of rows of which two are copies and one holds markup, over an index of the domain's documents."""
    rows = [
        {"question": f"When? {ATTACK}", "answer": "now", "tags": [ATTACK]},
        {"question": "How much?", "answer": "12 euros"},
        {"question": "How much?", "answer": "12 euros"},
    ]
    domain.lines("examples.jsonl", rows)
    app = domain.application()
    snapshot = index_of(tmp_path / "index", app.documents[0], encoder=HashEncoder(WordTokenizer()))
    growing = tmp_path / "growing"
    growing.mkdir()
    found = audit(app, growing, coverage=lambda sources, asked: coverage_of(snapshot, sources, asked, seed=0))
    return render_audit(found, f"desk{ATTACK}", seed=0)


def test_findings_and_the_map_are_shown_and_nothing_from_data_runs(page: str) -> None:
    assert "duplicates" in page and 'aria-label="Clusters of passages' in page
    assert "<script" not in page


@pytest.mark.slow
def test_nothing_on_the_page_shuts_anyone_out(page: str, browser: Any, tmp_path: Path) -> None:
    assert barriers_in_file(browser, tmp_path, page) == []
