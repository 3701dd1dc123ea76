"""Which files of a folder are read, and why others are skipped."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from index.documents import walk
from index.documents.document import Document
from index.documents.folder import read_documents
from index.documents.formats import text
from index.documents.passed_over import is_passed_over
from index.errors import IndexFault, NoDocuments


def test_documents_come_sorted_with_forward_slashes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.md", "b/a.txt", "a.markdown"):
        (tmp_path / name).write_text("text")
    documents, skipped = read_documents(tmp_path)
    assert [document.id for document in documents] == ["a.markdown", "b/a.txt", "c.md"] and not skipped


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("a.md", "intro\n\n# Real  \n\n# Second\n", "Real"),
        ("a.md", "## Only level two\n", "a"),
        ("a.md", "```sh\n# not a heading\n```\n\n# Real #\n", "Real"),
        ("a.md", "---\ntitle: x\n# comment\n---\n\nReal\n====\n", "Real"),
        ("notes.txt", "# not Markdown\n", "notes"),
    ],
)
def test_title_is_the_first_level_one_heading_or_the_stem(name: str, text: str, title: str) -> None:
    assert Document.of(name, text).title == title


def test_each_bad_file_is_skipped_with_a_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_bytes("\ufeffgood\r\nline".encode())
    (tmp_path / "bad.md").write_bytes(b"abc\xff")
    (tmp_path / "binary.txt").write_bytes(b"ab\0c")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "paper.ps").write_bytes(b"%PS")
    (tmp_path / ".hidden.md").write_text("hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("hidden")
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "dangling.md").symlink_to(tmp_path / "nothing.md")
    documents, skipped = read_documents(tmp_path)
    assert [document.text for document in documents] == ["good\nline"]
    reasons = {item.path: item.reason for item in skipped}
    assert list(reasons) == ["bad.md", "binary.txt", "dangling.md", "empty.md", "paper.ps", "pipe.md"]
    assert "byte offset 3" in reasons["bad.md"]
    assert "binary" in reasons["binary.txt"]
    assert reasons["empty.md"] == "empty"
    assert "not a supported format (.ps)" in reasons["paper.ps"]


def test_links_that_leave_the_folder_are_skipped_and_others_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret.md").write_text("secret")
    (inside / "a.md").write_text("a")
    (inside / "link.md").symlink_to(inside / "a.md")
    (inside / "leak.md").symlink_to(outside / "secret.md")
    (inside / "folder").symlink_to(outside)
    documents, skipped = read_documents(inside)
    assert [document.id for document in documents] == ["a.md", "link.md"]
    assert {item.path for item in skipped} == {"leak.md", "folder"}
    assert all("leaves the folder" in item.reason for item in skipped)


def test_unreadable_folder_whose_name_is_not_utf8_is_skipped_with_a_printable_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.md").write_text("text")
    closed = tmp_path / os.fsdecode(b"caf\xe9")
    closed.mkdir()
    opened = os.open

    def refusing(path: str, flags: int, mode: int = 0o777) -> int:
        if path == f"{closed}/":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, mode)

    monkeypatch.setattr("index.documents.walk.os.open", refusing)  # `chmod` does not stop root
    documents, skipped = read_documents(tmp_path)
    assert [document.id for document in documents] == ["a.md"]
    assert [(item.path, item.reason) for item in skipped] == [("'caf\\udce9'", "cannot be read (Permission denied)")]
    skipped[0].path.encode()


def test_missing_or_unreadable_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoDocuments, match="create it or name another one"):
        read_documents(tmp_path / "nowhere")
    (tmp_path / "paper.ps").write_bytes(b"%PS")
    with pytest.raises(NoDocuments, match=r"supported format there \(\.md.*paper\.ps: not a supported format"):
        read_documents(tmp_path)


# --- one bad file stops nothing


def reasons(folder: Path) -> dict[str, tuple[str, bool]]:
    """Why files are skipped, and whether by rule; there always is a document beside them."""
    (folder / "good.md").write_text("good")
    documents, skipped = read_documents(folder)
    assert [document.id for document in documents] == ["good.md"]
    return {item.path: (item.reason, item.by_rule) for item in skipped}


def test_links_that_lead_nowhere_are_skipped_by_rule(tmp_path: Path) -> None:
    (tmp_path / "b.md").symlink_to("b.md")
    (tmp_path / "c.md").symlink_to("d.md")
    (tmp_path / "d.md").symlink_to("c.md")
    (tmp_path / "gone.md").symlink_to("nothing.md")
    (tmp_path / "inside").symlink_to("good.md/inside.md")
    loop, nothing = ("a link that leads back to itself", True), ("a link to a file that does not exist", True)
    assert reasons(tmp_path) == {"b.md": loop, "c.md": loop, "d.md": loop, "gone.md": nothing, "inside": nothing}


def test_folder_whose_files_cannot_be_looked_at_is_named_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "a.md").write_text("a")  # as in a folder of mode 600: names without anything behind them
    real = Path.is_symlink

    def refusing(path: Path) -> bool:
        if path.parent.name == "listed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "is_symlink", refusing)
    assert reasons(tmp_path) == {"listed/a.md": ("cannot be read (Permission denied)", False)}


def test_what_vanishes_while_the_folder_is_read_is_said_to_have_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b.md").write_text("b")
    opened, state = os.open, walk._state

    def late(path: str, flags: int, mode: int = 0o777) -> int:
        if path == f"{tmp_path}/a/":
            (tmp_path / "a").rmdir()
        return opened(path, flags, mode)

    def stated(entry: os.DirEntry[str]) -> bytes:
        if entry.name == "b.md":
            (tmp_path / "b.md").unlink()
        return state(entry)

    monkeypatch.setattr("index.documents.walk.os.open", late)
    monkeypatch.setattr(walk, "_state", stated)
    vanished = ("vanished while the folder was read", False)
    assert reasons(tmp_path) == {"a": vanished, "b.md": vanished}


def test_reader_that_fails_in_an_unforeseen_way_costs_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> list[Document]:
        raise ZeroDivisionError("division by zero\nand more")

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(text, "read", failing)
    assert reasons(tmp_path) == {"a.txt": ("damaged (ZeroDivisionError: division by zero)", False)}


def test_pictures_and_what_programs_leave_behind_are_passed_over_without_a_word(tmp_path: Path) -> None:
    for name in ("~$report.docx", "~WRL0001.tmp", "Thumbs.db", "desktop.ini", "logo.PNG", "page/x.js", "a.md~"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x05Alice\0")
    assert reasons(tmp_path) == {}
    assert not any(map(is_passed_over, ["report.docx", "notes.md", "plan.doc", "figures.zip", "$a.md", "thumbs.md"]))


def test_ignore_file_is_named_with_what_is_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ignore = tmp_path / ".ragftignore"
    (tmp_path / "draft.md").write_text("draft")
    ignore.write_bytes("\ufeffdraft.md\r\n".encode())
    assert reasons(tmp_path) == {}
    ignore.write_bytes(b"caf\xe9\n")
    with pytest.raises(IndexFault, match="save it as UTF-8"):
        read_documents(tmp_path)
    ignore.unlink()
    for make in (lambda: ignore.symlink_to("nowhere"), lambda: ignore.symlink_to(ignore.name), ignore.mkdir):
        make()
        with pytest.raises(IndexFault, match=r"cannot be read .*may read, or remove it") as told:
            read_documents(tmp_path)
        assert "UTF-8" not in str(told.value)
        ignore.rmdir() if ignore.is_dir() else ignore.unlink()


def test_folder_that_may_not_be_looked_at_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refusing)
    with pytest.raises(NoDocuments, match=r"cannot be read \(Permission denied\); change its mode"):
        read_documents(tmp_path)
