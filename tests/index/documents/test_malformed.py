"""Hostile and broken files of every format are skipped with a reason; none crashes, hangs or exhausts the memory."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.files import docx, encrypted_pdf, paragraph, pdf

from index.documents.document import Document, Skipped
from index.documents.folder import read_documents
from index.documents.formats import FORMATS
from index.documents.formats.process import ReaderProcess
from index.documents.formats.settings import Limits, ReadSettings, Unreadable
from index.errors import NoDocuments


def _lying_zip() -> bytes:
    """A DOCX file whose directory declares its text to be much smaller than it is."""
    data = bytearray(docx(paragraph("a" * 5_000_000)))
    size = len("".join(paragraph("a" * 5_000_000))).to_bytes(4, "little")[:2]
    place = data.rfind(b"PK\x01\x02word/document.xml"[:4])
    assert size and place > 0
    data[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    return bytes(data)


def _many_parts() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(10_001):
            archive.writestr(str(number), "")
    return file.getvalue()


_LAUGHS = "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {after} '{f'&{before};' * 10}'>" for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)

SMALL = ReadSettings(
    limits=Limits(file_bytes=3_000_000, pages=50, characters=500_000, depth=200, expanded_bytes=8_000_000, seconds=1)
)

BAD: dict[str, tuple[bytes, str]] = {
    "garbage.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 20, "damaged"),
    "truncated.pdf": (pdf([[(50, 700, "words")]])[:200], "damaged|no text"),
    "empty.pdf": (b"", "damaged"),
    "encrypted.pdf": (encrypted_pdf(), "encrypted"),
    "scanned.pdf": (pdf([[], []]), "no text on 2 pages"),
    "long.pdf": (pdf([[] for _ in range(51)]), "51 pages, more than 50"),
    "truncated.docx": (docx(paragraph("words"))[:-40], "not a readable DOCX"),
    "bomb.docx": (docx(paragraph("a" * 10_000_000)), "bytes unpacked, more than"),
    "ratio.docx": (docx(paragraph("a" * 6_000_000)), "times its size"),
    "lying.docx": (_lying_zip(), "damaged|not a readable DOCX"),
    "parts.docx": (_many_parts(), "10001 parts"),
    "old.docx": (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "encrypted, or an old .doc"),
    "other.docx": (b"PK\x05\x06" + b"\0" * 18, "not a readable DOCX"),
    "laughs.docx": (docx(paragraph("&j;"), f"{_LAUGHS}]>"), "damaged|not a readable DOCX|no text"),
    "nested.docx": (docx("<w:tbl><w:tr><w:tc>" * 3_000 + "</w:tc></w:tr></w:tbl>" * 3_000), "damaged|not a readable"),
    "unclosed.docx": (docx("<w:p>"), "damaged|not a readable"),
    "nested.html": (b"<div>" * 100_000 + b"deep", "nested more than 200 deep|more than 1 seconds"),
    "formatted.html": (b"<b><i>" * 20_000 + b"deep", "nested more than 200 deep|more than 1 seconds"),
    "blank.html": (b"<html><script>only()</script></html>", "no text"),
    "binary.html": (b"<p>a\0b", "binary"),
    "huge.html": (b"<p>" + b"word " * 150_000, "more than 500000 characters"),
    "huge.txt": (b"x" * 3_000_001, "more than 3000000 bytes"),
    "nul.csv": (b"id,text\n1,a\0b\n", "binary content"),
    "quote.csv": (b'id,text\n1,"never closed\n', "no row can be read"),
    "columns.csv": (b"id,text\n1,a,b,c\n", "3 cells|4 cells"),
    "twins.csv": (b"text,text\na,b\n", "two columns"),
    "broken.jsonl": (b'{"text": "x"', "not valid JSON"),
    "deep.jsonl": (b"[" * 100_000, "not valid JSON"),
    "digits.jsonl": (b'{"text": ' + b"9" * 10_000 + b"}", "not valid JSON|no text"),
    "list.jsonl": (b'["text"]', "not a JSON object"),
    "half.jsonl": (b'{"text": "\\ud800"}', "half a character"),
    "alias.md": (b"---\na: &a [x, x]\nb: [*a, *a]\n---\ntext", "aliases are not supported"),
    "yaml.md": (b"---\na: [\n---\ntext", "front matter is not valid YAML"),
    "deepyaml.md": (b"---\na: " + b"[" * 5_000 + b"\n---\ntext", "front matter is not valid YAML"),
    "labels.md": (b"---\nlabels: {a: 1}\n---\ntext", "labels"),
    "mixed.txt": ("größe".encode() + b"\n" + "größe".encode("latin-1"), "not valid UTF-8 at byte offset"),
    "noise.txt": (bytes(range(1, 256)) * 4, "not valid UTF-8"),
    "half16.txt": (b"\xff\xfea\0\0\xd8b\0", "not valid UTF-16-LE"),
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Why each bad file is skipped; all are read from one folder, with a good file of each isolated format."""
    folder = tmp_path_factory.mktemp("bad")
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    good = {"good.html": b"<p>good", "good.pdf": pdf([[(50, 700, "good")]]), "good.docx": docx(paragraph("good"))}
    for name, data in good.items():
        (folder / name).write_bytes(data)
    documents, skipped = read_documents(folder, SMALL)
    assert {document.id: document.text for document in documents} == dict.fromkeys(sorted(good), "good")
    return {item.path: item.reason for item in skipped}


@pytest.mark.medium
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_skipped_with_its_reason(reasons: dict[str, str], name: str) -> None:
    assert any(part in reasons[name] for part in BAD[name][1].split("|")), reasons[name]


def test_very_long_line_of_jsonl_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "' + "word " * 400_000 + '"}')
    documents, skipped = read_documents(tmp_path)
    assert len(documents[0].text) == 2_000_000 and not skipped


@pytest.mark.medium
def test_reader_that_crashes_or_exceeds_a_limit_is_replaced(tmp_path: Path) -> None:
    with ReaderProcess(ReadSettings(limits=Limits(seconds=2, memory_bytes=150 * 2**20))) as process:
        assert process.read("a.html", b"<p>before")
        assert process._child is not None
        os.kill(process._child.pid, signal.SIGSEGV)
        with pytest.raises(Unreadable, match=r"crashed \(SIGSEGV\)"):
            process.read("a.html", b"<p>while it dies")
        with pytest.raises(Unreadable, match=r"MB of memory|crashed|killed|damaged"):
            process.read("a.html", b"<p>a</p>" * 4_000_000)
        assert process.read("a.html", b"<p>after")


def test_reader_process_ends_when_the_folder_is_read() -> None:
    with ReaderProcess(ReadSettings()) as process:
        process.read("a.html", b"<p>text")
        child = process._child
    assert child is not None and child.returncode == 0


# --- fuzzing

SEEDS = {
    ".html": b"<h1>T</h1><table><tr><th>a<td>b</table><ul><li>x<pre>y</pre><!-- c --><p hidden>&amp;&#0;</ul>",
    ".pdf": pdf([[(50, 700, "some words"), (50, 600, "others")]], outline=[("some words", 0)]),
    ".docx": docx(paragraph("some", "Heading1") + paragraph("words")),
    ".jsonl": b'{"id": 1, "text": "a", "labels": ["x"]}\n{"id": 2, "text": "b"}\n',
    ".csv": b'id,text,labels\n1,"a ""b""",x\n2,c,\n',
    ".md": b"---\ntitle: T\nlabels: [a]\n---\n# Heading\n\ntext\n",
    ".txt": "text with an ü".encode("latin-1"),
}


@st.composite
def _damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of some format with bytes removed, changed, inserted or repeated."""
    suffix = draw(st.sampled_from(sorted(SEEDS)))
    data = bytearray(SEEDS[suffix])
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "insert", "repeat"]))
        if kind == "cut":
            del data[place : place + draw(st.integers(1, 60))]
        elif kind == "flip" and data:
            data[place] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=20))
        else:
            data[place:place] = data[place : place + 30] * draw(st.integers(1, 30))
    return f"a{suffix}", bytes(data)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("RAGFT_FUZZ_FOLDERS", "15")), deadline=None)
@given(files=st.lists(_damaged(), min_size=10, max_size=30))
def test_damaged_files_are_read_or_skipped_and_never_stop_the_others(
    fuzzed: Path, files: list[tuple[str, bytes]]
) -> None:
    for path in fuzzed.iterdir():
        path.unlink()
    names = set()
    for number, (name, data) in enumerate(files):
        names.add(f"{number}{name}")
        (fuzzed / f"{number}{name}").write_bytes(data)
    (fuzzed / "good.md").write_text("good")
    documents, skipped = read_documents(fuzzed, SMALL)
    read = {document.id.partition("#")[0] for document in documents}
    assert "good.md" in read
    # Each file is read, or skipped with a reason.
    assert names <= read | {item.path for item in skipped}
    assert all(item.reason for item in skipped)


@pytest.mark.medium
@given(data=st.binary(max_size=300), suffix=st.sampled_from(sorted(set(FORMATS) - {".html", ".htm", ".xhtml"})))
@settings(max_examples=30, deadline=None)
def test_noise_is_read_or_skipped(fuzzed: Path, data: bytes, suffix: str) -> None:
    for path in fuzzed.iterdir():
        path.unlink()
    (fuzzed / f"noise{suffix}").write_bytes(data)
    try:
        documents, skipped = read_documents(fuzzed, SMALL)
    except NoDocuments as error:
        assert f"noise{suffix}" in str(error)
    else:
        assert all(isinstance(item, Document | Skipped) for item in [*documents, *skipped])
