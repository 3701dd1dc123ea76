"""A presentation is read slide by slide, as its audience and its speaker see it."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from support.files import docx, paragraph, pptx, shape

from index.documents.chunking import chunk_document
from index.documents.document import Document
from index.documents.formats.pptx import read
from index.documents.formats.settings import Limits, ReadSettings, Unreadable

TITLE, BODY = 'type="title"', 'idx="1"'
REL = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'


def document(data: bytes, limits: Limits | None = None) -> Document:
    (found,) = read("deck.pptx", data, ReadSettings(limits=limits or Limits()))
    assert isinstance(found, Document)
    return found


def text_of(*shapes: str, **more: Any) -> str:
    """The text of a presentation of one slide, without the slide's heading."""
    return document(pptx(["".join(shapes)], **more)).text.removeprefix("## Slide 1\n\n")


def relation(kind: str, target: str, identity: str = "r1") -> str:
    return f'<Relationship Id="{identity}" Type="KIND/{kind}" Target="{target}"/>'


def runs(*made: tuple[str, str]) -> str:
    inner = "".join(f"<a:r><a:rPr {properties}/><a:t>{text}</a:t></a:r>" for text, properties in made)
    return f"<a:p>{inner}</a:p>"


def test_slides_are_sections_under_their_titles_and_pages(tokenizer: Any) -> None:
    slides = [
        shape("Prices", place=TITLE) + shape("North 7", "South 9", place=BODY),
        shape("no title here"),
        shape("as of May", place=BODY) + shape("Terms", place=TITLE),
    ]
    found = document(pptx(slides))
    assert found.title == "deck" and found.is_markdown
    assert found.text == "## Prices\n\nNorth 7\nSouth 9\n\n## Slide 2\n\nno title here\n\n## Terms\n\nas of May"
    chunks = chunk_document(found, tokenizer, 64)
    assert [(chunk.heading_path, chunk.page) for chunk in chunks] == [
        (("deck", "Prices"), 1),
        (("deck", "Slide 2"), 2),
        (("deck", "Terms"), 3),
    ]


def test_order_is_that_of_the_presentation_and_not_of_the_file_names() -> None:
    data = pptx([shape("second file"), shape("first file")])
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "ppt/presentation.xml":
                content = content.replace(b'"s1"', b'"s"').replace(b'"s2"', b'"s1"').replace(b'"s"', b'"s2"')
            new.writestr(name, content)
    assert document(stream.getvalue()).text.index("first file") < document(stream.getvalue()).text.index("second file")


def test_hidden_slides_and_shapes_and_what_repeats_on_slides_are_left_out() -> None:
    hidden = shape("hidden shape").replace('name="a"', 'name="a" hidden="1"')
    shapes = shape("seen") + hidden + "".join(shape("9", place=f'type="{kind}"') for kind in ("dt", "ftr", "sldNum"))
    found = document(pptx([shape("hidden slide"), shapes], attributes=['show="0"', ""]))
    assert found.text == "## Slide 2\n\nseen"
    assert found.page_starts == (0, 0) and found.page_at(0) == 2


def test_shapes_in_groups_are_read() -> None:
    group = f'<p:grpSp><p:nvGrpSpPr><p:cNvPr id="3" name="g"/></p:nvGrpSpPr>{shape("inside")}</p:grpSp>'
    assert text_of(shape("before"), group) == "before\n\ninside"


def test_struck_text_and_slide_numbers_are_left_out_and_raised_text_is_written_out() -> None:
    made = runs(("Price ", ""), ("61", 'strike="sngStrike"'), ("90 per 10", ""), ("6", 'baseline="30000"'))
    number = (
        '<a:p><a:fld type="slidenum"><a:t>7</a:t></a:fld><a:r><a:t>a</a:t></a:r><a:br/><a:r><a:t>b</a:t></a:r></a:p>'
    )
    assert text_of(shape(made), shape(number)) == "Price 90 per 10^6\n\na\nb"


def test_symbol_fonts_change_only_what_they_show() -> None:
    fonts = '<a:rPr><a:sym typeface="Wingdings"/></a:rPr>'
    made = f"<a:p><a:r>{fonts}<a:t>yes \uf0fe</a:t></a:r></a:p>"
    letters = '<a:p><a:r><a:rPr><a:latin typeface="Symbol"/></a:rPr><a:t>m</a:t></a:r></a:p>'
    assert text_of(shape(made), shape(letters)) == "yes ☑\n\nμ"


def test_lists_are_numbered_as_the_slide_shows_them() -> None:
    def item(text: str, bullet: str, level: int = 0) -> str:
        return f'<a:p><a:pPr lvl="{level}">{bullet}</a:pPr><a:r><a:t>{text}</a:t></a:r></a:p>'

    number, letter = '<a:buAutoNum type="arabicPeriod" startAt="3"/>', '<a:buAutoNum type="alphaLcParenBoth"/>'
    made = shape(
        item("three", number), item("a", letter, 1), item("b", letter, 1), item("four", number), item("a", letter, 1),
        item("dot", '<a:buChar char="•"/>'), item("none", "<a:buNone/>"),
    )  # fmt: skip
    assert text_of(made) == "3. three\n  (a) a\n  (b) b\n4. four\n  (a) a\n- dot\n\nnone"


def test_bullets_come_from_the_layout_and_its_master() -> None:
    files = {
        "ppt/slides/_rels/slide1.xml.rels": REL.format(relation("slideLayout", "../slideLayouts/l.xml")),
        "ppt/slideLayouts/l.xml": '<p:sldLayout NAMES type="obj"><p:cSld><p:spTree/></p:cSld></p:sldLayout>',
        "ppt/slideLayouts/_rels/l.xml.rels": REL.format(relation("slideMaster", "../slideMasters/m.xml")),
        "ppt/slideMasters/m.xml": (
            "<p:sldMaster NAMES><p:txStyles><p:titleStyle/><p:bodyStyle><a:lvl1pPr><a:buChar char='•'/></a:lvl1pPr>"
            "<a:lvl2pPr><a:buAutoNum type='romanLcPeriod'/></a:lvl2pPr></p:bodyStyle></p:txStyles></p:sldMaster>"
        ),
    }
    made = shape("one", '<a:p><a:pPr lvl="1"/><a:r><a:t>two</a:t></a:r></a:p>', place=BODY)
    assert text_of(made, shape("free"), files=files) == "- one\n  i. two\n\nfree"


def test_title_slide_names_the_document_and_section_slides_stand_above_those_that_follow(tokenizer: Any) -> None:
    kinds = {1: "title", 2: "obj", 3: "secHead", 4: "obj"}
    files: dict[str, str] = {}
    for number, kind in kinds.items():
        files[f"ppt/slides/_rels/slide{number}.xml.rels"] = REL.format(relation("slideLayout", f"../l{number}.xml"))
        files[f"ppt/l{number}.xml"] = f'<p:sldLayout NAMES type="{kind}"/>'
    slides = [shape(name, place=TITLE) + shape(f"About {name}.") for name in ("Year", "Plan", "North", "Sales")]
    found = document(pptx(slides, files=files))
    assert found.title == "Year"
    assert [chunk.heading_path for chunk in chunk_document(found, tokenizer, 64)] == [
        ("Year",),
        ("Year", "Plan"),
        ("Year", "North"),
        ("Year", "North", "Sales"),
    ]


def test_notes_of_the_speaker_stay_with_their_slide() -> None:
    notes = shape("Say it slowly.", "Twice.", place='type="body" idx="1"') + shape("1", place='type="sldNum"')
    files = {
        "ppt/slides/_rels/slide1.xml.rels": REL.format(relation("notesSlide", "../notesSlides/n.xml")),
        "ppt/notesSlides/n.xml": f"<p:notes NAMES><p:cSld><p:spTree>{notes}</p:spTree></p:cSld></p:notes>",
    }
    assert text_of(shape("seen"), files=files) == "seen\n\nNotes: Say it slowly.\nTwice."


def _frame(content: str) -> str:
    return (
        '<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="4" name="t"/></p:nvGraphicFramePr>'
        f"<a:graphic><a:graphicData>{content}</a:graphicData></a:graphic></p:graphicFrame>"
    )


def test_tables_have_their_merged_cells_expanded() -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<a:tc {properties}><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"

    rows = (
        cell("City", 'rowSpan="2"') + cell("Fee", 'gridSpan="2"') + cell("", 'hMerge="1"'),
        cell("", 'vMerge="1"') + cell("Child") + cell("Adult"),
        cell("North") + cell("3") + cell("7"),
    )
    made = "".join(f"<a:tr>{row}</a:tr>" for row in rows)
    assert text_of(_frame(f'<a:tbl><a:tblPr firstRow="1"/>{made}</a:tbl>')) == (
        "| City | Fee / Child | Fee / Adult |\n| --- | --- | --- |\n| North | 3 | 7 |"
    )


def _points(*values: str) -> str:
    return "".join(f'<c:pt idx="{place}"><c:v>{value}</c:v></c:pt>' for place, value in enumerate(values))


def test_figures_of_charts_and_words_of_diagrams_are_read() -> None:
    def series(name: str, over: tuple[str, ...], values: tuple[str, ...]) -> str:
        parts = {"tx": (name,), "cat": over, "val": values}
        return f"<c:ser>{''.join(f'<c:{tag}>{_points(*part)}</c:{tag}>' for tag, part in parts.items())}</c:ser>"

    c, d = (f"http://schemas.openxmlformats.org/drawingml/2006/{name}" for name in ("chart", "diagram"))
    title = "<c:title><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:title>"
    drawn = series("North", ("May", "June"), ("4.4000000000000004", "5")) + series("South", ("May", "June"), ("1", "2"))
    drawn += series("East", ("July",), ("9",))
    point = '<d:pt type="{}"><d:t><a:p><a:r><a:t>{}</a:t></a:r></a:p></d:t></d:pt>'.format
    points = point("node", "Plan") + point("pres", "x") + point("node", "Do")
    both = relation("chart", "../chart.xml") + relation("diagramData", "../data.xml", "r2")
    files = {
        "ppt/slides/_rels/slide1.xml.rels": REL.format(both),
        "ppt/chart.xml": f'<c:chartSpace xmlns:c="{c}" NAMES><c:chart>{title}{drawn}</c:chart></c:chartSpace>',
        "ppt/data.xml": f'<d:m xmlns:d="{d}" NAMES>{points}</d:m>',
    }
    frames = _frame(f'<c:chart xmlns:c="{c}" r:id="r1"/>') + _frame(f'<d:relIds xmlns:d="{d}" r:dm="r2"/>')
    assert text_of(frames, files=files) == (
        "Sales\n\n|  | North | South |\n| --- | --- | --- |\n| May | 4.4 | 1 |\n| June | 5 | 2 |\n\n"
        "|  | East |\n| --- | --- |\n| July | 9 |\n\n- Plan\n- Do"
    )


@pytest.mark.parametrize(("described", "text"), [("A map of the ports", "A map of the ports"), ("map.png", "")])
def test_pictures_are_read_by_their_description_and_not_by_their_file(described: str, text: str) -> None:
    picture = f'<p:pic><p:nvPicPr><p:cNvPr id="5" name="p" descr="{described}"/></p:nvPicPr></p:pic>'
    assert text_of(shape("seen"), picture) == "\n\n".join(filter(None, ("seen", text)))


def test_formulas_on_slides_are_readable() -> None:
    m = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    one, four = (f"<m:r><m:t>{number}</m:t></m:r>" for number in (1, 4))
    math = f"<m:oMath {m}><m:f><m:num>{one}</m:num><m:den>{four}</m:den></m:f></m:oMath>"
    made = (
        f"<a:p><a:r><a:t>dose </a:t></a:r><mc:AlternateContent><mc:Choice Requires='a14'>{math}</mc:Choice>"
        "<mc:Fallback><a:r><a:t>picture</a:t></a:r></mc:Fallback></mc:AlternateContent></a:p>"
    )
    assert text_of(shape(made)) == "dose 1/4"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x05\x06" + b"\0" * 18, "not a readable PPTX file"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, r"encrypted, or an old \.ppt file; save it as PPTX without a password"),
        (docx(paragraph("words")), "it holds no presentation"),
        (pptx([shape("")]), "no text"),
        (pptx(["<p:sp>"]), "not a readable PPTX file"),
        (pptx([shape("word " * 300)] * 5), "more than 2000 characters of text"),
    ],
    ids=["other", "old", "docx", "blank", "broken", "long"],
)
def test_bad_presentation_is_named_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        document(data, Limits(characters=2000))
