"""Small files of the rich formats, made byte by byte where a test must know what they hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

Text = tuple[float, float, str]
"""Left, bottom (both in points, from the lower left corner) and text of one line."""


def pdf(pages: Sequence[Sequence[Text]], outline: Sequence[tuple[str, int]] = (), trailer: str = "") -> bytes:
    """A PDF whose pages draw these lines in this order; `outline` holds titles with the number of their page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    first = 4 + 2 * len(pages)
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {first} 0 R' if outline else ''} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        drawn = "".join(f"BT /F1 10 Tf {x} {y} Td ({_string(text)}) Tj ET\n" for x, y, text in lines)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn.encode('cp1252'))} >>\nstream\n{drawn}endstream")
    if outline:
        last = first + len(outline)
        objects.append(f"<< /Type /Outlines /First {first + 1} 0 R /Last {last} 0 R /Count {len(outline)} >>")
        for place, (title, page) in enumerate(outline, start=first + 1):
            following = f"/Next {place + 1} 0 R" if place < last else ""
            objects.append(
                f"<< /Title ({_string(title)}) /Parent {first} 0 R /Dest [{4 + 2 * page} 0 R /Fit] {following} >>"
            )
    return _assembled(objects, trailer)


def _assembled(objects: Sequence[str], trailer: str) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += "".join(f"{place:010d} 00000 n \n" for place in places).encode()
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def encrypted_pdf() -> bytes:
    """A PDF that opens only with a password, which nobody knows."""
    nothing = "00" * 32
    trailer = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{nothing}> /U <{nothing}> /P -4 >> /ID [<00> <00>]"
    return pdf([[(50, 700, "secret")]], trailer=trailer)


def _string(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


_CONTENT_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Target="word/document.xml" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
)
_DOCUMENT = (
    '<?xml version="1.0"?>{prolog}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
    "<w:body>{body}</w:body></w:document>"
)


def docx(body: str, prolog: str = "") -> bytes:
    """A DOCX file with this WordprocessingML between the tags of its body."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", _DOCUMENT.format(body=body, prolog=prolog))
    return file.getvalue()


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of WordprocessingML."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


_OFFICE = "http://schemas.openxmlformats.org"
_W = f'xmlns:w="{_OFFICE}/wordprocessingml/2006/main"'


def reading_case(name: str) -> bytes:
    """A file of `shared/data/reading` beside the repository, such as `25-docx-sym/s.docx`; skips if absent."""
    path = Path(__file__).parents[3] / "shared" / "data" / "reading" / name
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path.read_bytes()


def docx_with(body: str, links: Mapping[str, str] | None = None, **parts: str) -> bytes:
    """A DOCX file with other parts beside the body: `styles="<w:style>...", numbering=..., footnotes=...`.

    `links` holds addresses by the id of their relationship.
    """
    relations = "".join(
        f'<Relationship Id="{kind}" Type="{_OFFICE}/officeDocument/2006/relationships/{kind}" Target="{kind}.xml"/>'
        for kind in parts
    ) + "".join(
        f'<Relationship Id="{identity}" Type="{_OFFICE}/officeDocument/2006/relationships/hyperlink" '
        f'Target="{address}" TargetMode="External"/>'
        for identity, address in (links or {}).items()
    )
    files = {f"word/{kind}.xml": f"<w:{kind} {_W}>{content}</w:{kind}>" for kind, content in parts.items()}
    return _with_files(docx(body), {"word/_rels/document.xml.rels": _relationships(relations), **files})


def _relationships(content: str) -> str:
    return f'<Relationships xmlns="{_OFFICE}/package/2006/relationships">{content}</Relationships>'


def _with_files(archive: bytes, files: Mapping[str, str]) -> bytes:
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return stream.getvalue()


def pptx(slides: Sequence[str], attributes: Sequence[str] = (), files: Mapping[str, str] | None = None) -> bytes:
    """A PPTX file with these shapes on its slides.

    Args:
        attributes: for each slide, attributes of its element, such as `show="0"`.
        files: other parts by name, also `ppt/slides/_rels/slide1.xml.rels`.
    """
    kind = f"{_OFFICE}/officeDocument/2006/relationships"
    names = (
        f'xmlns:p="{_OFFICE}/presentationml/2006/main" xmlns:a="{_OFFICE}/drawingml/2006/main" xmlns:r="{kind}" '
        f'xmlns:mc="{_OFFICE}/markup-compatibility/2006"'
    )
    numbers = range(1, len(slides) + 1)
    listed = "".join(f'<p:sldId id="{255 + number}" r:id="s{number}"/>' for number in numbers)
    relations = "".join(
        f'<Relationship Id="s{number}" Type="{kind}/slide" Target="slides/slide{number}.xml"/>' for number in numbers
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        target = f'<Relationship Id="m" Type="{kind}/officeDocument" Target="ppt/presentation.xml"/>'
        archive.writestr("_rels/.rels", _relationships(target))
        archive.writestr(
            "ppt/presentation.xml", f"<p:presentation {names}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>"
        )
        archive.writestr("ppt/_rels/presentation.xml.rels", _relationships(relations))
        for number, shapes in zip(numbers, slides, strict=True):
            own = attributes[number - 1] if attributes else ""
            tree = f"<p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id='1' name=''/></p:nvGrpSpPr>{shapes}</p:spTree></p:cSld>"
            archive.writestr(f"ppt/slides/slide{number}.xml", f"<p:sld {names} {own}>{tree}</p:sld>")
        for name, content in (files or {}).items():
            archive.writestr(name, content.replace("NAMES", names).replace("KIND", kind))
    return stream.getvalue()


def shape(*paragraphs: str, place: str = "") -> str:
    """A shape on a slide, out of texts or whole `<a:p>` paragraphs; `place` says what it fills, as `type="title"`."""
    made = (text if text.startswith("<a:p>") else f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>" for text in paragraphs)
    filled = f"<p:ph {place}/>" if place else ""
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="a"/><p:cNvSpPr/><p:nvPr>{filled}</p:nvPr></p:nvSpPr><p:spPr/>'
        f"<p:txBody><a:bodyPr/><a:lstStyle/>{''.join(made)}</p:txBody></p:sp>"
    )


def drawn_pdf(
    pages: Sequence[str], objects: Sequence[str] = (), *, catalog: str = "", page: str = "", trailer: str = ""
) -> bytes:
    """A PDF whose pages are drawn by these operators, with Helvetica as /F1 and its bold as /F2.

    Args:
        objects: further objects, numbered from 5 + 2 * len(pages).
        catalog: more entries of the catalogue.
        page: more entries of each page; `/MediaBox [0 0 600 800]` is given.
    """
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    made = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        font.format("Helvetica"),
        font.format("Helvetica-Bold"),
    ]
    for number, content in enumerate(pages):
        made.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {6 + 2 * number} 0 R {page} "
            f"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> /XObject << /Im {5 + 2 * len(pages)} 0 R >> >> >>"
        )
        made.append(f"<< /Length {len(content.encode('cp1252'))} >>\nstream\n{content}\nendstream")
    return _assembled([*made, *objects], trailer)


def shown(x: float, y: float, text: str, size: float = 10, font: str = "F1") -> str:
    """Operators that draw a line of text."""
    return f"BT /{font} {size} Tf {x} {y} Td ({_string(text)}) Tj ET\n"
