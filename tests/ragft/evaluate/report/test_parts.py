"""What the parts of a report compute: verdicts in words, differences, charts, bounds, colours."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import RULES, SETUPS, passage, question, record

from ragft.config.cost import CostSection
from ragft.evaluate.costs import costs
from ragft.evaluate.report import render_markdown, render_report
from ragft.evaluate.report.charts import LINE, apart, scatter
from ragft.evaluate.report.confusions import confusions
from ragft.evaluate.report.differences import lacking, marked
from ragft.evaluate.report.overview import Overview, overview
from ragft.evaluate.report.questions import fair_limit
from ragft.evaluate.report.tables import sections
from ragft.evaluate.score import Comparison, score
from ragft.page import STYLE

COUNT = 60


def compared(right: dict[str, int], **given: Any) -> Comparison:
    """A comparison in which each setup is right on its first so many of 60 questions."""
    asked = [question(f"4.{at}", id=f"q{at:03}", sources=(f"d{at}.md",), **given) for at in range(COUNT)]
    records = [
        record(f"Answer: {f'4.{at}' if at < count else '9.9'} · Source: none", question_id=each.id, setup=setup)
        for at, each in enumerate(asked)
        for setup, count in right.items()
    ]
    return score(asked, records, RULES, setups=list(right), seed=0, resamples=200, max_failed=0)[1]


def told(right: dict[str, int], **values: Any) -> Overview:
    return overview(replace(compared(right), **values), [])


def test_a_setup_that_leads_clearly_is_to_be_deployed() -> None:
    found = told({"rag-only": 10, "hybrid": 55})
    assert (found.state, found.setup, found.headline) == ("decided", "hybrid", "Deploy hybrid.")


def test_where_nobody_is_right_nobody_wins() -> None:
    found = told(dict.fromkeys(SETUPS, 0))
    assert found.state == "none"
    assert found.headline == "Deploy none of them: no setup answered a single question right."
    assert not any("serve.setups" in sentence for sentence in found.next)


def test_a_leader_that_does_not_beat_a_trivial_answer_is_not_deployed() -> None:
    floors = {"refusal": {"exact_match": {"mean": 0.9, "n": COUNT}}}
    found = told({"rag-only": 10, "hybrid": 55}, floors=floors)
    assert found.state == "none"
    assert "not shown to be better than always refusing" in found.headline


def test_setups_that_cannot_be_told_apart_are_both_named_with_the_questions_it_takes() -> None:
    found = told({"rag-only": 50, "hybrid": 52})
    assert found.state == "level"
    assert "cannot tell hybrid or rag-only apart" in found.headline
    assert "which needs no training" in found.headline
    assert any("ask more questions" in sentence for sentence in found.next)


def test_a_single_setup_is_not_called_the_best() -> None:
    assert told({"hybrid": 55}).headline == "Only hybrid was measured: there is nothing to compare it with."


def test_causes_say_what_fails_and_what_to_mend() -> None:
    cause = {
        "cause": "not-retrieved", "title": "not retrieved", "count": 4, "of": 60, "share": 4 / 60, "gain": 6.7,
        "mend": "raise index.search.top_k", "text": "",
    }  # fmt: skip
    other_way = {**cause, "title": "shown too much", "count": 1, "gain": 1.7, "mend": "lower index.search.top_k"}
    comparison = compared({"rag-only": 10, "hybrid": 55})
    object.__setattr__(comparison, "causes", {"hybrid": [cause, other_way]})
    found = overview(comparison, [])
    assert "4: not retrieved." in found.fails
    assert "1: shown too much." in found.fails
    assert "Raise index.search.top_k: at most +6.7 points." in found.next
    assert not any("ower index.search.top_k" in sentence for sentence in found.next)


def best_marks(comparison: Comparison, title: str) -> list[bool]:
    rows = [row for section in sections(comparison) for row in section["rows"]]
    return [cell["best"] for cell in next(row for row in rows if row["title"] == title)["cells"]]


def test_only_a_significant_lead_is_marked_best() -> None:
    assert best_marks(compared({"rag-only": 10, "hybrid": 55}), "Exact match") == [False, True]
    assert best_marks(compared({"rag-only": 50, "hybrid": 52}), "Exact match") == [False, False]


def test_never_being_out_of_date_is_no_merit_of_a_setup_that_knows_nothing() -> None:
    comparison = compared({"prompt-only": 0, "fine-tuned": 20}, stale_answers=("9.9",))
    assert comparison.setups["fine-tuned"]["stale"]["mean"] > 0
    assert best_marks(comparison, "Changed facts: stale") == [False, False]


@given(st.text(max_size=60), st.lists(st.text(max_size=30), max_size=3))
def test_marked_runs_join_to_the_answer(answer: str, golds: list[str]) -> None:
    assert "".join(text for _, text in marked(answer, golds)) == answer


def test_words_that_differ_from_the_gold_answer_are_marked_in_the_value_only() -> None:
    parts = marked("Answer: 2026-05-30 · Source: [1]", ["2026-04-30"], "2026-05-30")
    assert parts == [("", "Answer: "), ("other", "2026-05-30"), ("", " · Source: [1]")]
    assert marked("the red fox", ["the quick fox"])[1:3] == [("", " "), ("other", "red")]


def test_prose_around_a_gold_answer_is_not_marked_as_wrong() -> None:
    parts = marked("It was long ago decided that support ends in April of that year.", ["April"])
    assert ("same", "April") in parts
    assert not any(mark == "other" for mark, _ in parts)


def test_what_an_answer_lacks_is_told() -> None:
    assert lacking("support ends in May", ["ends in April", "ends in the month of April"]) == "April"


@given(st.lists(st.floats(0, 400), min_size=1, max_size=12))
def test_labels_never_overlap(places: list[float]) -> None:
    moved = sorted(apart(places, LINE, 400))
    assert all(b - a >= LINE - 1e-9 for a, b in pairwise(moved))
    assert moved[0] >= 0
    assert moved[-1] <= 400


def test_setups_at_one_place_have_labels_of_their_own() -> None:
    asked = [question("4.1", id="q1")]
    records = [record("x", setup=setup) for setup in SETUPS]
    comparison = score(asked, records, RULES, setups=SETUPS, seed=0, resamples=200, max_failed=0)[1]
    chart = scatter(comparison, records)
    assert chart is not None
    assert len({point["label_y"] for point in chart["points"]}) == 4


@given(st.lists(st.integers(0, 5000), max_size=40), st.integers(10_000, 60_000))
def test_texts_are_cut_only_where_they_exceed_the_bound(lengths: list[int], budget: int) -> None:
    limit = fair_limit(lengths, budget)
    assert (limit is None) == (sum(lengths) <= budget)
    if limit is not None:
        assert sum(min(length, limit) for length in lengths) <= budget


@pytest.mark.slow
def test_a_page_of_600_questions_and_4_setups_stays_under_3_megabytes() -> None:
    asked = [question("4.1", id=f"q{at}", sources=(f"d{at}.md",), tags=("kind",)) for at in range(600)]
    shown = tuple(passage(f"4.{at}") for at in range(5))
    records = [
        record("word " * 400, question_id=each.id, setup=setup, passages=shown if "only" not in setup else ())
        for each in asked
        for setup in SETUPS
    ]
    rows, comparison = score(asked, records, RULES, setups=SETUPS, seed=0, resamples=200, max_failed=0)
    page = render_report(comparison, records, asked, name="many", subtitle="", scores=rows, rules=RULES)
    assert len(page.encode()) < 3_000_000


def test_the_markdown_says_the_same_and_shows_no_markup_of_data() -> None:
    comparison = compared({"rag-only": 10, "hybrid": 55})
    text = render_markdown(comparison, [], [], name="<b>a|b</b>", subtitle="x")
    assert "## Deploy hybrid." in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| Exact match")]
    assert widths == [2]


def pages(comparison: Comparison) -> list[str]:
    """The page and the Markdown of a comparison."""
    html = render_report(comparison, [], [], name="x", subtitle="x")
    return [html, render_markdown(comparison, [], [], name="x", subtitle="x")]


def test_prices_are_shown_with_what_pays_when_and_only_where_there_are_rates() -> None:
    comparison = compared({"rag-only": 10, "fine-tuned": 30, "hybrid": 55})
    assert not any("What answers cost" in page for page in pages(comparison))
    records = [
        record("x", setup=setup, prompt_tokens=tokens)
        for setup, tokens in {"rag-only": 700, "fine-tuned": 100, "hybrid": 600}.items()
    ]
    rates = CostSection(prompt_tokens=2.0, answer_tokens=10.0, training_hour=6.0)
    told = costs(records, comparison.setups, comparison.pairs, rates, training_seconds=1800)
    for page in pages(replace(comparison, costs=told)):
        assert "What answers cost" in page and "1.30" in page
        assert "no better, cheaper or faster than fine-tuned or hybrid" in page
        assert "hybrid pays for its training against rag-only: from 15,000 answers on" in page
        assert "hybrid costs less than training fine-tuned anew: where documents change at least once in 3,000" in page


def test_confusions_are_shown_by_setup_and_only_where_choices_are_declared() -> None:
    comparison = compared({"rag-only": 10, "hybrid": 55})
    assert not any("Which choice was said for which" in page for page in pages(comparison))
    asked = [question(answer, id=f"q{at}", group=str(at)) for at, answer in enumerate(("yes", "yes", "no", "no"))]
    said = ("yes", "no", "no", "<b>perhaps</b>")
    made = [
        record(f"Answer: {one} · Source: none", question_id=each.id, setup="hybrid")
        for each, one in zip(asked, said, strict=True)
    ]
    rules = replace(RULES, choices=("yes", "no"))
    _, comparison = score(asked, made, rules, setups=["hybrid"], seed=0, resamples=200, max_failed=0)
    (shown,) = confusions(comparison)
    assert shown["said"] == ["no", "yes", "(none of them)"]
    assert [[cell["count"] for cell in row["cells"]] for row in shown["rows"]] == [[1, 0, 1], [1, 1, 0]]
    assert (shown["accuracy"], shown["n"]) == ("50.0\u00a0%", 4)
    assert all("Which choice was said for which" in page and "macro F1" in page for page in pages(comparison))


def colours() -> dict[str, dict[str, str]]:
    """The colours of the page by mode."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)) for block in blocks)
    return {"light": light, "dark": dark}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2.2 defines it: 1 to 21."""

    def luminance(colour: str) -> float:
        channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_all_text_has_a_contrast_of_at_least_4_5(mode: str) -> None:
    found = colours()[mode]
    sheets = [STYLE, *STYLE.parent.glob("evaluate/report/*.css"), *STYLE.parent.glob("finetune/*.html.j2")]
    css = "\n".join(path.read_text(encoding="utf-8") for path in sheets)
    texts = set(re.findall(r"[{;\s](?:color): var\(--([\w-]+)\)", css)) | {"ink"}
    grounds = ("paper", "card", "track")
    low = {
        (text, ground): ratio
        for text in texts
        for ground in grounds
        if (ratio := contrast(found[text], found[ground])) < 4.5
    }
    assert low == {}
    for ground in ("same", "differs"):
        assert contrast(found["ink"], found[ground]) >= 4.5
        assert contrast(found["soft"], found[ground]) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_mark_of_a_chart_has_a_contrast_of_at_least_3(mode: str) -> None:
    found = colours()[mode]
    for mark in (*SETUPS, "other", "right", "stale", "bad", "edge", "link"):
        assert contrast(found[mark], found["card"]) >= 3, mark
