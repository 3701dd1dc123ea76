from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.browsers import barriers_in_file
from support.evaluation import RULES, SETUPS, passage, question, record

from ragft.data.questions import Question
from ragft.evaluate.records import Record
from ragft.evaluate.report import comparison_table, render_report
from ragft.evaluate.score import Comparison, score
from ragft.evaluate.verdict import p_text

ATTACK = "<script>alert('x')</script><img src=https://evil.example/x.png onerror=alert(1)>"


def asked() -> list[Question]:
    return [
        *(
            question(f"4.{at}", id=f"q{at}", tags=("version",), stale_answers=("3.9",), group=f"g{at}")
            for at in range(6)
        ),
        question(None, id="q7", tags=("none", ATTACK)),
    ]


def answered() -> list[Record]:
    made = []
    for each in asked():
        gold = each.answers[0] if each.answers else "unknown"
        for setup in SETUPS:
            value = {"hybrid": gold, "rag-only": gold if each.id < "q3" else ATTACK, "fine-tuned": "3.9"}.get(
                setup, ATTACK
            )
            found = (passage("4.2"), passage("4.1", document=ATTACK)) if setup in ("rag-only", "hybrid") else ()
            text = f"Answer: {value} · Source: none"
            made.append(record(text, question_id=each.id, setup=setup, passages=found))
    return made


def page(setups: tuple[str, ...] = SETUPS, questions: list[Question] | None = None) -> tuple[str, Comparison]:
    questions = asked() if questions is None else questions
    ids = {each.id for each in questions}
    records = [each for each in answered() if each.question_id in ids]
    rows, comparison = score(
        questions,
        records,
        RULES,
        setups=setups,
        seed=0,
        resamples=200,
        max_failed=0,
        fingerprints={ATTACK: ATTACK},
    )
    return render_report(
        comparison, records, questions, name=ATTACK, subtitle=ATTACK, scores=rows, rules=RULES
    ), comparison


class Tags(HTMLParser):
    """All tags of a page with their attributes; and whether what was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_requests_nothing_and_runs_its_own_script_only() -> None:
    html, _ = page()
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    tags = [tag for tag, _ in parser.seen]
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"} & set(tags)
    assert tags.count("script") == 1
    for _, attributes in parser.seen:
        assert not {name for name in attributes if name in ("src", "srcset", "action") or name.startswith("on")}
        assert (attributes.get("href") or "#").startswith("#")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_the_browser_is_told_to_load_nothing_and_to_run_this_script_by_its_hash() -> None:
    html, _ = page()
    script = html[html.index("<script>") + len("<script>") : html.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert f"script-src &#39;sha256-{digest}&#39;" in policy[1]


def test_every_link_leads_somewhere_on_the_page() -> None:
    parser = Tags()
    parser.feed(page()[0])
    ids = [attributes["id"] for _, attributes in parser.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "")[1:] for _, attributes in parser.seen if "href" in attributes}
    assert targets <= set(ids)


def test_everything_from_data_is_escaped() -> None:
    html, _ = page()
    assert html.count("<script") == 1
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 6, "name, subtitle, tag, fingerprint, answers and documents are shown"


def test_the_page_shows_the_figures_of_the_comparison() -> None:
    html, comparison = page()
    for setup in SETUPS:
        row = comparison.setups[setup]["exact_match"]
        assert f"{100 * row['mean']:.1f}\u00a0% <small>exact match" in html
        assert f"n = {row['n']}" in html
    for words in ("On facts, hybrid", "The four setups", "Differences", "By kind", "Facts that have changed"):
        assert words in html
    assert "to refuse" in html
    assert "7: 6 answerable, 1 not answerable, 6 about facts that have changed" in html
    assert not re.search(r"\b(nan|None|Undefined)\b", html[html.index("</style>") : html.index("<script>")])


def test_wins_p_and_n_of_every_pair_are_text_and_not_titles() -> None:
    html, comparison = page()
    text = re.sub(r"<[^>]*>", " ", html)
    for row in comparison.pairs:
        if row["metric"] == "exact_match":
            assert f"{row['wins']} / {row['ties']} / {row['losses']}" in text
            assert p_text(row["p_holm"]) in html or p_text(row["p_holm"]).replace("<", "&lt;") in html
    assert " title=" not in html


def test_texts_of_users_say_their_own_direction() -> None:
    html, _ = page(questions=[question("4.1", id="q1", question="متى ينتهي الدعم؟")])
    assert 'dir="auto">متى ينتهي الدعم؟' in html
    assert html.count("<blockquote dir=") == html.count("<blockquote")


def test_tables_have_headers_with_scopes_and_landmarks_have_names() -> None:
    parser = Tags()
    parser.feed(page()[0])
    assert all("scope" in attributes for tag, attributes in parser.seen if tag == "th")
    regions = [attributes for _, attributes in parser.seen if attributes.get("role") == "region"]
    assert regions
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in regions)
    assert {"header", "nav", "main"} <= {tag for tag, _ in parser.seen}


def test_the_same_comparison_gives_the_same_page() -> None:
    assert page()[0] == page()[0]


@pytest.mark.parametrize("setups", [("hybrid",), ("rag-only", "hybrid"), ("hybrid", "prompt-only")])
def test_fewer_setups_make_a_page_too(setups: tuple[str, ...]) -> None:
    html, _ = page(setups)
    assert ("not compared" in html) == (len(setups) > 1)


def test_a_page_without_tags_changes_or_examples() -> None:
    html, _ = page(questions=[question("4.1", id="q1")])
    assert "By kind of question" not in html
    assert "Facts that have changed" not in html


def test_effects_have_their_sign_whatever_the_order_of_setups() -> None:
    html, comparison = page(("hybrid", "fine-tuned", "rag-only", "prompt-only"))
    gain = comparison.setups["hybrid"]["exact_match"]["mean"] - comparison.setups["rag-only"]["exact_match"]["mean"]
    assert f"<b>+{100 * gain:.1f}</b>" in html


def test_the_terminal_table_has_every_setup_and_the_verdict() -> None:
    _, comparison = page()
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(comparison))
    text = console.export_text()
    assert all(setup in text for setup in SETUPS)
    assert "On facts, hybrid" in text


@pytest.mark.slow
def test_nothing_on_the_page_shuts_anyone_out(browser: Any, tmp_path: Path) -> None:
    assert barriers_in_file(browser, tmp_path, page()[0]) == []
