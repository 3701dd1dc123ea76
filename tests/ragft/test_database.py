"""SQLite files that several threads and processes use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ragft.database import Database

WRITERS = 3


@pytest.fixture
def eager() -> Iterator[None]:
    """Threads take turns at nearly every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.medium
@pytest.mark.usefixtures("eager")
def test_several_open_a_new_file_at_once_and_each_can_write(tmp_path: Path) -> None:
    barrier = Barrier(WRITERS)

    def write(path: Path, number: int) -> None:
        barrier.wait()
        with Database(path, ["CREATE TABLE kept (number INTEGER)"]) as database, database.writing() as file:
            file.execute("INSERT INTO kept VALUES (?)", (number,))

    with ThreadPoolExecutor(WRITERS) as pool:
        for attempt in range(100):
            path = tmp_path / f"{attempt}.sqlite"
            list(pool.map(write, [path] * WRITERS, range(WRITERS)))
            with Database(path, ["CREATE TABLE kept (number INTEGER)"]) as database:
                assert sorted(database.rows("SELECT number FROM kept")) == [(number,) for number in range(WRITERS)]
