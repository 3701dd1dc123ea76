"""Readers notice nothing of a writer but the new content of the index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import flipping

FLIPS = int(os.environ.get("RAGFT_FLIPS", "12"))


@pytest.mark.medium
def test_no_reader_in_threads_or_another_process_sees_an_error_or_two_snapshots(tmp_path: Path) -> None:
    readings = flipping.run(tmp_path, FLIPS, quiet_seconds=0.2)
    assert sorted(readings) == ["process, flips", "process, quiet", "threads, flips", "threads, quiet"]
    assert [found.faults for found in readings.values()] == [[]] * 4
    assert all(found.seconds for found in readings.values())
