"""`report.html`: one file that requests nothing, with a small script for searching; readable without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ragft.data.questions import Question
from ragft.evaluate.arms import with_arms
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.text import value_of
from ragft.evaluate.records import Record
from ragft.evaluate.report import charts, tables
from ragft.evaluate.report.confusions import confusions
from ragft.evaluate.report.measured import measured
from ragft.evaluate.report.overview import overview
from ragft.evaluate.report.prices import prices
from ragft.evaluate.report.questions import browser
from ragft.evaluate.rows import Row
from ragft.evaluate.score import Comparison
from ragft.evaluate.verdict import percent
from ragft.page import render_page
from ragft.setups import SETUPS

_HERE = Path(__file__).parent
SCRIPT = _HERE / "report.js"


def render_report(
    comparison: Comparison,
    records: Sequence[Record],
    questions: Sequence[Question],
    *,
    name: str,
    subtitle: str,
    scores: Sequence[Row] = (),
    findings: Iterable[Any] = (),
    rules: Rules | None = None,
) -> str:
    """The comparison as one HTML page.

    Args:
        scores: the rows of `score`; without them the page shows no questions.
        findings: why answers are wrong: `{question_id, setup, cause, why}`, as mappings or dataclasses.
        rules: take the exact value out of an answer, to compare it with the gold answer word by word.
    """
    shown = with_arms(comparison)
    return render_page(
        _HERE / "report.html.j2",
        {"percent": percent},
        script=SCRIPT,
        name=name,
        subtitle=subtitle,
        overview=overview(comparison, records),
        verdict=comparison.verdict,
        facts=comparison.measure.title,
        setups=list(shown.setups),
        setup_class={setup: setup if setup in SETUPS else "other" for setup in shown.setups},
        arms=list(comparison.arms.get("setups", {})),
        square=tables.square(comparison),
        sections=tables.sections(shown),
        floors=tables.floors(shown),
        prompts=tables.prompts(shown),
        forests=tables.forests(shown),
        tags=tables.tags(shown, questions),
        freshness=tables.freshness(shown),
        causes=tables.causes(shown),
        scatter=charts.scatter(shown, records),
        prices=prices(comparison),
        confusions=confusions(comparison),
        browser=browser(
            shown, records, questions, scores, findings, (lambda text: value_of(text, rules)) if rules else None
        ),
        measured=measured(comparison, records, questions),
    )
