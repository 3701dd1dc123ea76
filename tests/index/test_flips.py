"""Readers never notice that an index is being written, but for its new content."""

from __future__ import annotations

import os
from pathlib import Path

import flipping

FLIPS = int(os.environ.get("RAGFT_FLIPS", "12"))


def test_no_reader_in_threads_or_another_process_sees_an_error_or_two_snapshots(tmp_path: Path) -> None:
    quiet, busy, elsewhere = flipping.run(tmp_path, FLIPS)
    assert quiet.faults == busy.faults == elsewhere.faults == []
    assert busy.seconds and elsewhere.seconds
