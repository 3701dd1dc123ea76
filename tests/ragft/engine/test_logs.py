"""The log of an engine goes with it; what a killed program left is swept once nobody can want it any more."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ragft.engine.children import new_log, sweep_logs

DAY = 86_400.0


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def log_of(process: int, seconds_old: float) -> Path:
    path = Path(tempfile.gettempdir()) / f"ragft-engine-{process}-abc.log"
    path.write_text("an error")
    os.utime(path, (time.time() - seconds_old,) * 2)
    return path


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_old_log_of_a_program_that_is_gone_is_swept() -> None:
    old = log_of(ended_process(), DAY + 60)
    assert sweep_logs() == [old] and not old.exists()
    assert sweep_logs() == []


def test_log_of_a_running_program_stays_however_old() -> None:
    log = new_log()
    os.utime(log, (0, 0))
    assert sweep_logs() == [] and log.exists()


def test_log_of_today_stays_so_that_it_can_be_read() -> None:
    assert log_of(ended_process(), DAY - 60).exists() and sweep_logs() == []


def test_other_files_stay(temporary: Path) -> None:
    for name in ("ragft-engine-notes.log", "ragft-engine-x-y.log", "engine-1-a.log"):
        (temporary / name).write_text("mine")
        os.utime(temporary / name, (0, 0))
    assert sweep_logs() == []
    assert len(list(temporary.iterdir())) == 3
