"""Which files of a folder are read, and why others are skipped."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from index.documents.document import Document
from index.documents.folder import read_documents
from index.errors import NoDocuments


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
