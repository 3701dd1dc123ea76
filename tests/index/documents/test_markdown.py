"""Headings, tables and lists of Markdown, and what a reader of a page sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import reading_case

from index.documents.document import Document
from index.documents.markdown import headings, parents, tables
from index.documents.sections import section_headings, sections
from index.documents.visible import visible, without_data_uris

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 40
DRAWING = "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0 L10 10 Z'/></svg>"


def titles(text: str) -> list[str]:
    return [heading.text for heading in headings(text)]


def paths(text: str, **more: str) -> list[tuple[str, ...]]:
    return [section.path for section in sections(Document.of("a.md", text, **more))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# Install {#install .top}", "Install"),
        ("# Install {: #install data-x=1}", "Install"),
        ("# Install ## {#install}", "Install"),
        ("# Preface {-}", "Preface"),
        ("Install {.top}\n-------", "Install"),
        ("## [Linux](https://example.org/a_(b)) ![b](https://example.org/badge.svg)", "Linux"),
        ("## [1.2.0](https://example.org/1.2.0 'diff') (2024-05-01)", "1.2.0 (2024-05-01)"),
        ("# [![Logo](logo.svg)](https://example.org)", "Logo"),
        ("# The set {x} of y", "The set {x} of y"),
        ("# Arrays: a[0][1] (first)", "Arrays: a[0][1] (first)"),
        ("# `code` and *emphasis*", "`code` and *emphasis*"),
    ],
)
def test_a_heading_reads_as_on_the_page(line: str, words: str) -> None:
    assert titles(f"{line}\n\ntext\n") == [words]


def test_several_chapters_are_siblings_though_the_first_gives_the_title() -> None:
    text = "# Ferry\n\nfirst\n\n## Fares\n\nmoney\n\n# Train\n\nsecond\n\n## Fares\n\nmore money\n"
    assert paths(text) == [("Ferry",), ("Ferry", "Fares"), ("Train",), ("Train", "Fares")]


def test_a_title_of_its_own_stands_above_all_chapters() -> None:
    text = "# Ferry\n\nfirst\n\n# Train\n\nsecond\n"
    assert paths(text, title="Travel") == [("Travel", "Ferry"), ("Travel", "Train")]


def test_one_chapter_with_the_title_is_above_its_sections() -> None:
    assert paths("# Ferry\n\n## Fares\n\nmoney\n\n### Bicycles\n\nfree\n") == [
        ("Ferry", "Fares"), ("Ferry", "Fares", "Bicycles")
    ]  # fmt: skip


def test_a_heading_that_a_link_covers_names_its_section() -> None:
    assert section_headings(Document.of("a.md", "# A\n\n## [B](http://b)\n\ntext\n")) == ["B"]


def test_comments_are_not_seen_and_hold_no_headings() -> None:
    text = "# Rates\n\n<!-- DRAFT\n# Old rates\nThe rate was 7 percent.\n-->\n\nIt is 4 percent <!-- sure? -->now.\n"
    assert visible(text) == "# Rates\n\n\nIt is 4 percent now.\n"


@pytest.mark.parametrize(
    "text",
    [
        "Write `<!-- note -->` for a comment.\n",
        "```html\n<!-- note -->\n<h1>T</h1>\n```\n",
        "~~~~\n```\n<!-- note -->\n~~~~\n",
        "- item\n\n    ```\n    <pre># x</pre>\n    ```\n",
        "``a ` <!-- b --> ``\n",
        "What is <!-- not closed\n# Heading\n",
        "<pre> not closed\n# Heading\n",
        "| cell | <pre>a</pre> |\n",
        "Use the tag <h1>Title</h1> once.\n",
        "3 < 4 and 5 > 4\n",
    ],
)
def test_code_and_what_is_no_comment_stays(text: str) -> None:
    assert visible(text) == text


def test_preformatted_text_becomes_code_so_that_it_holds_no_headings() -> None:
    text = visible("# Shell\n\n<pre><code># remove <b>all</b> &amp; more\n```\nrm -r x\n</code></pre>\nAfter.\n")
    assert text == "# Shell\n\n````\n# remove all & more\n```\nrm -r x\n````\nAfter.\n"
    assert titles(text) == ["Shell"]


def test_headings_in_html_are_headings() -> None:
    text = visible(
        '<div><h1 align="center">\n  <img src="l.svg"> Boats &amp; <b>oars</b>\n</h1></div>\n<h2>Rent</h2>\nA day.\n'
    )
    assert [(heading.level, heading.text) for heading in headings(text)] == [(1, "Boats & oars"), (2, "Rent")]


def test_scripts_and_styles_are_not_seen() -> None:
    assert visible("A\n<style>\n# x { color: red }\n</style>\n<script>f()</script>B\n") == "A\nB\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"![shot]({PICTURE})", "![shot]()"),
        (f"[logo]: {PICTURE}\nNext", "[logo]: \nNext"),
        (f'<img src="{PICTURE}" alt="x">', '<img src="" alt="x">'),
        (f'<img src="{DRAWING}">', '<img src="">'),
        (f"url({PICTURE})", "url()"),
        ("`data:text/plain,hello` is a data: URI", "`data:text/plain,hello` is a data: URI"),
        ("The data: see below", "The data: see below"),
    ],
)
def test_pictures_in_the_text_itself_are_dropped(text: str, left: str) -> None:
    assert without_data_uris(text) == left


@given(
    st.lists(st.sampled_from(["-->", "`", "```", "~~~", "\n", "<pre>", "</pre>", "<h1>", "</h1>", "# ", " ", "word"]))
)
def test_nothing_is_lost_but_what_nobody_sees(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert visible(text).count("word") == text.count("word")
    assert "word" not in visible(f"<!-- {text.replace('-->', '')} -->")


def test_a_footnote_stands_in_the_section_that_refers_to_it() -> None:
    text = (
        "# Boats\n\nThey sail[^1], mostly[^unknown].\n\n## Oars\n\nOf wood[^2].\n\n```\n[^2]: code\n```\n\n"
        "# Legal\n\nAll rights.\n\n[^1]: In summer.\n\n    Or spring.\n[^2]: Oak.\n[^3]: Nobody refers to it.\n"
    )
    assert visible(text) == (
        "# Boats\n\nThey sail[^1], mostly[^unknown].\n\n[^1]: In summer.\n\n    Or spring.\n\n"
        "## Oars\n\nOf wood[^2].\n\n[^2]: Oak.\n\n```\n[^2]: code\n```\n\n"
        "# Legal\n\nAll rights.\n\n[^3]: Nobody refers to it.\n"
    )


def test_a_footnote_in_its_own_section_stays_where_it_is() -> None:
    text = "# Boats\n\nThey sail[^1].\n\nMore.\n\n[^1]: In summer[^2].\n[^2]: And spring.\n"
    assert visible(text) == text


def test_a_table_has_a_row_of_names_and_one_of_dashes() -> None:
    text = "Fares:\n\n| Route | Adult |\n|---|:---:|\n| A | 1 |\n| B | 2 |\n\nrest\n\na | b\n--- | ---\n1 | 2"
    first, second = tables(text)
    assert text[first.start : first.body] == "| Route | Adult |\n"
    assert text[first.body : first.end].endswith("| B | 2 |")
    assert text[second.start : second.end] == "a | b\n--- | ---\n1 | 2"


@pytest.mark.parametrize("text", ["Title\n---\n", "a | b\n---\n", "| a | b |\n|---|\n", "|---|\n", "| | |\n|-|-|\n1"])
def test_rules_and_underlines_are_no_tables(text: str) -> None:
    assert tables(text) == []


LIST = "- Tickets:\n  - Adults\n\n    Over 14.\n    1. By bus\n- Dogs\n\nProse\n    - indented\n"


@pytest.mark.parametrize(
    ("words", "above"),
    [
        ("Adults", ["Tickets:"]),
        ("Over 14", ["Tickets:", "Adults"]),
        ("By bus", ["Tickets:", "Adults"]),
        ("Dogs", []),
        ("Prose", []),
        ("indented", []),
    ],
)
def test_a_nested_item_knows_the_items_above_it(words: str, above: list[str]) -> None:
    assert parents(LIST, 0, LIST.index(words)) == above


@pytest.mark.parametrize("marker", ["1.1", "2.10.3.", "(a)", "b)", "C.", "(iv)", "XII.", "(3)"])
def test_an_item_with_the_number_of_an_office_is_a_parent(marker: str) -> None:
    text = f"{marker} Fees\n\n  (i) Adults pay 3 EUR.\n\n    In cash.\n"
    assert parents(text, 0, text.index("Adults")) == ["Fees"]
    assert parents(text, 0, text.index("In cash")) == ["Fees", "Adults pay 3 EUR."]


@pytest.mark.parametrize("line", ["(see below) Fees", "etc. Fees", "1.5Fees", "2024 Fees"])
def test_words_in_brackets_and_plain_numbers_are_no_parents(line: str) -> None:
    text = f"{line}\n\n  - Adults\n"
    assert parents(text, 0, text.index("Adults")) == []


def test_parents_are_looked_for_in_the_section_alone() -> None:
    assert parents(LIST, LIST.index("  - Adults"), LIST.index("By bus")) == ["Adults"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("72-md-html-comment/c.md", ["Rates"]),
        ("74-md-heading-attrs/a.md", ["Install", "Linux", "Html heading"]),
        ("76-md-pre-hash/p.md", ["Shell"]),
    ],
)
def test_headings_of_real_pages(name: str, found: list[str]) -> None:
    text = visible(reading_case(name).decode())
    assert titles(text) == found
    assert "7 percent" not in text


def test_a_page_with_a_picture_inside_is_short() -> None:
    assert visible(reading_case("71-md-data-uri/d.md").decode()) == (
        "# Setup\n\nPress the red key.\n\n![shot]()\n\nThen wait.\n"
    )
