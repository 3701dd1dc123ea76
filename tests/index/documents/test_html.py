"""An HTML page is read as its reader sees it: what stands there, what no longer holds, and what belongs together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import reading_case

from index.documents.document import Document
from index.documents.formats.blocks import (
    Cell,
    MarkdownText,
    expanded,
    footnote_mark,
    fraction,
    subscript,
    superscript,
    without_invisible,
)
from index.documents.formats.html.page import read
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.markdown import headings


def page(source: str | bytes, name: str = "a.html") -> Document:
    (found,) = read(name, source.encode() if isinstance(source, str) else source, ReadSettings())
    assert isinstance(found, Document)
    return found


def text(source: str | bytes) -> str:
    return page(source).text


def outline(source: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in headings(text(source))]


# --- headings


@pytest.mark.parametrize(
    "source",
    [
        "<h2><button aria-expanded=false>Returns</button></h2>",
        "<button><h2>Returns</h2></button>",
        "<details><summary><h2>Returns</h2></summary>Within 14 days.</details>",
        "<div role=heading aria-level=2>Returns</div>",
        "<x-title role=heading>Returns</x-title>",
        "<h3 aria-level=2>Returns</h3>",
        "<div><header><h2>Returns</h2></header><p>Within 14 days.</p></div><div><h2>Delivery</h2></div>",
    ],
)
def test_heading_stays_a_heading_whatever_is_around_it(source: str) -> None:
    assert (2, "Returns") in outline(f"<h1>Shop</h1>{source}<p>Text.</p>")


def test_footer_of_a_card_or_a_quotation_is_text_and_that_of_the_page_is_not() -> None:
    cards = "".join(f"<div><h2>{name}</h2><footer>{name} terms</footer></div>" for name in ("Basic", "Team"))
    source = f"<div><h1>Plans</h1>{cards}<blockquote>It works.<footer>A client</footer></blockquote></div>"
    found = text(f"<body>{source}<footer>imprint</footer></body>")
    assert "Basic terms" in found and "Team terms" in found and "A client" in found and "imprint" not in found


def test_banner_of_a_page_is_dropped_though_there_are_headings_in_it() -> None:
    source = "<header><h2>The site</h2><nav><a href=/>Home</a></nav></header><main><h1>T</h1><p>body</p></main>"
    assert text(source) == "# T\n\nbody"


def test_button_is_read_as_a_word_of_a_sentence_and_not_beside_it() -> None:
    others = "<p>Name <button>Remove</button></p><button>Send</button><button>Stop</button><button>Go</button>"
    assert text(f"<p>Press <button>Save</button> now.</p>{others}") == "Press Save now.\n\nName"


def test_question_that_a_button_opens_stays_with_its_answer() -> None:
    source = "<button aria-expanded=false aria-controls=a1>How long?</button><div id=a1 hidden>Two days.</div>"
    assert text(f"<h1>Help</h1>{source}") == "# Help\n\nHow long?\nTwo days."


def test_title_of_a_drawing_is_not_the_title_of_the_page() -> None:
    assert page("<body><svg><title>Icon</title></svg><p>text</p></body>", "plan.html").title == "plan"


# --- tables


def test_cells_that_span_are_repeated_and_header_rows_are_joined() -> None:
    source = (
        "<table><caption>Fees</caption><thead><tr><th rowspan=2>Zone<th colspan=2>Fee<tr><th>Child<th>Adult</thead>"
        "<tr><td rowspan=2>North<td>3<td>7<tr><td colspan=2>closed on Mondays<tr><td colspan=3>Dogs are free</table>"
    )
    assert text(source) == (
        "Fees\n\n| Zone | Fee / Child | Fee / Adult |\n| --- | --- | --- |\n| North | 3 | 7 |\n"
        "| North | closed on Mondays | closed on Mondays |\n| Dogs are free |  |  |"
    )


def test_span_ends_with_its_group_of_rows() -> None:
    groups = "<tbody><tr><td rowspan=0>A<td>1<tr><td>2</tbody><tbody><tr><td rowspan=9>B<td>3</tbody>"
    assert text(f"<table>{groups}</table>") == "| A | 1 |\n| A | 2 |\n| B | 3 |"


def test_first_row_in_bold_is_the_header() -> None:
    assert text("<table><tr><td><b>Day</b><td><strong>Open</strong><tr><td>Mon<td>9</table>") == (
        "| Day | Open |\n| --- | --- |\n| Mon | 9 |"
    )


def test_header_cell_with_a_heading_in_it_does_not_make_a_table_a_layout() -> None:
    assert text("<table><tr><th><h4>Day</h4><th>Open<tr><td>Mon<td>9</table>") == (
        "| Day | Open |\n| --- | --- |\n| Mon | 9 |"
    )


def test_title_row_over_the_whole_table_is_its_caption() -> None:
    rows = [[Cell("All fees", columns=9)], [Cell("Zone"), Cell("Fee")], [Cell("North"), Cell("3")]]
    out = MarkdownText(1000)
    out.spanned_table(rows, header_rows=2)
    assert out.text == "All fees\n\n| Zone | Fee |\n| --- | --- |\n| North | 3 |"


def test_cell_that_continues_the_one_above_has_its_text() -> None:
    rows = [[Cell("North"), Cell("3")], [Cell("", continues=True), Cell("7")], [Cell("", continues=True), Cell("9")]]
    assert expanded(rows) == [["North", "3"], ["North", "7"], ["North", "9"]]


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5), min_size=1, max_size=6)
)
def test_every_cell_of_an_expanded_table_is_there_and_all_rows_are_equally_long(
    spans: list[list[tuple[int, int]]],
) -> None:
    rows = [
        [Cell(f"r{down}c{across}", columns, height) for across, (columns, height) in enumerate(row)]
        for down, row in enumerate(spans)
    ]
    grid = expanded(rows)
    assert len(grid) == len(rows) and len({len(row) for row in grid}) == 1
    for row, cells in zip(grid, rows, strict=True):
        assert [cell.text for cell in cells if cell.text not in row] == []


def test_spans_without_end_are_cut_off_in_time() -> None:
    row = "<tr>" + "<td colspan=1000 rowspan=65000>x" * 3
    assert text(f"<table>{row * 2}<tr><td>y</table>").count("\n") == 2
    with pytest.raises(Unreadable, match="characters of text"):
        out = MarkdownText(5_000)
        out.spanned_table([[Cell("x" * 1000, rows=1000), Cell("y")], *[[Cell("z")] for _ in range(999)]], 0)


# --- what no longer holds, or was never to be seen


@pytest.mark.parametrize(
    "hidden",
    [
        "<del>49 EUR</del>",
        "<s>49 EUR</s>",
        "<strike>49 EUR</strike>",
        "<span hidden>49 EUR</span>",
        "<span style='color: red; display : none'>49 EUR</span>",
        "<span style='visibility:hidden'>49 EUR</span>",
        "<span style='text-decoration: red line-through'>49 EUR</span>",
        "<span class='big line-through'>49 EUR</span>",
        "<span aria-hidden=true>49 EUR</span>",
        "<template><b>49 EUR</b></template>",
    ],
)
def test_deleted_and_hidden_text_is_not_served_anywhere(hidden: str) -> None:
    found = text(
        f"<h1>Price {hidden}</h1><p>Only {hidden} 39 EUR</p><table><tr><th>a<td>b{hidden}</table><pre>c{hidden}</pre>"
    )
    assert "49" not in found and "39 EUR" in found and "| a | b |" in found


def test_style_rules_that_hide_or_strike_a_class_are_followed_where_nothing_shows_it_again() -> None:
    style = (
        "<style>/* x */ .old, p.draft { color: red; display: none } #gone{visibility:hidden}"
        ".cut{text-decoration:line-through}"
    )
    body = "<p class=old>49<p class='a draft'>50<p id=gone>51<p class=cut>52<p>39"
    assert text(f"{style}</style>{body}") == "39"
    assert text(
        f"{style} .js .old, .draft:target, .cut:hover {{ display: block; text-decoration: none }}</style>{body}"
    ) == ("49\n\n50\n\n52\n\n39")
    assert text(f"{style}</style>{body}<script src=tabs.js></script>") == "49\n\n50\n\n51\n\n39"
    assert text("<style>@media print { .old { display: none } }</style><p class=old>49") == "49"


def test_page_behind_an_open_dialogue_is_read() -> None:
    source = "<div aria-hidden=true><h1>T</h1><p>body</p></div><div role=dialog><p>Cookies?</p></div>"
    assert text(source) == "# T\n\nbody"


def test_hidden_panel_of_a_tab_and_a_part_for_searching_are_read() -> None:
    source = "<h1>T</h1><div role=tabpanel hidden>on Linux</div><div hidden=until-found>folded</div>"
    assert text(source) == "# T\n\non Linux\n\nfolded"


def test_text_of_a_shadow_tree_is_read_wherever_it_stands() -> None:
    shadow = "<x-note><template shadowrootmode=open><b>Press twice.</b></template></x-note>"
    assert text(f"<h1>T</h1>{shadow}<table><tr><td>a<td>{shadow}</table>") == (
        "# T\n\nPress twice.\n\n| a | Press twice. |"
    )


def test_invisible_characters_are_left_out_of_words_and_kept_where_they_spell() -> None:
    assert text("<p>Daten&shy;schutz super&#8203;cali Auf&zwnj;lage&#xfeff;</p>") == "Datenschutz supercali Auflage"
    persian = "می\u200cخواهم"
    assert text(f"<p>{persian} 👩\u200d💻</p>") == f"{persian} 👩\u200d💻"
    assert without_invisible("a\U000e0041b\u202ec") == "abc"


# --- inline: one set of rules for paragraphs, headings and cells

INLINE = [
    ("10<sup>6</sup> messages", "10^6 messages"),
    ("10<sup>-3</sup>, x<sup>n+1</sup>", "10^-3, x^(n+1)"),
    ("the 1<sup>st</sup> of May", "the 1st of May"),
    ("25 m<sup>2</sup>", "25 m^2"),
    ("x<sub>2</sub>, v<sub>max</sub>, CO<sub>2</sub>", "x₂, v_max, CO₂"),
    ("late.<sup>1</sup>", "late.[1]"),
    ("late<sup><a href='#n1'>1</a></sup>", "late[1]"),
    ("late<a href='#n1'><sup>1</sup></a>", "late[1]"),
    ("late<sup>[2]</sup> price<sup>*</sup>", "late[2] price*"),
    ("He said <q>no</q>.", "He said “no”."),
    ("<ruby>東<rt>とう</rt>京<rt>きょう</rt></ruby>へ", "東京(とうきょう)へ"),
    ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby><ruby>字<rt>じ</rt></ruby>", "漢字(かんじ)"),
    ("<ruby>北京<rt>Běi</rt><rt>jīng</rt></ruby>", "北京(Běi jīng)"),
    ("a<br>b" , "a b"),
    ("Press <button>Save</button> now", "Press Save now"),
    ("un<x-mark>break</x-mark>able", "unbreakable"),
    ("<img alt='Wiring plan' src='data:image/png;base64,AAAA'>", "Wiring plan"),
    ("a<img alt='one two'><img alt=three>b<img alt=😀>", "a one two three b😀"),
    ("<a href=/><img alt=Logo></a>Text", "Text"),
    ("Ports<a href=#ports>¶</a>", "Ports"),
    ("see <a href='https://e.org/claim.pdf'>here</a>.", "see here (https://e.org/claim.pdf)."),
    ("see <a href='forms/claim.pdf'>this link</a>", "see this link (forms/claim.pdf)"),
    ("see <a href='https://www.python.org'>Python</a>", "see Python"),
    ("see <a href='#top'>here</a> <a href='javascript:x()'>here</a>", "see here here"),
    ("<a href='https://e.org/x?q'>→</a> on", "→ (https://e.org/x?q) on"),
    ("mail <a href='mailto:a%40b.org?subject=x'>us</a>", "mail us (a@b.org)"),
    ("call <a href='tel:+49123'>+49 123</a>", "call +49 123"),
    ("is <math><mfrac><mn>1</mn><mn>4</mn></mfrac></math>.", "is 1/4."),
    ("is <script type='math/tex'>a^2</script>", "is a^2"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), INLINE)
def test_inline_text_means_the_same_in_a_heading_a_cell_and_a_sentence(source: str, expected: str) -> None:
    assert text(f"<h1>{source}</h1>").removeprefix("# ") == expected
    assert text(f"<table><tr><td>{source}<td>x</table>") == f"| {expected} | x |"
    in_paragraph = text(f"<div><p>{source}</p></div>") if "<p>" not in source else ""
    assert in_paragraph.replace("\n", " ") == expected


@pytest.mark.parametrize(
    ("mathml", "expected"),
    [
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", "E = mc^2"),
        ("<mn>2</mn><mfrac><mn>1</mn><mn>4</mn></mfrac>", "2 1/4"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>", "(a + b)/c"),
        ("<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>", "√(a + b)"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "x^(1/3)"),
        ("<msup><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></msup>", "(a + b)^2"),
        ("<mi>x</mi><mo>=</mo><mo>-</mo><mn>5</mn>", "x = -5"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_i^2"),
        ("<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><msub><mi>x</mi><mi>i</mi></msub>", "∑_i^n x_i"),
        ("<mi>sin</mi><mo>&ApplyFunction;</mo><mi>x</mi>", "sin x"),
        ("<mi>f</mi><mo>(</mo><mi>x</mi><mo>,</mo><mi>y</mi><mo>)</mo>", "f(x, y)"),
        ("<mtable><mtr><mtd>&nbsp;<mi>a</mi></mtd></mtr><mtr><mtd><mi>x</mi></mtd></mtr></mtable>", "[a; x]"),
        ("<semantics><mi>x</mi><annotation encoding='application/x-tex'>\\xyz</annotation></semantics>", "x"),
    ],
)  # fmt: skip
def test_formula_is_one_readable_line(mathml: str, expected: str) -> None:
    assert text(f"<p><math>{mathml}</math></p>") == expected


def test_formula_that_is_drawn_twice_is_read_once() -> None:
    source = "<span class=katex><math><mi>E</mi></math><span class=katex-html aria-hidden=true>E</span></span>"
    assert text(f"<p>Energy {source} here</p>") == "Energy E here"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (superscript("6", "10"), "^6"),
        (superscript("6", "end. "), "[6]"),
        (superscript("14"), "14"),
        (superscript("+", "Na"), "^+"),
        (superscript("™", "Brand"), "™"),
        (superscript("2", "(a + b)"), "^2"),
        (subscript("10"), "₁₀"),
        (subscript("i+1"), "_(i+1)"),
        (footnote_mark(" 3 "), "[3]"),
        (fraction("1", "4"), "1/4"),
        (fraction("a + b", "2c"), "(a + b)/2c"),
    ],
)
def test_raised_and_lowered_text_in_plain_text(written: str, expected: str) -> None:
    assert written == expected


# --- lists, code and drawings


def test_numbers_of_lists_are_those_of_the_page() -> None:
    source = (
        "<ol start=5><li>five<ol type=a><li>first<li>second</ol><li value=9>nine<li>ten</ol><p>and</p>"
        "<ol reversed><li>two<li>one</ol><p>and</p><ol style='list-style-type: upper-roman'><li>I</ol>"
    )
    assert text(source) == (
        "5. five\n  a. first\n  b. second\n9. nine\n10. ten\n\nand\n\n2. two\n1. one\n\nand\n\nI. I"
    )


def test_checked_box_of_a_list_is_told_from_an_empty_one() -> None:
    assert text("<ul><li><input type=checkbox checked> paid<li><input type=checkbox> sent</ul>") == (
        "- ☑ paid\n- ☐ sent"
    )


CODE = "a = 1\nb = 2"


@pytest.mark.parametrize(
    "source",
    [
        "<pre><span class=linenos>1</span>a = 1\n<span class=linenos>2</span>b = 2</pre>",
        "<pre><div class=line>a = 1</div><div class=line>b = 2</div></pre>",
        "<pre>a = 1<br>b = 2<button>Copy</button></pre>",
        "<pre>a = 1\nb = 2<span class=copy-link>copy</span></pre>",
        "<div class=highlight><span class=clipboard>Copy</span><pre>a = 1\nb = 2</pre></div>",
        "<table><tr><td class=linenos><pre>1\n2</pre><td><pre>a = 1\nb = 2</pre></table>",
        "<table><tr><td><pre>1\n2</pre><td><pre>a = 1\nb = 2</pre></table>",
    ],
)
def test_code_is_read_without_numbers_of_lines_and_buttons(source: str) -> None:
    assert text(f"<p>x</p>{source}") == f"x\n\n```\n{CODE}\n```"


def test_column_of_numbers_is_data() -> None:
    assert text("<table><tr><td>1<td>a<tr><td>2<td>b</table><pre>7</pre>") == "| 1 | a |\n| 2 | b |\n\n```\n7\n```"


def test_labels_of_a_drawing_are_read_and_those_of_an_icon_are_not() -> None:
    svg = (
        "<svg><title>Map</title><text>Gate <tspan>12</tspan></text><foreignObject><div>Exit</div></foreignObject></svg>"
    )
    assert text(f"<h1>Plan</h1>{svg}<p><svg><title>Icon</title><path d=M></svg>See map.</p>") == (
        "# Plan\n\nGate 12, Exit\n\nSee map."
    )


def test_custom_elements_are_apart_unless_they_stand_in_a_sentence() -> None:
    assert text("<app-item>Alpha</app-item><app-item>Beta</app-item><p>Press <app-key>F1</app-key> now</p>") == (
        "Alpha\n\nBeta\n\nPress F1 now"
    )


def test_empty_elements_of_xhtml_do_not_swallow_the_page() -> None:
    source = (
        '<?xml version="1.0"?><html><head><script src="x"/><title/></head><body><a id="x"/><p>text</p></body></html>'
    )
    assert text(source) == "text"


# --- labels


@pytest.mark.parametrize(
    "source",
    [
        '<meta name="labels" content="board"><p>text',
        '<meta property="Label" content="board"><p>text',
        "<!-- labels: [board] --><html><p>text",
        "---\nlabels [board]\n---\n<p>text",
    ],
)
def test_page_that_tries_to_have_labels_is_refused(source: str) -> None:
    with pytest.raises(Unreadable, match="labels"):
        page(source)


def test_front_matter_of_a_page_counts() -> None:
    found = page("---\ntitle: Salaries\nlabels: [board]\nyear: 2024\n---\n<h1>T</h1><p>text")
    assert (found.title, found.labels, found.metadata, found.text) == (
        "Salaries", ("board",), {"year": 2024}, "# T\n\ntext"
    )  # fmt: skip


# --- the pages that were read wrongly

RIGHT = {
    "01-html-button-faq/faq.html": (
        "# Help\n\n## Can I return opened paint?\n\nNo, only sealed tins within 14 days.\n\n"
        "## How long is delivery?\n\nThree days."
    ),
    "02-html-sup/p.html": "# Load\n\nThe bus carries 10^6 messages, x₂ of them late.[1] Area: 25 m^2.",
    "03-html-rowspan/t.html": (
        "# Tariff\n\n| Zone | Age | Fee |\n| --- | --- | --- |\n| North | child | 3 |\n| North | adult | 7 |\n"
        "| South | child | 4 |\n| South | adult | 9 |\n| Dogs | Dogs | 1 |"
    ),
    "04-html-del/p.html": "# Prices\n\nTicket 39 EUR; code 5678.",
    "05-html-card-header/p.html": (
        "# Plans\n\n## Basic\n\nTwo users, 5 EUR a month.\n\n## Team\n\nTwenty users, 50 EUR a month."
    ),
    "06-html-shadow-template/p.html": "# Widget\n\nPress twice to reset the meter.",
    "07-html-iso8859-1-smart/p.html": "# Café\n\nThe “blue” route costs 5 € – it’s open.",
    "09-html-links/p.html": (
        "# Forms\n\nGet the claim form here (https://forms.example.org/claim-7b.pdf) or mail us (claims@example.org)."
    ),
    "10-html-display-none/p.html": "# Hours\n\nOpen 9 to 5.\n\n| Day | Open |\n| --- | --- |\n| Mon | 9 |",
    "11-html-mathml/p.html": "# Law\n\nEnergy is E = mc^2 and 1/4.",
    "14-html-shy-zwsp/p.html": "# Regel\n\nDie Datenschutzverordnung und supercalifragil gilt.",
    "15-html-svg-text/p.html": "# Plan\n\nGate 12\n\nSee map.",
    "17-html-custom-elements/p.html": "# List\n\nAlpha\n\nBeta\n\n## Gamma part\n\nText",
}


@pytest.mark.parametrize("name", RIGHT)
def test_page_that_was_read_wrongly_is_read_right(name: str) -> None:
    assert text(reading_case(name)) == RIGHT[name]


def test_page_that_declares_utf_16_in_ascii_is_not_decoded_as_such() -> None:
    with pytest.raises(Unreadable, match="save the file as UTF-8"):
        text(reading_case("19-html-meta-utf16/p.html"))
