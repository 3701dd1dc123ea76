"""PDFs are read as a person reads them: rows, columns, words, pages, and nothing that is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import drawn_pdf, pdf, reading_case, shown

from index.documents.document import Document, Skipped
from index.documents.formats.pdf.file import read as read_pdf
from index.documents.formats.pdf.hyphens import DividedWords
from index.documents.formats.pdf.legibility import is_illegible
from index.documents.formats.settings import ReadSettings, Unreadable
from index.documents.markdown import headings


def read(data: bytes) -> tuple[Document, list[Skipped]]:
    document, *skipped = read_pdf("a.pdf", data, ReadSettings())
    assert isinstance(document, Document)
    return document, [item for item in skipped if isinstance(item, Skipped)]


def text_of(data: bytes) -> str:
    return read(data)[0].text


def column(x: float, lines: list[str], top: float = 700, leading: float = 12) -> list[tuple[float, float, str]]:
    return [(x, top - leading * number, line) for number, line in enumerate(lines)]


# --- The cases that were read wrongly


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (
            "33-pdf-form-and-freetext/f.pdf",
            "Applicant: Maria Example, contract 7731\n\nInsured: [x]\n\nCorrection: pay by 1 May",
        ),
        (
            "34-pdf-hyphen-compound/h.pdf",
            "The pump is a well-known model with a two-stage filter and an electric motor.",
        ),
        ("38-pdf-table/t.pdf", "Zone Fee Valid\nNorth 3 May\nSouth 4 June"),
        ("42-pdf-invisible-text/h.pdf", "Visible rule: no refunds."),
        (
            "43-pdf-two-col-interleaved/c.pdf",
            "\n".join(f"left words number {number} here" for number in range(6))
            + "\n\n"
            + "\n".join(f"right words number {number} there" for number in range(6)),
        ),
        (
            "44-pdf-no-outline-heading/policy.pdf",
            "# Refund policy\n\nSealed goods may come back within two weeks.\n\n# Delivery\n\nWe ship on Tuesdays.",
        ),
    ],
)
def test_a_file_that_was_read_wrongly_is_read_right(case: str, text: str) -> None:
    assert text_of(reading_case(case)) == text


def test_running_heads_of_the_case_are_not_between_pages() -> None:
    document, _ = read(reading_case("35-pdf-running-header/r.pdf"))
    assert document.text.startswith("Acme Manual 2024\n\nStep 1") and document.text.count("Acme") == 1
    assert "Page" not in document.text and "continues\n\nStep 2" in document.text
    assert [document.text[start:][:6] for start in document.page_starts] == ["Acme M", "Step 2", "Step 3"]


def test_pages_of_the_case_that_show_nothing_are_no_fault() -> None:
    document, skipped = read(reading_case("36-pdf-mostly-scanned/s.pdf"))
    assert document.text == "Cover sheet" and len(document.page_starts) == 5 and not skipped


def test_pages_without_text_that_show_something_are_named() -> None:
    line = "50 50 m 300 300 l S"
    document, (skipped,) = read(drawn_pdf([shown(50, 700, "Cover sheet"), line, "", line, line]))
    assert document.text == "Cover sheet" and "no text on pages 2, 4-5 of 5" in skipped.reason


def test_titles_of_the_case_are_the_real_ones() -> None:
    found = {name: read(reading_case(f"41-pdf-title-junk/{name}.pdf"))[0].title for name in ("annual", "b")}
    assert found == {"annual": "Migrating from Microsoft Word to bees", "b": "a"}


# --- Titles


@pytest.mark.parametrize(
    "title",
    ["Slide 1", "Folie 12", "Microsoft Word - x.doc", "untitled", "Untitled-3", "report.docx", "/home/a/fig.eps",
     "Presentation1", "Microsoft PowerPoint", "Document2"],
)  # fmt: skip
def test_titles_that_a_program_filled_in_are_no_titles(title: str) -> None:
    info = f"<< /Title ({title}) >>"
    assert read(drawn_pdf([shown(50, 700, "words")], [info], trailer="/Info 7 0 R"))[0].title == "a"


@pytest.mark.parametrize(
    "title", ["Migrating from Microsoft Word to bees", "Slide rules", "Report 2.0", "Das Dokument"]
)
def test_titles_of_authors_are_kept(title: str) -> None:
    info = f"<< /Title ({title}) >>"
    assert read(drawn_pdf([shown(50, 700, "words")], [info], trailer="/Info 7 0 R"))[0].title == title


# --- Words


def test_the_document_decides_whether_a_hyphen_stays() -> None:
    lines = [
        "The pre-set value and the database.",
        "Turn the pre-",
        "set knob of the data-",
        "base and the mail-",
        "box.",
    ]
    assert text_of(pdf([column(50, lines)])).endswith("Turn the pre-set knob of the database and the mailbox.")


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        ("elec", "tric", "electric"), ("hard", "ware", "hardware"), ("ex", "ample", "example"),
        ("ten", "sion", "tension"), ("un", "aware", "unaware"), ("well", "known", "well-known"),
        ("two", "stage", "two-stage"), ("USB", "cable", "USB-cable"), ("state-of", "the-art", "state-of-the-art"),
        ("rule", "based", "rule-based"), ("x", "ray", "x-ray"), ("Haupt", "Eingang", "Haupt-Eingang"),
        ("10", "20", "10-20"), ("--dry", "run", "--dry-run"),
    ],
)  # fmt: skip
def test_without_evidence_form_and_common_words_decide(before: str, after: str, written: str) -> None:
    text = f"a {before}\x02{after} b"
    assert DividedWords([text]).joined(text) == f"a {written} b"


@given(st.lists(st.text("abcXYZ019 -\n\x02", max_size=30)))
def test_no_letter_is_lost_where_words_are_divided(texts: list[str]) -> None:
    words = DividedWords(texts)
    for text in texts:
        joined = words.joined(text)
        assert [c for c in joined if c.isalnum()] == [c for c in text if c.isalnum()] and "\x02" not in joined


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        ("(Schr) -111 (\\250) 444 (oder)", "Schröder"),
        ("(gar) -111 (\\270) 444 (con)", "garçon"),
        ("(fa) (c) 416 (\\270) 83 (ade)", "façade"),
        ("(an `apple')", "an `apple'"),
        ("(5^n, ~x)", "5^n, ~x"),
    ],
)
def test_accents_belong_to_the_letters_above_or_below_which_they_are_drawn(drawn: str, text: str) -> None:
    assert text_of(drawn_pdf([f"BT /F1 10 Tf 50 700 Td [{drawn}] TJ ET"])) == text


def test_letters_of_formulas_are_kept() -> None:
    codes = (
        "begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <78> <D835DC65> endbfchar endcmap"
    )
    map_of_codes = f"<< /Length {len(codes)} >>\nstream\n{codes}\nendstream"
    data = drawn_pdf([shown(50, 700, "x = 2")], [map_of_codes])
    encoding = b"/Encoding /WinAnsiEncoding"
    assert text_of(data.replace(encoding, b"/ToUnicode 7 0 R".ljust(len(encoding)))) == "𝑥 = 2"


def test_raised_and_lowered_characters_are_marked() -> None:
    drawn = (
        "BT /F1 10 Tf 50 700 Td (Up to 10) Tj /F1 7 Tf 4 Ts (6) Tj /F1 10 Tf 0 Ts ( cells of CO) Tj "
        "/F1 7 Tf -2 Ts (2) Tj /F1 10 Tf 0 Ts ( per litre) Tj ET"
    )
    assert text_of(drawn_pdf([drawn])) == "Up to 10^6 cells of CO₂ per litre"


def test_a_raised_digit_after_a_single_letter_is_marked() -> None:
    drawn = "BT /F1 10 Tf 50 700 Td (x) Tj /F1 7 Tf 4 Ts (2) Tj 0 Ts /F1 10 Tf ( is a square) Tj ET"
    assert text_of(drawn_pdf([drawn])) == "x^2 is a square"


def test_the_mark_before_a_footnote_is_apart_from_its_text() -> None:
    drawn = "BT /F1 5 Tf 50 50 Td 3 Ts (3) Tj 0 Ts /F1 8 Tf (The price of 2024.) Tj ET"
    assert text_of(drawn_pdf([drawn])) == "[3] The price of 2024."


def test_small_capitals_are_not_lowered() -> None:
    drawn = "BT /F1 10 Tf 50 700 Td (T) Tj /F1 7 Tf (ITLE) Tj /F1 10 Tf ( of P) Tj /F1 7 Tf (ART 12) Tj ET"
    assert text_of(drawn_pdf([drawn])) == "TITLE of PART 12"


# --- Layout


def test_tables_drawn_column_by_column_are_read_by_rows() -> None:
    cells = [
        *column(50, ["Zone", "North", "South", "East"], leading=20),
        *column(150, ["Fee", "3", "4", "5"], leading=20),
    ]
    assert text_of(pdf([cells])) == "Zone Fee\nNorth 3\nSouth 4\nEast 5"


def test_two_columns_of_short_lines_are_no_table() -> None:
    names = [*column(50, ["Adder", "Bee", "Cat", "Dog"]), *column(300, ["Eel", "Fox", "Gnu", "Hen"])]
    assert text_of(pdf([names])).split() == ["Adder", "Bee", "Cat", "Dog", "Eel", "Fox", "Gnu", "Hen"]


def test_columns_drawn_line_by_line_are_read_one_after_the_other_below_a_heading() -> None:
    lines = [(50.0, 740.0, "A heading over both columns that is as wide as the page is, nearly")]
    for row in range(5):
        lines.append((50, 700 - 12 * row, f"left words number {row} here"))
        lines.append((320, 700 - 12 * row, f"right words number {row} there"))
    words = text_of(pdf([lines])).split("\n")
    assert [line.split()[0] for line in words if line] == ["A", *["left"] * 5, *["right"] * 5]


def test_rows_with_several_lines_in_a_cell_are_kept_together() -> None:
    lines = []
    for row, topic in enumerate(("refunds", "delivery", "repairs")):
        for number, y in enumerate((700 - 60 * row, 688 - 60 * row)):
            lines.append((50, y, f"question {number} about the {topic}"))
            lines.append((320, y, f"answer {number} tells all about {topic}"))
    text = text_of(pdf([lines])).replace("\n", " ")
    assert text.index("answer 1 tells all about refunds") < text.index("question 0 about the delivery")


@pytest.mark.parametrize(("rotation", "matrix"), [(90, "0 1 -1 0 {y} {x}"), (270, "0 -1 1 0 {x} {y}")])
def test_turned_pages_are_read_upright(rotation: int, matrix: str) -> None:
    cells = [("Zone", 0, 0), ("Fee", 100, 0), ("North", 0, 1), ("3", 100, 1), ("South", 0, 2), ("4", 100, 2)]
    drawn = ""
    for text, x, row in cells:
        # Rows lie side by side on the sheet; within a row, text runs up or down.
        place = (
            matrix.format(x=50 + x, y=100 + 20 * row) if rotation == 90 else matrix.format(x=500 - 20 * row, y=700 - x)
        )
        drawn += f"BT /F1 10 Tf {place} Tm ({text}) Tj ET\n"
    assert text_of(drawn_pdf([drawn], page=f"/Rotate {rotation}")) == "Zone Fee\nNorth 3\nSouth 4"


# --- Pages


def manual(number: int, body: list[str]) -> list[tuple[float, float, str]]:
    return [(50, 780, "Acme Manual"), *column(50, body), (300, 20, f"Page {number}")]


def test_a_sentence_goes_on_across_pages() -> None:
    pages = [
        manual(1, ["The valve on the left hand side is closed before", "the lid of the tank is opened, and the elec-"]),
        manual(2, ["tric motor stays off while"]),
        manual(3, ["the tank is empty."]),
    ]
    document = read(pdf(pages))[0]
    assert "and the electric motor stays off while\nthe tank is empty." in document.text
    assert document.text.count("Acme Manual") == 1 and "Page" not in document.text


def test_a_running_head_is_no_heading_and_no_title() -> None:
    pages = [
        [(50, 780, "Confidential"), (50, 700, f"{name} text goes here."), (300, 20, f"Page {number} of 2")]
        for number, name in enumerate(("Alpha", "Beta"), start=1)
    ]
    document = read(pdf(pages))[0]
    assert document.text == "Confidential\n\nAlpha text goes here.\n\nBeta text goes here." and document.title == "a"


def test_a_head_that_begins_on_the_second_page_is_kept_once_at_the_beginning() -> None:
    pages = [[(50, 700, "A plan.")]] + [
        [(50, 780, "Contract 7731"), (50, 700, f"Part {name} of the plan.")] for name in ("one", "two", "three")
    ]
    expected = ["Contract 7731", "A plan.", *(f"Part {name} of the plan." for name in ("one", "two", "three"))]
    assert text_of(pdf(pages)).split("\n\n") == expected


def test_titles_of_slides_are_no_running_heads() -> None:
    pages = [shown(50, 700, f"Exercise {n}", 24) + shown(50, 500, f"Solve the equation {n}.") for n in (1, 2, 3)]
    document = read(drawn_pdf(pages))[0]
    assert [heading.text for heading in headings(document.text)] == ["Exercise 1", "Exercise 2", "Exercise 3"]


def test_feet_that_stand_once_are_kept() -> None:
    pages = [[(50, 700, f"Body of page {name}"), (50, 20, f"Note {name}")] for name in ("one", "two", "three")]
    assert all(f"Note {name}" in text_of(pdf(pages)) for name in ("one", "two", "three"))


def test_heads_with_varying_sections_go_by_their_page_number() -> None:
    pages = [
        [(50, 780, f"{section} {number}"), *column(50, [f"All about {section}."])]
        for number, section in enumerate(("Ports", "Keys", "Logs", "Users"), start=11)
    ]
    assert text_of(pdf(pages)).split("\n\n") == [
        "All about Ports.",
        "All about Keys.",
        "All about Logs.",
        "All about Users.",
    ]


def test_pages_with_illegible_text_are_named_and_left_out() -> None:
    moved = "".join(chr(ord(character) - 28) for character in "Loremipsumdolorsitametconsecteturadipiscing")
    document, (skipped,) = read(drawn_pdf([shown(50, 700, "A page that can be read."), shown(50, 700, moved)]))
    assert document.text == "A page that can be read." and "not legible on page 2 of 2" in skipped.reason
    (skipped,) = read_pdf("a.pdf", drawn_pdf([shown(50, 700, moved)]), ReadSettings())
    assert isinstance(skipped, Skipped) and "its text is not legible" in skipped.reason


@pytest.mark.parametrize(
    "text",
    ["REFUND POLICY AND TERMS OF DELIVERY FOR ALL CUSTOMERS", "AB-1234 XK-9931 QRT-7731 ZZ-0042 KLM-8841 BCD-0099",
     "返金ポリシー。返品は三十日以内です。", "ПРАВИЛА ВОЗВРАТА ТОВАРОВ", "12.50 13.75 99.10 1,024 77 88 99 1234"],
)  # fmt: skip
def test_capitals_numbers_and_other_scripts_are_legible(text: str) -> None:
    assert not is_illegible(text)


def test_the_notice_of_a_dynamic_form_is_no_document() -> None:
    notice = "Please wait... If this message is not eventually replaced by the proper contents of the document"
    with pytest.raises(Unreadable, match="dynamic form"):
        read(drawn_pdf([shown(50, 700, notice)]))


def test_recognised_text_below_the_picture_of_a_scan_is_read() -> None:
    picture = (
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>"
        "\nstream\n0\nendstream"
    )
    recognised = "q 600 0 0 800 0 0 cm /Im Do Q BT 3 Tr /F1 10 Tf 50 700 Td (words of a scan) Tj ET"
    assert text_of(drawn_pdf([recognised], [picture])) == "words of a scan"


def test_hidden_words_within_a_line_are_left_out() -> None:
    drawn = "BT /F1 10 Tf 50 700 Td (No refunds ) Tj 3 Tr (except today ) Tj 0 Tr (at all.) Tj ET"
    assert text_of(drawn_pdf([drawn])) == "No refunds at all."


# --- Forms and notes


def test_hidden_notes_and_buttons_are_left_out_and_choices_are_read() -> None:
    choice = "/FT /Ch /Ff 131072 /T (a) /V (Tuesday) /Opt [(Monday) (Tuesday)]"
    objects = [
        f"<< /Type /Annot /Subtype /Widget {choice} /Rect [150 695 300 715] /F 4 >>",
        "<< /Type /Annot /Subtype /Widget /FT /Btn /T (b) /V /Off /AS /Off /Rect [150 645 170 665] /F 4 >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (withdrawn) /Rect [50 500 300 520] /F 2 >>",
    ]
    form = "/AcroForm << /Fields [7 0 R 8 0 R] >>"
    drawn = shown(50, 700, "Day:") + shown(50, 650, "Paid:")
    assert text_of(drawn_pdf([drawn], objects, catalog=form, page="/Annots [7 0 R 8 0 R 9 0 R]")) == (
        "Day: Tuesday\n\nPaid: [ ]"
    )


# --- Headings


def test_larger_type_makes_headings_and_gives_a_title() -> None:
    drawn = shown(50, 750, "Handbook", 20) + shown(50, 700, "Leave", 14)
    drawn += "".join(
        shown(50, 670 - 12 * row, "Thirty days are given to everybody who asks in time.") for row in range(4)
    )
    drawn += shown(50, 600, "Pay", 14) + shown(50, 570, "It is paid on the first.")
    document = read(drawn_pdf([drawn]))[0]
    assert [(h.level, h.text) for h in headings(document.text)] == [(1, "Handbook"), (2, "Leave"), (2, "Pay")]
    assert document.title == "Handbook"


def test_bold_lines_above_text_are_headings_even_without_space() -> None:
    drawn = shown(50, 700, "Leave", font="F2")
    drawn += "".join(
        shown(50, 688 - 12 * row, "Thirty days are given to everybody who asks in time.") for row in range(4)
    )
    assert [heading.text for heading in headings(text_of(drawn_pdf([drawn])))] == ["Leave"]


def test_where_every_line_is_large_none_is_a_heading() -> None:
    drawn = "".join(shown(50, 700 - 40 * row, f"Line {row} of a poster", 12 if row % 2 else 20) for row in range(8))
    assert not read(drawn_pdf([drawn]))[0].is_markdown
