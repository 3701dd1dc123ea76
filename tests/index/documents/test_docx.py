"""What a reader of a DOCX file sees as its current text is what is read, with its numbers, signs and structure."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.files import docx, docx_with, paragraph, reading_case

from index.documents.chunking import chunk_document
from index.documents.document import Document
from index.documents.formats.counting import counted
from index.documents.formats.docx.document import read
from index.documents.formats.docx.fields import shown_without_result
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.formats.symbols import UNKNOWN, symbol
from index.documents.markdown import headings

M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def document(data: bytes) -> Document:
    (found,) = read("a.docx", data, ReadSettings())
    assert isinstance(found, Document)
    return found


def text_of(body: str, **parts: Any) -> str:
    return document(docx_with(body, **parts)).text


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def p(*runs: str, properties: str = "") -> str:
    made = "".join(one if one.startswith("<") else run(one) for one in runs)
    return f"<w:p><w:pPr>{properties}</w:pPr>{made}</w:p>"


def style(identity: str, name: str, content: str = "", kind: str = "paragraph", based_on: str = "") -> str:
    base = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    return f'<w:style w:type="{kind}" w:styleId="{identity}"><w:name w:val="{name}"/>{base}{content}</w:style>'


# --- the inputs beside the repository

CASES = {
    "20-docx-move/m.docx": "Other clause stands here.\n\nRent is due on day five.\n\nKeys: sets are issued.",
    "21-docx-vanish/v.docx": "Public price 90.",
    "24-docx-omml/e.docx": "The dose is d=0.5w in milligrams.\n\na/b",
    "25-docx-sym/s.docx": "Load ≤ 40 kg. ☑ approved ☐ refused",
    "26-docx-based-heading/h.docx": (
        "# Contract\n\nIntro\n\n# Notice period\n\nFour weeks.\n\n## Deposit\n\nTwo rents.\n\n# Annex\n\nFloor plan."
    ),
    "27-docx-numbering/n.docx": (
        "1. The tenant pays.\n2. The landlord repairs.\n  (a) roof\n  (b) pipes\n\nBreach of 2(b) ends the contract."
    ),
    "28-docx-toc/t.docx": "# Purpose\n\nIt says why.\n\n# Duties\n\nIt says who.",
    "31-docx-strict/s.docx": "Strict text here.",
    "32-docx-lockfile/report.docx": "Fine text.",
}


@pytest.mark.parametrize("name", CASES)
def test_case_that_was_read_wrongly_is_read_right(name: str) -> None:
    assert document(reading_case(name)).text == CASES[name]


# --- text that is not valid any more, or not to be seen


def test_moved_text_is_read_once_where_it_stands_now() -> None:
    moved = run("The rent is due.")
    body = f"<w:p><w:moveFrom>{moved}</w:moveFrom></w:p>{p('Between.')}<w:p><w:moveTo>{moved}</w:moveTo></w:p>"
    assert text_of(body) == "Between.\n\nThe rent is due."


@pytest.mark.parametrize(
    "properties",
    [
        "<w:vanish/>",
        "<w:webHidden/>",
        "<w:strike/>",
        "<w:dstrike/>",
        '<w:rStyle w:val="Secret"/>',
        '<w:rStyle w:val="Void"/>',
        '<w:vanish w:val="true"/>',
    ],
)
def test_hidden_and_struck_text_is_not_read(properties: str) -> None:
    styles = style("Secret", "Secret", "<w:rPr><w:vanish/></w:rPr>", "character") + style(
        "Void", "Void", kind="character", based_on="Struck"
    )
    styles += style("Struck", "Struck", "<w:rPr><w:strike/></w:rPr>", "character")
    assert text_of(p("Price 90", run(" or 61", properties), "."), styles=styles) == "Price 90."


def test_style_of_a_paragraph_hides_it_and_a_run_may_show_itself() -> None:
    styles = style("Hidden", "Hidden", "<w:rPr><w:vanish/></w:rPr>")
    styles += style("Shown", "Shown", "<w:rPr><w:vanish/></w:rPr>", "character")
    shown = run("shown", '<w:vanish w:val="0"/>') + run(" twice", '<w:rStyle w:val="Shown"/>')
    hidden = p("hidden ", shown, properties='<w:pStyle w:val="Hidden"/>')
    assert text_of(hidden + p("plain"), styles=styles) == "shown twice\n\nplain"


def test_deleted_paragraph_mark_joins_the_paragraphs_and_is_not_counted() -> None:
    mark = "<w:rPr><w:del w:id='1'/></w:rPr>"
    numbering = _numbering(("decimal", "%1."))
    body = p("One", properties=_numbered(0)) + p(
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>", properties=_numbered(0) + mark
    )
    body += p("Two", properties=_numbered(0)) + p("one ", properties=mark) + p("line")
    assert text_of(body, numbering=numbering) == "1. One\n2. Two\n\none line"


def test_deleted_rows_and_cells_are_left_out() -> None:
    row = "<w:tr>{}<w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr>".format
    rows = row("", p("a"), p("b")) + row("<w:trPr><w:del/></w:trPr>", p("old"), p("price"))
    assert text_of(f"<w:tbl>{rows}{row('', p('c'), p('d'))}</w:tbl>") == "| a | b |\n| c | d |"


# --- signs, scripts and formulas


@pytest.mark.parametrize(
    ("code", "font", "sign"),
    [
        (0xF0A3, "Symbol", "≤"),
        (0xB3, "Symbol", "≥"),
        (0x6D, "Symbol", "μ"),
        (0xF0FE, "Wingdings", "☑"),
        (0xA8, "wingdings", "☐"),
        (0xFC, "Wingdings", "✔"),
        (0x52, "Wingdings 2", "☑"),
        (0x2612, "MS Gothic", "☒"),
        (0xF041, "An Unknown Font", UNKNOWN),
    ],
)
def test_symbols_mean_what_their_font_shows(code: int, font: str, sign: str) -> None:
    assert symbol(code, font) == sign
    assert text_of(p("a", f'<w:r><w:sym w:font="{font}" w:char="{code:04X}"/></w:r>', "b")) == f"a{sign}b"


def test_text_in_a_symbol_font_is_read_as_symbols() -> None:
    fonts = '<w:rFonts w:ascii="Symbol" w:hAnsi="Symbol"/>'
    assert text_of(p("4 ", run("\uf0b3", fonts), " ", run("m", fonts))) == "4 ≥ μ"


def test_check_boxes_are_told_apart_whatever_sign_shows_them() -> None:
    w14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'

    def control(state: str, content: str) -> str:
        box = f'<w14:checkbox {w14}><w14:checked w14:val="{state}"/></w14:checkbox>'
        return f"<w:sdt><w:sdtPr>{box}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"

    form = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="0"/><w:checked/></w:checkBox>'
        "</w:ffData></w:fldChar></w:r><w:r><w:instrText>FORMCHECKBOX</w:instrText></w:r><w:r><w:fldChar "
        'w:fldCharType="end"/></w:r>'
    )
    assert (
        text_of(p(control("1", run("X")), " yes ", control("0", run("O")), " no ", form, " old")) == "☑ yes ☐ no ☑ old"
    )
    cells = f"<w:tbl><w:tr>{control('1', f'<w:tc>{p(run(chr(0x2612)))}</w:tc>')}<w:tc>{p('paid')}</w:tc></w:tr></w:tbl>"
    assert text_of(cells) == "| ☑ | paid |"


def test_raised_and_lowered_text_is_written_out_though_runs_are_split() -> None:
    up, down = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
    styles = style("Up", "Up", f"<w:rPr>{up}</w:rPr>", "character")
    body = p("10", run("-", up), run("6", up), " and x", run("n", '<w:rStyle w:val="Up"/>'), ", CO", run("2", down))
    assert text_of(body, styles=styles) == "10^-6 and x^n, CO₂"


def _math(tag: str, **parts: str) -> str:
    """A construct of a formula out of its named parts, each a text or further constructs."""
    return f"<m:{tag}>{''.join(f'<m:{name}>{_term(part)}</m:{name}>' for name, part in parts.items())}</m:{tag}>"


def _term(text: str) -> str:
    return text if text.startswith("<") else f"<m:r><m:t>{text}</m:t></m:r>"


QUARTER = _math("f", num="1", den="4")
IDENTITY = "".join(f"<m:mr><m:e>{_term(a)}</m:e><m:e>{_term(b)}</m:e></m:mr>" for a, b in ("10", "01"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (QUARTER, "1/4"),
        (_term("2") + QUARTER, "2 1/4"),
        (_math("f", num="a", den="b+c"), "a/(b+c)"),
        (_math("sSup", e="10", sup="6"), "10^6"),
        (_math("sSup", e="a+b", sup="2"), "(a+b)^2"),
        (_math("sSub", e="𝑥", sub="1"), "x₁"),
        (_math("rad", deg="", e="x+1"), "√(x+1)"),
        (_math("nary", naryPr='<m:chr m:val="∑"/>', sub="i=1", sup="n", e="i"), "∑_(i=1)^n i"),
        (_math("func", fName=_math("limLow", e="lim", lim="x→0"), e="f"), "lim_(x→0) f"),
        (_math("d", e=f"<m:m>{IDENTITY}</m:m>"), "(1, 0; 0, 1)"),
    ],
)
def test_formulas_are_readable(content: str, text: str) -> None:
    assert text_of(p("=", f"<m:oMath {M}>{content}</m:oMath>", ".")) == f"={text}."


def test_readings_hyphens_tabs_breaks_and_invisible_characters() -> None:
    ruby = "<w:r><w:ruby><w:rt>{1}</w:rt><w:rubyBase>{0}</w:rubyBase></w:ruby></w:r>"
    base = ruby.format(run("東"), run("とう")) + ruby.format(run("京"), run("きょう"))
    body = p(base, "へ") + p("well", "<w:r><w:noBreakHyphen/></w:r>", "known<w:softHyphen/>")
    body += p("a", "<w:r><w:tab/></w:r>", "b", "<w:r><w:br/></w:r>", "c\u00ad\u200bd")
    assert text_of(body) == "東京(とうきょう)へ\n\nwell-known\n\na\tb\ncd"


# --- headings and lists


def test_headings_follow_styles_and_outline_levels() -> None:
    styles = (
        style("berschrift1", "heading 1")
        + style("Clause", "Clause", based_on="Sub")
        + style("Sub", "Firm Sub", '<w:pPr><w:outlineLvl w:val="1"/></w:pPr>')
        + style("Body", "Body of a heading", '<w:pPr><w:outlineLvl w:val="9"/></w:pPr>', based_on="berschrift1")
    )
    levels = {"berschrift1": 1, "Clause": 2, "Sub": 2, "Body": None, "Heading3": 3}
    body = "".join(p(f"In {name}", properties=f'<w:pStyle w:val="{name}"/>') for name in levels)
    body += p("Annex", properties='<w:outlineLvl w:val="0"/>')
    found = {heading.text: heading.level for heading in headings(text_of(body, styles=styles))}
    assert found == {f"In {name}": level for name, level in levels.items() if level} | {"Annex": 1}


def test_title_and_headings_of_level_one_are_siblings(tokenizer: Any) -> None:
    body = paragraph("Handbook", "Title") + paragraph("About", "Subtitle")
    body += "".join(paragraph(name, "Heading1") + paragraph(f"{name} text.") for name in ("Leave", "Pay"))
    found = document(docx(body))
    assert found.title == "Handbook"
    paths = [chunk.heading_path for chunk in chunk_document(found, tokenizer, 128)]
    assert paths[-2:] == [("Handbook", "Leave"), ("Handbook", "Pay")]


def test_long_clause_in_a_style_for_headings_is_text() -> None:
    clause = "The tenant shall pay. " * 20
    assert (
        headings(document(docx(paragraph(clause, "Heading2") + paragraph("Short", "Heading2"))).text)[0].text == "Short"
    )


def _numbering(*levels: tuple[str, str], extra: str = "", overrides: str = "") -> str:
    made = "".join(
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/>{extra}'
        "</w:lvl>"
        for depth, (form, text) in enumerate(levels)
    )
    lists = '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    again = f'<w:num w:numId="2"><w:abstractNumId w:val="0"/>{overrides}</w:num>'
    return f'<w:abstractNum w:abstractNumId="0">{made}</w:abstractNum>{lists}{again}'


def _numbered(depth: int, number: int = 1) -> str:
    return f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>'


def test_numbers_of_several_levels_restart_below_a_higher_one() -> None:
    numbering = _numbering(("decimal", "%1."), ("lowerLetter", "(%2)"), ("lowerRoman", "%1.%2.%3"))
    depths = [0, 1, 1, 2, 2, 0, 1, 2]
    body = "".join(p(f"at {depth}", properties=_numbered(depth)) for depth in depths)
    markers = [line.split(" at ")[0].strip() for line in text_of(body, numbering=numbering).split("\n")]
    assert markers == ["1.", "(a)", "(b)", "1.b.i", "1.b.ii", "2.", "(a)", "2.a.i"]


def test_lists_of_one_kind_count_on_unless_one_starts_anew() -> None:
    start = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'
    for overrides, markers in (("", ["1.", "2.", "3."]), (start, ["1.", "5.", "6."])):
        body = "".join(p("item", properties=_numbered(0, number)) for number in (1, 2, 2))
        text = text_of(body, numbering=_numbering(("decimal", "%1."), overrides=overrides))
        assert [line.split()[0] for line in text.split("\n")] == markers


def test_legal_numbering_and_numbers_of_headings() -> None:
    numbering = _numbering(("upperRoman", "Part %1"), ("decimal", "%1.%2"), extra="<w:isLgl/>")
    styles = style("Heading1", "heading 1", f"<w:pPr>{_numbered(0)}</w:pPr>")
    styles += style("Heading2", "heading 2", f"<w:pPr>{_numbered(1)}</w:pPr>")
    body = paragraph("Scope", "Heading1") + paragraph("Persons", "Heading2") + paragraph("Law", "Heading1")
    assert text_of(body, numbering=numbering, styles=styles) == "# Part 1 Scope\n\n## 1.1 Persons\n\n# Part 2 Law"


def test_bullets_and_paragraphs_without_a_list() -> None:
    styles = style("ListParagraph", "List Paragraph") + style("ListBullet", "List Bullet")
    body = p("one", properties=_numbered(0)) + p("two", properties=_numbered(0, 0))
    body += paragraph("indented", "ListParagraph") + paragraph("three", "ListBullet")
    assert text_of(body, numbering=_numbering(("bullet", "")), styles=styles) == "- one\n\ntwo\n\nindented\n\n- three"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3999))
def test_roman_numbers_are_read_back(number: int) -> None:
    values = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
    digits = [values[letter] for letter in counted(number, "lowerRoman")]
    signed = (-a if any(b > a for b in digits[place + 1 : place + 2]) else a for place, a in enumerate(digits))
    assert sum(signed) == number


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [(27, "lowerLetter", "aa"), (3, "upperLetter", "C"), (23, "japaneseCounting", "二十三"), (7, "decimalZero", "07"),
     (2, "decimalEnclosedCircle", "②"), (0, "lowerRoman", "0"), (12, "unheard of", "12"), (22, "ordinal", "22nd")],
)  # fmt: skip
def test_numbers_are_written_as_lists_write_them(number: int, form: str, text: str) -> None:
    assert counted(number, form) == text


# --- fields, notes, boxes


def _field(instruction: str, result: str) -> str:
    mark = '<w:r><w:fldChar w:fldCharType="{}"/></w:r>'.format
    return f"{mark('begin')}<w:r><w:instrText>{instruction}</w:instrText></w:r>{mark('separate')}{result}{mark('end')}"


def test_results_of_fields_are_read_and_their_codes_are_not() -> None:
    nested = _field(" IF " + "</w:instrText></w:r>" + _field("PAGE", run("7")) + "<w:r><w:instrText>", run("shown"))
    simple = f'<w:fldSimple w:instr="DATE">{run(" today")}</w:fldSimple>'
    assert text_of(p("It is ", nested, simple)) == "It is shown today"


def test_table_of_contents_is_left_out_however_it_was_made() -> None:
    begin, end = _field("TOC \\o", run("Scope\t3") + "</w:p><w:p>" + run("Law\t4")).split("</w:p><w:p>")
    styles = style("V1", "toc 1") + style("VH", "TOC Heading", based_on="Heading1") + style("Heading1", "heading 1")
    body = p("Contents", properties='<w:pStyle w:val="VH"/>') + p(begin) + p(end)
    body += p("Annex\t9", properties='<w:pStyle w:val="V1"/>') + paragraph("Scope", "Heading1") + p("It says why.")
    assert text_of(body, styles=styles) == "# Scope\n\nIt says why."


def test_field_that_never_ends_hides_nothing() -> None:
    begin = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC</w:instrText></w:r>'
    assert text_of(p(begin, "kept") + p("too")) == "kept\n\ntoo"


def test_notes_stand_below_the_paragraph_that_refers_to_them() -> None:
    foot = '<w:r><w:footnoteReference w:id="{}"/></w:r>'.format
    footnotes = "".join(
        f'<w:footnote w:id="{number}">{p("<w:r><w:footnoteRef/></w:r>", f" Note {number}.")}</w:footnote>'
        for number in (2, 7)
    )
    endnotes = f'<w:endnote w:id="1">{p("At the end.")}</w:endnote>'
    body = p("Rent", foot(7), " is due", '<w:r><w:endnoteReference w:id="1"/></w:r>', ".") + p("Later", foot(2))
    text = text_of(body, footnotes=footnotes, endnotes=endnotes)
    assert text == "Rent[1] is due[i].\n\n[1] Note 7.\n\n[i] At the end.\n\nLater[2]\n\n[2] Note 2."


def test_note_that_refers_to_itself_is_written_once() -> None:
    reference = '<w:r><w:footnoteReference w:id="1"/></w:r>'
    footnotes = f'<w:footnote w:id="1">{p("See ", reference)}</w:footnote>'
    assert text_of(p("Text", reference), footnotes=footnotes) == "Text[1]\n\n[1] See [1]"


def test_text_boxes_follow_the_paragraph_and_are_read_once() -> None:
    box = f"<w:txbxContent>{paragraph('Note', 'Heading1')}{p('In the box.')}</w:txbxContent>"
    anchored = (
        f"<w:r><mc:AlternateContent><mc:Choice><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    text = text_of(paragraph("Scope", "Heading1") + p("Before ", anchored, "and after."))
    assert text == "# Scope\n\nBefore and after.\n\nNote\n\nIn the box."


def test_target_of_a_link_that_does_not_say_it_is_written() -> None:
    body = p(
        "Read ",
        f'<w:hyperlink r:id="l1" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">{run("here")}</w:hyperlink>',
    )
    body += p(_field('HYPERLINK "https://b.example/x"', run("click here")))
    assert text_of(body, links={"l1": "https://a.example/y"}) == (
        "Read here (https://a.example/y)\n\nclick here (https://b.example/x)"
    )


def test_large_first_letter_belongs_to_its_word() -> None:
    body = p("O", properties='<w:framePr w:dropCap="drop"/>') + p("nce upon a time")
    assert text_of(body) == "Once upon a time"


# --- tables


def _row(*cells: str, properties: str = "") -> str:
    return f"<w:tr><w:trPr>{properties}</w:trPr>{''.join(cells)}</w:tr>"


def _cell(text: str, properties: str = "", bold: bool = False) -> str:
    content = text if text.startswith("<w:") else p(run(text, "<w:b/>" if bold else ""))
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def test_merged_cells_are_expanded_and_header_rows_joined() -> None:
    repeat = "<w:tblHeader/>"
    rows = (
        _row(_cell("City", '<w:vMerge w:val="restart"/>'), _cell("Fee", '<w:gridSpan w:val="2"/>'), properties=repeat)
        + _row(_cell("", "<w:vMerge/>"), _cell("Child"), _cell("Adult"), properties=repeat)
        + _row(_cell("North", '<w:vMerge w:val="restart"/>'), _cell("3"), _cell("7"))
        + _row(_cell("", "<w:vMerge/>"), _cell("4"), _cell("8"))
        + _row(_cell("free", '<w:gridSpan w:val="2"/>'), _cell("9"), properties='<w:gridBefore w:val="0"/>')
    )
    assert text_of(f"<w:tbl>{rows}</w:tbl>") == (
        "| City | Fee / Child | Fee / Adult |\n| --- | --- | --- |\n| North | 3 | 7 |\n| North | 4 | 8 |\n"
        "| free | free | 9 |"
    )


def test_first_row_is_a_header_if_the_style_or_its_letters_say_so() -> None:
    styles = style("Grid", "Grid", '<w:tblStylePr w:type="firstRow"><w:rPr><w:b/></w:rPr></w:tblStylePr>', "table")
    for properties, bold, is_header in (
        ('<w:tblStyle w:val="Grid"/><w:tblLook w:firstRow="1"/>', False, True),
        ('<w:tblStyle w:val="Grid"/><w:tblLook w:val="04A0"/>', False, True),
        ('<w:tblStyle w:val="Grid"/><w:tblLook w:firstRow="0"/>', False, False),
        ('<w:tblLook w:firstRow="1"/>', False, False),
        ("", True, True),
    ):
        rows = _row(_cell("kind", bold=bold), _cell("days", bold=bold)) + _row(_cell("sick"), _cell("10"))
        text = text_of(f"<w:tbl><w:tblPr>{properties}</w:tblPr>{rows}</w:tbl>", styles=styles)
        assert ("| --- |" in text) == is_header, properties


def test_tables_inside_cells_and_lists_in_cells_are_one_line() -> None:
    inner = f"<w:tbl>{_row(_cell('a'), _cell('1'))}{_row(_cell('b'), _cell('2'))}</w:tbl>"
    items = p("x", properties=_numbered(0)) + p("y", properties=_numbered(0))
    rows = _row(_cell(inner + p("after")), _cell(items))
    assert text_of(f"<w:tbl>{rows}</w:tbl>", numbering=_numbering(("decimal", "%1."))) == (
        "| a, 1; b, 2 after | 1. x 2. y |"
    )


def test_table_that_arranges_text_under_headings_is_read_as_blocks() -> None:
    cells = (f"{paragraph(name, 'Heading2')}{p(f'{name} text.')}" for name in ("Left", "Right"))
    rows = _row(*(_cell(content) for content in cells))
    assert text_of(f"<w:tbl>{rows}</w:tbl>") == "## Left\n\nLeft text.\n\n## Right\n\nRight text."


# --- files that break the rules


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"styles": "<w:style>"}, "not a readable DOCX file"),
        ({"numbering": "<w:num"}, "not a readable DOCX file"),
    ],
)
def test_file_with_a_broken_part_is_named_and_not_read_in_part(parts: dict[str, str], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        document(docx_with(p("text"), **parts))


def test_text_in_files_inside_a_document_is_named() -> None:
    with pytest.raises(Unreadable, match="its text is in files inside it"):
        document(docx('<w:altChunk xmlns:r="r" r:id="html"/>'))


@pytest.mark.parametrize("rename", [str.upper, lambda name: name.replace("/", "\\")], ids=["case", "backslashes"])
def test_parts_are_found_however_their_names_are_written(rename: Callable[[str], str]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx(p("words")))) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(rename(name), old.read(name))
    assert document(stream.getvalue()).text == "words"


def test_styles_and_lists_that_refer_in_circles_end() -> None:
    styles = style("A", "A", based_on="B") + style("B", "B", based_on="A")
    styles += style("L", "L", f"<w:pPr>{_numbered(0, 3)}</w:pPr>", "numbering")
    numbering = (
        '<w:abstractNum w:abstractNumId="9"><w:numStyleLink w:val="L"/></w:abstractNum>'
        '<w:num w:numId="3"><w:abstractNumId w:val="9"/></w:num>'
    )
    body = p("text", properties='<w:pStyle w:val="A"/>') + p("item", properties=_numbered(0, 3))
    assert text_of(body, styles=styles, numbering=numbering) == "text\n\n- item"


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab 1.", min_size=1, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=6))
def test_text_does_not_depend_on_how_it_is_split_into_runs(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    split = p("x ", *(run(text[a:b]) for a, b in pairwise(places)), " y")
    assert text_of(split) == text_of(p("x ", run(text), " y"))


def test_cell_that_continues_nothing_is_one_of_its_own_and_a_list_of_headers_is_no_header() -> None:
    rows = _row(_cell("a"), _cell("b")) + _row(_cell("c", "<w:vMerge/>"), _cell("d", '<w:vMerge w:val="restart"/>'))
    assert text_of(f"<w:tbl>{rows}{_row(_cell('e'), _cell('', '<w:vMerge/>'))}</w:tbl>") == (
        "| a | b |\n| c | d |\n| e | d |"
    )
    names = "".join(_row(_cell(f"name {n}"), _cell("x"), properties="<w:tblHeader/>") for n in range(9))
    assert text_of(f"<w:tbl>{names}</w:tbl>").count("name 3 |") == 1


def test_list_level_of_a_style_is_the_one_that_the_list_links_to_it() -> None:
    levels = (("Part", "upperLetter", "%1."), ("Item", "decimal", "%2."))
    made = "".join(
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:pStyle w:val="{name}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for depth, (name, form, text) in enumerate(levels)
    )
    numbering = f'<w:abstractNum w:abstractNumId="0">{made}</w:abstractNum>'
    numbering += '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    styles = style("Part", "Part", '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>')
    styles += style("Item", "Item", based_on="Part")
    body = "".join(paragraph("text", name) for name in ("Part", "Item", "Item", "Part", "Item"))
    assert text_of(body, styles=styles, numbering=numbering).split() == (
        ["A.", "text", "1.", "text", "2.", "text", "B.", "text", "1.", "text"]
    )


def test_value_of_a_list_to_choose_from_is_read_once() -> None:
    entries = '<w:listEntry w:val="single"/><w:listEntry w:val="married"/><w:result w:val="1"/>'
    begin = (
        f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList>{entries}</w:ddList></w:ffData></w:fldChar></w:r>'
    )
    separate, end = (f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("separate", "end"))
    assert text_of(p("is ", begin, separate, end)) == "is married"
    assert text_of(p("is ", begin, separate, run("married"), end)) == "is married"


def test_picture_in_a_line_keeps_words_apart_and_is_read_by_its_description() -> None:
    wp = 'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
    drawing = (
        '<w:r><w:drawing><wp:inline {0}><wp:docPr id="1" name="p" descr="{1}"/></wp:inline></w:drawing></w:r>'.format
    )
    assert text_of(p("before", drawing(wp, "logo.png"), "after", drawing(wp, "a map of ports"))) == (
        "before after a map of ports"
    )


def test_bold_rows_that_divide_those_above_belong_to_the_header_and_groups_do_not() -> None:
    wide = '<w:gridSpan w:val="2"/>'
    head = _row(_cell("City", bold=True), _cell("Fee", wide, bold=True))
    head += _row(_cell("name", bold=True), _cell("Child", bold=True), _cell("Adult", bold=True))
    body = _row(_cell("Group A", '<w:gridSpan w:val="3"/>', bold=True)) + _row(_cell("North"), _cell("3"), _cell("7"))
    assert text_of(f"<w:tbl>{head}{body}</w:tbl>").split("\n")[0] == "| City / name | Fee / Child | Fee / Adult |"
    head = _row(_cell("City", bold=True), _cell("Child", bold=True), _cell("Adult", bold=True))
    text = text_of(f"<w:tbl>{head}{body}</w:tbl>")
    assert text.index("Adult") < text.index("---") < text.index("Group A") < text.index("North")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (r"EQ \f(1,4)", "1/4"),
        (r"EQ \F(a+b;c) = x\s\up8(2)", "(a+b)/c = x^2"),
        (r"EQ \r(3,x) + \r(,y)", "root(3, x) + √(y)"),
        (r"EQ H\s\do4(2)O", "H₂O"),
        (r"EQ \* jc2 \* hps10 \o\ad(\s\up 9(とう),東)", "東(とう)"),
        (r"EQ \b\bc\{(\f(1,2))", "(1/2)"),
        (r"EQ " + r"\a " * 60 + "x", r"a " * 60 + "x"),
        (r"EQ a\, b", "a, b"),
        (r"EQ \f(1,", "1"),
        (r'SYMBOL 163 \f "Symbol" \s 12', "≤"),
        (r"SYMBOL 0xFE \f Wingdings", "☑"),
        (r"AUTHOR", ""),
    ],
)
def test_fields_without_a_result_are_read_as_word_shows_them(code: str, text: str) -> None:
    begin, end = (f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "end"))
    assert text_of(p("[", begin, f"<w:r><w:instrText> {code} </w:instrText></w:r>", end, "]")) == f"[{text}]"


@pytest.mark.medium
@settings(max_examples=200, deadline=None)
@given(st.text("\\fsor(),;1a ", max_size=40))
def test_any_code_of_an_equation_comes_to_an_end(code: str) -> None:
    assert isinstance(shown_without_result(f"EQ {code}", None), str)
