"""What decides how a folder is read: encodings, patterns, front matter, side files, and cached texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.files import docx, paragraph, pdf
from support.indexes import HashEncoder

from index import Document, Limits, ReadSettings, RefreshSettings, Skipped, Snapshot, read_documents, refresh
from index.documents.extracted import EXTRACTED_FILE, ExtractedTexts
from index.documents.formats.process import ReaderProcess
from index.errors import IndexFault

GERMAN = "Die Größe der Übergänge in München ist für alle Fußgänger schön und nützlich. "
POLISH = "Zażółć gęślą jaźń, to jest przykładowy tekst po polsku o ogrodzie i ścieżkach. "
RUSSIAN = "Это обычный русский текст о документах и поиске по ним, довольно длинный. "


def read(folder: Path, settings: ReadSettings | None = None) -> tuple[dict[str, Document], dict[str, str]]:
    documents, skipped = read_documents(folder, settings)
    return {found.id: found for found in documents}, {item.path: item.reason for item in skipped}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("größe\nzwei", "utf-8-sig"),
        ("größe 😀", "utf-16"),
        ("größe 😀", "utf-32"),
        (GERMAN, "latin-1"),
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
    ],
)
def test_text_in_another_encoding_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    documents, skipped = read(tmp_path)
    assert not skipped and documents["a.txt"].text == text


def test_text_of_uncertain_encoding_is_skipped_rather_than_misread(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("naïve".encode("cp1252") + GERMAN.encode("utf-8"))
    (tmp_path / "b.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "c.txt").write_text("good")
    documents, skipped = read(tmp_path)
    assert list(documents) == ["c.txt"] and all("save the file as UTF-8" in reason for reason in skipped.values())


def test_patterns_and_the_ignore_file_choose_files_without_listing_the_others(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "drafts/c.md", "drafts/keep.md", "old/d.md", "picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "b.txt.meta.yaml").write_text("title: of a file that is left out")
    (tmp_path / ".ragftignore").write_text("# not ready\ndrafts/*\n!drafts/keep.md\n")
    documents, skipped = read(tmp_path, ReadSettings(include=("*.md",), exclude=("/old/",)))
    assert list(documents) == ["a.md", "drafts/keep.md"] and not skipped


def test_invalid_pattern_is_refused_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(IndexFault, match=r"A pattern in index\.documents\.exclude is not valid"):
        read(tmp_path, ReadSettings(exclude=("!",)))


def test_front_matter_holds_title_labels_and_metadata_and_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "---\ntitle: Leave\nlabels: [hr, board]\nvalid: 2024-05-01\nowner: {name: Ann}\ntags: [a, 2]\n---\n\n"
        "# Heading\n"
    )
    (tmp_path / "b.md").write_text("---\n\nProse between two rules.\n\n---\n\nMore.\n")
    documents, _ = read(tmp_path)
    found = documents["a.md"]
    assert (found.title, found.labels, found.text) == ("Leave", ("board", "hr"), "# Heading\n")
    assert found.metadata == {"valid": "2024-05-01", "owner.name": "Ann", "tags": ["a", 2]}
    assert documents["b.md"].text.startswith("---\n\nProse")


def test_side_file_describes_a_document_and_overrides_its_front_matter(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf([[(50, 700, "words")]]))
    (tmp_path / "a.pdf.meta.yaml").write_text("title: The paper\nlabels: lab\nyear: 2020\n")
    (tmp_path / "b.md").write_text("---\ntitle: Own\nlabels: [everyone]\nkeep: 1\n---\ntext")
    (tmp_path / "b.md.meta.json").write_text('{"labels": ["few"], "year": 1}')
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "labels": ["own"]}\n{"text": "y"}')
    (tmp_path / "rows.jsonl.meta.yml").write_text("labels: [all-rows]\nsource: export")
    documents, skipped = read(tmp_path)
    assert not skipped
    told = {name: (found.title, found.labels, dict(found.metadata)) for name, found in documents.items()}
    assert told == {
        "a.pdf": ("The paper", ("lab",), {"year": 2020}),
        "b.md": ("Own", ("few",), {"keep": 1, "year": 1}),
        "rows.jsonl#1": ("rows.jsonl#1", ("own",), {"source": "export"}),
        "rows.jsonl#2": ("rows.jsonl#2", ("all-rows",), {"source": "export"}),
    }


@pytest.mark.parametrize("content", ["labels: [", "labels: {a: b}", "just words", "labels: [a, '']", "\x00"])
def test_document_whose_side_file_cannot_be_understood_is_not_shown_to_everybody(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "secret.md.meta.yaml").write_text(content)
    (tmp_path / "lone.md.meta.yaml").write_text("labels: a")
    (tmp_path / "good.md").write_text("good")
    documents, skipped = read(tmp_path)
    assert list(documents) == ["good.md"]
    assert "secret.md.meta.yaml" in skipped["secret.md"]
    assert skipped["lone.md.meta.yaml"] == "a side file of lone.md, which does not exist"


def test_only_one_of_a_row_and_a_file_with_its_id_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "row", "id": "1.md"}')
    (tmp_path / "a.jsonl#1.md").write_text("file")
    documents, skipped = read(tmp_path)
    assert list(documents) == ["a.jsonl#1.md"] and "another document has the same name" in skipped["a.jsonl#1.md"]


def test_hash_depends_on_content_and_kind_of_text() -> None:
    one = Document.of("a.html", "# T", is_markdown=True)
    assert one.hash == Document.of("a.html", "# T", is_markdown=True).hash
    assert one.hash != Document.of("a.html", "# T", title="T", is_markdown=False).hash


# --- cached texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.html").write_text("<h1>A</h1><p>first page")
    (folder / "b.docx").write_bytes(docx(paragraph("a letter")))
    (folder / "c.pdf").write_bytes(pdf([[(50, 700, "one")], [(50, 700, "two")]]))
    (folder / "d.md").write_text("markdown")
    return folder


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that the reader process was asked to read."""
    asked: list[str] = []
    original = ReaderProcess.read

    def counting(process: ReaderProcess, name: str, data: bytes) -> list[Document | Skipped]:
        asked.append(name)
        return original(process, name, data)

    monkeypatch.setattr(ReaderProcess, "read", counting)
    return asked


def test_refresh_extracts_only_files_that_changed(
    tmp_path: Path, folder: Path, fake: HashEncoder, extracted: list[str]
) -> None:
    root = tmp_path / "index"
    first = refresh(root, folder, fake)
    assert sorted(extracted) == ["a.html", "b.docx", "c.pdf"]
    extracted.clear()
    again = refresh(root, folder, fake)
    assert extracted == [] and not again.published and again.snapshot_id == first.snapshot_id
    assert list(Snapshot.open(root).documents()) and Snapshot.open(root).document_count == 4
    (folder / "a.html").write_text("<h1>A</h1><p>changed page")
    assert refresh(root, folder, fake).plan.changed == ("a.html",) and extracted == ["a.html"]


def test_dry_run_caches_nothing(tmp_path: Path, folder: Path, fake: HashEncoder) -> None:
    refresh(tmp_path / "index", folder, fake, dry_run=True)
    assert not (tmp_path / "index").exists()


@pytest.mark.medium
def test_texts_extracted_under_other_limits_are_not_reused(
    tmp_path: Path, folder: Path, fake: HashEncoder, extracted: list[str]
) -> None:
    refresh(tmp_path / "index", folder, fake)
    report = refresh(tmp_path / "index", folder, fake, RefreshSettings(reading=ReadSettings(limits=Limits(pages=1))))
    assert report.plan.kept == ("c.pdf",) and [item.path for item in report.kept] == ["c.pdf"]


@pytest.mark.medium
@pytest.mark.parametrize("damage", ["noise", "flip", "empty"])
def test_damaged_cache_is_ignored_and_rewritten(
    tmp_path: Path, folder: Path, fake: HashEncoder, extracted: list[str], damage: str
) -> None:
    root = tmp_path / "index"
    first = refresh(root, folder, fake)
    file = root / EXTRACTED_FILE
    data = file.read_bytes()
    flipped = data.replace(b"first page", b"fresh page")
    assert flipped != data
    file.write_bytes({"noise": b"no database" * 1000, "flip": flipped, "empty": b""}[damage])
    extracted.clear()
    assert refresh(root, folder, fake).snapshot_id == first.snapshot_id and "a.html" in extracted
    refresh(root, folder, fake)
    extracted.clear()
    assert refresh(root, folder, fake).snapshot_id == first.snapshot_id and extracted == []


def test_cache_forgets_files_that_are_gone(tmp_path: Path, folder: Path, fake: HashEncoder) -> None:
    root = tmp_path / "index"
    refresh(root, folder, fake)
    html = (folder / "a.html").read_bytes()
    (folder / "a.html").unlink()
    refresh(root, folder, fake)
    memory = ExtractedTexts(root, ReadSettings())
    assert memory.recall("a.html", html) is None
    assert memory.recall("b.docx", (folder / "b.docx").read_bytes()) is not None


def test_rows_are_added_changed_and_removed_one_by_one(tmp_path: Path, fake: HashEncoder) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()

    def write(rows: dict[str, str]) -> None:
        lines = [json.dumps({"id": name, "text": text}) for name, text in rows.items()]
        (folder / "faq.jsonl").write_text("\n".join(lines))

    write({"a": "alpha", "b": "beta", "c": "gamma"})
    refresh(tmp_path / "index", folder, fake)
    fake.encoded.clear()
    write({"new": "delta", "a": "alpha", "b": "beta, changed"})
    plan = refresh(tmp_path / "index", folder, fake).plan
    assert (plan.added, plan.changed, plan.removed) == (("faq.jsonl#new",), ("faq.jsonl#b",), ("faq.jsonl#c",))
    assert plan.unchanged == 1 and len(fake.encoded) == 2
