"""SQLite files that several threads and processes use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from ragft.database import Database

WRITERS = 8


def test_many_open_a_new_file_at_once_and_each_can_write(tmp_path: Path) -> None:
    barrier = Barrier(WRITERS)

    def write(path: Path, number: int) -> None:
        barrier.wait()
        with Database(path, ["CREATE TABLE kept (number INTEGER)"]) as database, database.writing() as file:
            file.execute("INSERT INTO kept VALUES (?)", (number,))

    for attempt in range(10):
        path = tmp_path / f"{attempt}.sqlite"
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda number, path=path: write(path, number), range(WRITERS)))  # type: ignore[misc]
        with Database(path, ["CREATE TABLE kept (number INTEGER)"]) as database:
            assert sorted(database.rows("SELECT number FROM kept")) == [(number,) for number in range(WRITERS)]
