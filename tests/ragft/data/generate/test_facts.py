"""Facts that the structure of documents states, and the sections that they are read from."""

from __future__ import annotations

import pytest
from support.indexes import WordTokenizer

from index.documents.chunking import chunk_document
from index.documents.document import Document
from ragft.data.generate.facts import facts_in
from ragft.data.generate.sections import Section, document_groups, sections_of


def section(text: str, heading: str = "Django 5.2", title: str = "Django", document: str = "django.md") -> Section:
    return Section(document, title, (title, heading) if heading != title else (title,), text, (text,))


def stated(found: Section) -> list[tuple[str, str, str, str]]:
    return [(fact.kind, fact.subject, fact.attribute, fact.value) for fact in facts_in(found)]


def test_lines_of_keys_and_values_lose_the_subject_that_they_repeat() -> None:
    text = "- 5.2 released: 2025-04-02\n- **5.2 end of life**: 2028-04-30"
    assert stated(section(text)) == [
        ("key-value", "Django 5.2", "released", "2025-04-02"),
        ("key-value", "Django 5.2", "end of life", "2028-04-30"),
    ]


def test_a_table_names_its_rows_by_their_first_column() -> None:
    text = "| Route | Adult | Child |\n| --- | --- | --- |\n| North \\| West | 7 | 3.5 |\n| South | 9 | |"
    assert stated(section(text, "Fares", "Ferry")) == [
        ("table", "North | West (Fares (Ferry))", "Adult", "7"),
        ("table", "North | West (Fares (Ferry))", "Child", "3.5"),
        ("table", "South (Fares (Ferry))", "Adult", "9"),
    ]


def test_a_table_whose_first_column_repeats_itself_states_nothing() -> None:
    assert stated(section("| A | B |\n| --- | --- |\n| x | 1 |\n| x | 2 |")) == []


@pytest.mark.parametrize(
    "text",
    [
        "How long is delivery?\nThree days.",
        "How long is delivery?\n\nThree days.",
        "**Q: How long is delivery?**\n\nA: Three days.",
        "Q: How long is delivery?\nA: Three days.",
        "**How long is delivery?**\n\n- Three days.",
        "Q1: How long is delivery?\nA1: Three days.",
        "**Q 12.** How long is delivery?\n\n**A 12:** Three days.",
        "Question : How long is delivery?\nRéponse : Three days.",
        "Frage: How long is delivery?\nAntwort: Three days.",
        "P: How long is delivery?\nR: Three days.",
        "F: How long is delivery?\n\nA: Three days.",
    ],
)
def test_questions_in_a_text_come_with_their_answers(text: str) -> None:
    assert stated(section(text, "Help", "Help")) == [("faq", "Help", "How long is delivery?", "Three days.")]


def test_a_heading_that_asks_is_answered_by_the_paragraph_below_it() -> None:
    found = section("No, only sealed tins.\n\nAnd more.", "Can I return opened paint?", "Help")
    assert [(fact.attribute, fact.value) for fact in facts_in(found)] == [
        ("Can I return opened paint?", "No, only sealed tins.")
    ]


def test_a_heading_with_a_label_asks_without_it() -> None:
    (fact,) = facts_in(section("A: No, only sealed tins.", "Q3: Can I return opened paint?", "Help"))
    assert (fact.attribute, fact.value) == ("Can I return opened paint?", "No, only sealed tins.")
    for heading in ("Q3 2024 fees?", "Question marks in links?", "Fees for a day?"):
        (fact,) = facts_in(section("Seven euros.", heading, "Help"))
        assert fact.attribute == heading


@pytest.mark.parametrize("number", ["", " 1"])
def test_labels_of_a_language_that_is_not_known_are_never_trained(number: str) -> None:
    assert stated(section(f"Kysymys{number}: Kuinka kauan?\nVastaus{number}: Kolme päivää.", "Ohje", "Ohje")) == []


def test_two_terms_with_one_meaning_are_left_out() -> None:
    html = section("CLI\nShell\nA text interface.\n\nSize\n5 cm\n\nColour\nRed", "Terms", "Paint", "paint.html")
    assert [fact.subject for fact in facts_in(html)] == ["Size (Paint)", "Colour (Paint)"]


def test_a_label_is_what_the_document_itself_calls_the_subject() -> None:
    (cell,) = facts_in(section("| Plan | Fee |\n| --- | --- |\n| Basic | 7 |", "Fees", "Plans"))
    assert (cell.subject, cell.label) == ("Basic (Fees (Plans))", "Basic")
    fact, _ = facts_in(section("- fee: 7\n- term: a year", "Support", "Django"))
    assert (fact.subject, fact.label) == ("Support (Django)", "Support")
    (term,) = facts_in(section("Colour\n: Red.", "Terms", "Paint"))
    assert (term.subject, term.label) == ("Colour (Paint)", "Colour")


def test_definitions_of_markdown_and_of_html() -> None:
    assert stated(section("Colour\n: Red. Not blue.", "Terms", "Paint")) == [
        ("definition", "Colour (Paint)", "", "Red.")
    ]
    html = section("Colour\nRed\n\nSize\n5 cm", "Terms", "Paint", "paint.html")
    assert [fact.subject for fact in facts_in(html)] == ["Colour (Paint)", "Size (Paint)"]
    assert stated(section("A wrapped\nsentence\n\nAnother wrapped\nsentence", "Terms", "Paint")) == []


def test_a_heading_with_one_sentence_is_a_fact_and_with_two_it_is_not() -> None:
    assert stated(section("Two rents.", "Deposit", "Contract")) == [
        ("sentence", "Deposit (Contract)", "", "Two rents.")
    ]
    assert stated(section("Two rents. In cash.", "Deposit", "Contract")) == []


@pytest.mark.parametrize(
    "text",
    [
        "Note: read this.\nWarning: it is hot.",
        "```\nname: x\nsize: 2\n```",
        "We open at ten: that is early.\nAnd we close at six: that is late, too, for a shop\nof this kind.",
        "- 125607: amd64->IR\n- 126583: broken",
        "- Memcheck: reduced\n- Memcheck: problems",
        "https://example.org\nhttp://example.org: x",
    ],
)
def test_asides_code_prose_and_logs_of_changes_state_nothing(text: str) -> None:
    assert stated(section(text)) == []


def test_sections_come_back_from_overlapping_chunks_as_they_were() -> None:
    lines = "\n".join(f"- fact {number}: value {number} of this page" for number in range(60))
    text = f"# Page\n\n## One\n\n{lines}\n\n## Two\n\nIt is short.\n"
    document = Document.of("page.md", text, labels=("staff",))
    chunks = chunk_document(document, WordTokenizer(), 64, 8)
    one, two = sections_of(reversed(chunks))
    assert len(one.passages) > 3 and one.text == lines
    assert two.text == "It is short." and two.path == ("Page", "Two") and two.restricted


def test_headings_that_say_too_little_are_completed_by_the_title() -> None:
    assert section("x", "4.2. Support | Site", "Django | Docs").subject == "Support (Django)"
    assert section("x", "Django 5.2").subject == "Django 5.2"


def test_documents_with_one_section_word_for_word_are_one_group() -> None:
    same = " ".join(f"word{number}" for number in range(25))
    made = [section(text, "H", name, name) for name, text in (("b", same), ("a", same), ("c", "other words"))]
    assert document_groups(made) == {"a": "a", "b": "a", "c": "c"}
