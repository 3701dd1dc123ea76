"""Scanned pages are recognised if asked for: once, in their order, with their confidence; and refused in a sentence."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.files import drawn_pdf, pdf, shown
from support.indexes import HashEncoder
from support.scans import FakeTesseract, hocr, joined, needs_tesseract, needs_wrapper, scan

from index import Document, ReadSettings, RefreshSettings, Skipped, Snapshot, read_documents, refresh
from index.documents.folder import read_files
from index.documents.formats.pdf.file import read as read_pdf
from index.documents.formats.pdf.lines import HYPHEN
from index.documents.formats.pdf.recognition import RecognisedPage, page_of_hocr
from index.documents.formats.settings import OcrSettings, Unreadable
from index.documents.recognised import RECOGNISED_FILE
from index.documents.scans import Scans
from index.errors import IndexFault, NoDocuments

ON = ReadSettings(ocr=OcrSettings(enabled=True))
TEXT = pdf([[(50, 700, "A page with a text of its own.")]])


@pytest.fixture
def tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTesseract]:
    """A program that reads one page after the other, so that its first run is that of the first page."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    yield FakeTesseract.install(tmp_path / "programs", monkeypatch)
    os.sched_setaffinity(0, processors)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents: three scanned pages after one with text."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(joined(TEXT, scan(["One."], ["Two."], ["Three."])))
    (folder / "b.txt").write_text("Not a scan.")
    return folder


def recognised(number: int, *lines: str, confidence: int = 90) -> RecognisedPage:
    return page_of_hocr(number, hocr(*lines, confidence=confidence).encode(), 3508, 300)


def read(data: bytes, *pages: RecognisedPage) -> tuple[Document | None, str]:
    """The document in a file whose scanned pages are these, and why some were skipped."""
    items = read_pdf("a.pdf", data, ON, pages or None)
    document = next((item for item in items if isinstance(item, Document)), None)
    return document, "".join(item.reason for item in items if isinstance(item, Skipped))


# --- What tesseract says of a page


def test_lines_have_their_words_places_and_sizes() -> None:
    page = recognised(3, "Refunds take", "two weeks.", confidence=80)
    first, second = page.content.lines
    assert (page.number, page.confidence, first.text, second.text) == (3, 0.8, "Refunds take", "two weeks.")
    assert first.box.left == pytest.approx(72) and first.box.right == pytest.approx(124.8)  # 300 and 520 dots
    assert first.baseline == pytest.approx((3508 - 332) * 72 / 300) and 9.6 < first.size < 12
    assert page.content.top == pytest.approx(3508 * 72 / 300)


def test_a_wide_gap_divides_a_line_as_cells() -> None:
    page = hocr("Zone Fee").replace("bbox 420 300 520 340", "bbox 900 300 1000 340")
    pieces = page_of_hocr(1, page.encode(), 3508, 300).content.lines
    assert [piece.text for piece in pieces] == ["Zone", "Fee"] and pieces[0].row == pieces[1].row


def test_words_go_on_after_a_hyphen_and_specks_are_no_text() -> None:
    page = recognised(1, "a two- ", "— |")
    assert [line.text for line in page.content.lines] == [f"a two{HYPHEN}"]
    assert recognised(1, "~ .").confidence is None


def test_a_recognised_page_survives_its_json() -> None:
    for page in (recognised(2, "Some words"), RecognisedPage.failed(2, "broken"), recognised(1)):
        assert RecognisedPage.from_json(page.to_json()) == page


# --- What becomes of it


def test_recognised_pages_take_their_place_among_the_others() -> None:
    document, why = read(joined(TEXT, scan(["x"]), TEXT), recognised(2, "Refunds take two weeks."))
    assert document is not None and not why
    own = "A page with a text of its own."
    assert document.text == f"{own}\n\nRefunds take two weeks.\n\n{own}"
    assert [document.text[start:][:7] for start in document.page_starts] == ["A page ", "Refunds", "A page "]
    assert document.metadata == {"ocr_pages": "2", "ocr_confidence": 0.9, "ocr_lowest_confidence": 0.9}


def test_heading_and_title_of_a_scan_are_found_by_their_size() -> None:
    large = hocr("Refund policy").replace("x_size 40", "x_size 70")
    small = hocr("Sealed goods may come back", "within two weeks of the order.").split("<div class='ocr_page'>")[1]
    page = large.replace("</div></body></html>", small.replace("bbox", "bbox").replace(" 300 ", " 500 "))
    document, _ = read(scan(["x"]), page_of_hocr(1, page.encode(), 3508, 300))
    assert document is not None and document.title == "Refund policy" and document.text.startswith("# Refund policy")


def test_pages_of_little_confidence_are_left_out_and_named_with_it() -> None:
    pages = [recognised(1, "Good text."), recognised(2, "B@d t&xt", confidence=41)]
    document, why = read(scan(["x"], ["y"]), *pages)
    assert document is not None and document.text == "Good text." and document.metadata["ocr_pages"] == "1"
    assert "min_confidence 0.6: page 2 (0.41)" in why


def test_pages_that_failed_are_named_with_the_reason() -> None:
    document, why = read(scan(["x"], ["y"]), recognised(1, "Good."), RecognisedPage.failed(2, "it is broken"))
    assert document is not None and why == "page 2 not recognised: it is broken"


def test_pictures_without_words_are_no_fault_but_said() -> None:
    document, why = read(joined(TEXT, scan(["x"], ["y"])), recognised(2), recognised(3))
    assert document is not None and not why and document.metadata == {"ocr_empty_pages": "2-3"}


def test_a_scan_without_any_word_is_skipped() -> None:
    document, why = read(scan(["x"], ["y"]), recognised(1), recognised(2))
    assert document is None and why == "no text on 2 pages, and character recognition finds none"


def test_illegible_text_is_replaced_by_what_is_recognised() -> None:
    moved = "".join(chr(ord(character) - 28) for character in "Loremipsumdolorsitametconsecteturadipiscing")
    document, why = read(drawn_pdf([shown(50, 700, moved)]), recognised(1, "Lorem ipsum"))
    assert document is not None and document.text == "Lorem ipsum" and not why


def test_blank_pages_are_no_fault() -> None:
    document, why = read(joined(TEXT, pdf([[]]), drawn_pdf(["1 1 1 rg 0 0 600 800 re f"])))
    assert document is not None and not why and len(document.page_starts) == 3
    with pytest.raises(Unreadable, match="they are blank"):
        read(pdf([[], []]))


def test_without_recognition_the_reason_says_how_to_turn_it_on() -> None:
    document, why = read(joined(TEXT, scan(["x"], ["y"])))
    assert document is not None and "no text on pages 2-3 of 3 (scanned?)" in why
    assert "index.documents.ocr.enabled" in why and "extra `ocr`" in why
    document, why = read(scan(["x"], ["y"]))
    assert document is None and why.startswith("no text on 2 pages (scanned?); turn on character recognition")


# --- What is missing


@pytest.mark.parametrize("reading", [read_documents, lambda folder, settings: read_files(folder, ["a.pdf"], settings)])
def test_recognition_without_its_program_is_refused_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reading: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    (folder / "a.pdf").write_bytes(b"damaged")
    with pytest.raises(IndexFault, match="needs the program tesseract; install it"):
        reading(folder, ON)


def test_recognition_without_its_package_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytesseract" else name)
    with pytest.raises(IndexFault, match="needs the package pytesseract; install ragft with the extra `ocr`"):
        read_documents(folder, ON)


@needs_wrapper
def test_languages_that_are_not_installed_are_named_with_their_packages(folder: Path, tesseract: FakeTesseract) -> None:
    settings = ReadSettings(ocr=OcrSettings(enabled=True, languages=("fra", "chi_sim")))
    with pytest.raises(IndexFault, match=r"names chi_sim, but tesseract knows only eng, fra; .*tesseract-ocr-chi-sim"):
        read_documents(folder, settings)
    assert tesseract.runs == 0


def test_what_is_missing_is_no_fault_while_recognition_is_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    documents, skipped = read_documents(folder)
    assert len(documents) == 2 and [item.scanned for item in skipped] == [(2, 3, 4)]


# --- Reading a folder


@pytest.mark.medium
@needs_wrapper
def test_no_page_is_recognised_twice(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    root = tmp_path / "index"
    assert refresh(root, folder, words, RefreshSettings(reading=ON)).skipped == ()
    assert tesseract.runs == 3
    passages = " ".join(chunk.passage for chunk in Snapshot.open(root).chunks())
    assert passages.count("Refunds take two weeks.") == 3
    stricter = OcrSettings(enabled=True, min_confidence=0.95)
    for again in (ON, ReadSettings(ocr=stricter), ON, ReadSettings(), ON):
        refresh(root, folder, words, RefreshSettings(reading=again), check_content=True)
    (folder / "a.pdf").rename(folder / "moved.pdf")
    refresh(root, folder, words, RefreshSettings(reading=ON))
    assert tesseract.runs == 3
    french = OcrSettings(enabled=True, languages=("fra", "eng"))
    refresh(root, folder, words, RefreshSettings(reading=ReadSettings(ocr=french)))
    assert tesseract.runs == 6


@pytest.mark.medium
@needs_wrapper
def test_turning_recognition_on_extracts_files_without_scanned_pages_no_second_time(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract, monkeypatch: pytest.MonkeyPatch
) -> None:
    from index.documents.formats.process import ReaderProcess

    (folder / "c.pdf").write_bytes(TEXT)
    refresh(tmp_path / "index", folder, words)
    extracted: list[str] = []
    read = ReaderProcess.read

    def note(self: ReaderProcess, name: str, *more: Any) -> Any:
        extracted.append(name)
        return read(self, name, *more)

    monkeypatch.setattr(ReaderProcess, "read", note)
    report = refresh(tmp_path / "index", folder, words, RefreshSettings(reading=ON))
    assert report.plan.changed == ("a.pdf",) and extracted == ["a.pdf"]


@pytest.mark.medium
@needs_wrapper
def test_a_dry_run_counts_pages_and_recognises_none(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    root = tmp_path / "index"
    (folder / "c.pdf").write_bytes(scan(["One."]))
    report = refresh(root, folder, words, RefreshSettings(reading=ON), dry_run=True)
    assert (report.scanned, report.scanned_seconds, tesseract.runs) == (4, None, 0)
    assert [item.reason for item in report.skipped] == [
        "pages 2-4 will be read by character recognition",
        "page 1 will be read by character recognition",
    ]
    (folder / "c.pdf").unlink()
    refresh(root, folder, words, RefreshSettings(reading=ON))
    (folder / "c.pdf").write_bytes(scan(["One."]))
    report = refresh(root, folder, words, RefreshSettings(reading=ON), dry_run=True)
    assert report.scanned == 1 and report.scanned_seconds is not None and 0 < report.scanned_seconds < 60


@pytest.mark.medium
@needs_wrapper
def test_a_dry_run_over_nothing_but_scans_is_no_empty_folder(
    tmp_path: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.pdf").write_bytes(scan(["One."]))
    report = refresh(tmp_path / "index", tmp_path / "scans", words, RefreshSettings(reading=ON), dry_run=True)
    assert report.scanned == 1
    with pytest.raises(NoDocuments, match="turn on character recognition"):
        read_documents(tmp_path / "scans")


@pytest.mark.medium
@needs_wrapper
def test_progress_counts_the_pages_of_all_files_beforehand(folder: Path, tesseract: FakeTesseract) -> None:
    (folder / "c.pdf").write_bytes(scan(["One."], ["Two."]))
    told: list[tuple[int, int, float | None]] = []
    read_documents(folder, ON, scans=Scans(None, ON.ocr, lambda *state: told.append(state)))
    assert [(done, total) for done, total, _ in told] == [(done, 5) for done in range(6)]
    assert [left is None for _, _, left in told] == [True] * 4 + [False] * 2 and told[-1][2] == 0


@pytest.mark.medium
@needs_wrapper
def test_a_failed_page_is_tried_again_and_the_others_are_kept(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    tesseract.does('[ "$run" = 2 ] && { echo "cannot open its data" >&2; exit 1; }')
    report = refresh(tmp_path / "index", folder, words, RefreshSettings(reading=ON))
    assert "page 3 not recognised: tesseract failed" in report.skipped[0].reason and tesseract.runs == 3
    assert refresh(tmp_path / "index", folder, words, RefreshSettings(reading=ON)).skipped == ()
    assert tesseract.runs == 4


@pytest.mark.medium
@needs_wrapper
def test_a_page_that_takes_too_long_is_named_and_tried_again(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    tesseract.does('[ "$run" = 2 ] && exec sleep 60')
    settings = RefreshSettings(reading=ReadSettings(ocr=OcrSettings(enabled=True, seconds_per_page=2)))
    report = refresh(tmp_path / "index", folder, words, settings)
    assert "page 3 not recognised: it takes more than" in report.skipped[0].reason and tesseract.runs == 3
    # A machine that was busy once must not cost a page for ever.
    assert refresh(tmp_path / "index", folder, words, settings).skipped == ()
    assert tesseract.runs == 4


@pytest.mark.medium
@needs_wrapper
def test_a_page_whose_picture_is_damaged_is_not_taken_for_a_blank_one(tmp_path: Path, tesseract: FakeTesseract) -> None:
    data = scan(["One."], ["Two."])
    second = data.rindex(b"\xff\xd8\xff")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.pdf").write_bytes(data[:second] + bytes(400) + data[second + 400 :])
    _, skipped = read_documents(tmp_path / "scans", ON)
    assert tesseract.runs == 1 and "page 2 not recognised: its picture is damaged" in skipped[0].reason


@pytest.mark.medium
@needs_wrapper
def test_a_page_at_which_the_reader_crashes_does_not_take_the_others_along(
    folder: Path, tesseract: FakeTesseract
) -> None:
    tesseract.does('[ "$run" = 2 ] || [ "$run" = 3 ] && kill -9 $PPID')
    documents, skipped = read_documents(folder, ON)
    assert documents[0].metadata["ocr_pages"] == "2, 4"
    assert "page 3 not recognised: its reader was killed" in skipped[0].reason


@pytest.mark.medium
@needs_wrapper
def test_a_blank_sheet_is_not_given_to_the_program(tmp_path: Path, tesseract: FakeTesseract) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.pdf").write_bytes(scan(["One."], []))
    (document,), skipped = read_documents(tmp_path / "scans", ON)
    assert tesseract.runs == 1 and not skipped and "ocr_empty_pages" not in document.metadata


@pytest.mark.medium
@needs_wrapper
def test_recognised_documents_keep_the_labels_of_their_side_file(folder: Path, tesseract: FakeTesseract) -> None:
    (folder / "a.pdf.meta.yaml").write_text("labels: [board]\nyear: 2026\n")
    document = read_documents(folder, ON)[0][0]
    assert document.labels == ("board",) and document.metadata["year"] == 2026 and "Refunds" in document.text
    strict = ReadSettings(ocr=ON.ocr, require_labels=True)
    assert [item.id for item in read_documents(folder, strict)[0]] == ["a.pdf"]


@pytest.mark.medium
@needs_wrapper
def test_damaged_cache_of_pages_costs_time_alone(
    tmp_path: Path, folder: Path, words: HashEncoder, tesseract: FakeTesseract
) -> None:
    root = tmp_path / "index"
    first = refresh(root, folder, words, RefreshSettings(reading=ON))
    (root / RECOGNISED_FILE).write_bytes(b"no database" * 1000)
    (root / "extracted.sqlite").unlink()
    for _ in range(2):
        again = refresh(root, folder, words, RefreshSettings(reading=ON), check_content=True)
        assert again.snapshot_id == first.snapshot_id
        (root / "extracted.sqlite").unlink(missing_ok=True)
    assert tesseract.runs == 6


# --- With the program itself


@needs_wrapper
@needs_tesseract
@pytest.mark.slow
def test_a_scan_is_read_by_tesseract(tmp_path: Path) -> None:
    lines = [f"Refund number {number} takes two weeks and a day." for number in range(1, 9)]
    (tmp_path / "a.pdf").write_bytes(joined(TEXT, scan(lines, []), scan(lines, turned=90)))
    (document,), skipped = read_documents(tmp_path, ON)
    assert not skipped and document.text.count("\n".join(lines)) == 2
    confidence = document.metadata["ocr_confidence"]
    assert document.metadata["ocr_pages"] == "2, 4" and isinstance(confidence, float) and confidence > 0.8


@pytest.mark.medium
@needs_wrapper
def test_pictures_of_pages_are_seen_by_nobody_else_and_do_not_stay(
    tmp_path: Path, folder: Path, tesseract: FakeTesseract, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    tesseract.does(f'stat -c %a "$(dirname "$2")" >> {tmp_path}/modes; [ "$run" = 2 ] && kill -9 $PPID')
    assert read_documents(folder, ON)[0]
    assert set((tmp_path / "modes").read_text().split()) == {"700"} and not [*(tmp_path / "temporary").iterdir()]
