from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console
from support.evaluation import RULES, SETUPS, passage, question, record

from ragft.data.questions import Question
from ragft.evaluate.records import Record
from ragft.evaluate.report import comparison_table, render_report
from ragft.evaluate.score import Comparison, score

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
    return render_report(comparison, records, questions, name=ATTACK, subtitle=ATTACK, scores=rows), comparison


class Tags(HTMLParser):
    """All tags of a page with their attributes; and whether what was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_and_runs_nothing() -> None:
    html, _ = page()
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    tags = {tag for tag, _ in parser.seen}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in parser.seen:
        assert not {name for name in attributes if name in ("src", "href", "srcset") or name.startswith("on")}
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_everything_from_data_is_escaped() -> None:
    html, _ = page()
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 6, "name, subtitle, tag, fingerprint, answers and documents are shown"


def test_the_page_shows_the_figures_of_the_comparison() -> None:
    html, comparison = page()
    for setup in SETUPS:
        mean = comparison.setups[setup]["exact_match"]["mean"]
        assert f"{100 * mean:.1f}<small>" in html
    for words in ("On facts, hybrid", "The four setups", "Differences", "By kind", "Facts that have changed"):
        assert words in html
    assert "Only hybrid is right" in html
    assert "to refuse" in html
    assert "7: 6 answerable, 1 not answerable, 6 about facts that have changed" in html
    assert not re.search(r"\b(nan|None|Undefined)\b", html[html.index("</style>") :])


def test_the_same_comparison_gives_the_same_page() -> None:
    assert page()[0] == page()[0]


@pytest.mark.parametrize("setups", [("hybrid",), ("rag-only", "hybrid"), ("hybrid", "prompt-only")])
def test_fewer_setups_make_a_page_too(setups: tuple[str, ...]) -> None:
    html, _ = page(setups)
    assert "not compared" in html


def test_a_page_without_tags_changes_or_examples() -> None:
    plain = [question("4.1", id="q1")]
    html, _ = page(questions=plain)
    assert "By kind of question" not in html
    assert "Facts that have changed" not in html


def test_steps_of_the_square_have_their_sign_whatever_the_order_of_setups() -> None:
    html, comparison = page(("hybrid", "fine-tuned", "rag-only", "prompt-only"))
    gain = comparison.setups["hybrid"]["exact_match"]["mean"] - comparison.setups["rag-only"]["exact_match"]["mean"]
    assert f"+{100 * gain:.1f}" in html


def test_the_terminal_table_has_every_setup_and_the_verdict() -> None:
    _, comparison = page()
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(comparison))
    text = console.export_text()
    assert all(setup in text for setup in SETUPS)
    assert "On facts, hybrid" in text
