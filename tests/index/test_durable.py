"""Files that are replaced whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.durable import TEMPORARY_SUFFIX, replacing, write_file


def test_writers_of_one_path_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [bytes([65 + number]) * 100_000 for number in range(8)]
    together = threading.Barrier(len(texts))

    def write(text: bytes) -> None:
        together.wait()
        for _ in range(5):
            with replacing(path) as file:
                for start in range(0, len(text), 10_000):
                    file.write(text[start : start + 10_000])
            assert path.read_bytes() in texts

    with ThreadPoolExecutor(len(texts)) as writers:
        list(writers.map(write, texts))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / f"file{TEMPORARY_SUFFIX}").write_bytes(b"half of a longer text")
    write_file(tmp_path / "file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"before")
    with pytest.raises(ValueError, match="no more"), replacing(path) as file:
        file.write(b"half")
        raise ValueError("no more")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"secret", private=True)
    write_file(tmp_path / "open", b"told")
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0
    assert (tmp_path / "open").stat().st_mode & 0o400
