"""Scripts of `benchmarks/` begin from any folder, also those that use what tests share; short ones run to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if "from support" in path.read_text()], ids=lambda it: it.stem
)
def test_a_script_that_uses_what_tests_share_begins_without_any_path_of_modules(script: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    assert "usage: " in asked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["telemetry", "split"])
def test_a_script_that_looks_into_the_application_runs_to_its_end(name: str) -> None:
    command = [sys.executable, str(SCRIPTS[0].with_name(f"{name}.py"))]
    ended = subprocess.run(
        [*command, "--requests", "1", "--rounds", "1", "--tokens", "2"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "streamed answers of 2 tokens" in ended.stdout
