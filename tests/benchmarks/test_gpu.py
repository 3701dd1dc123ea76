"""The benchmark of cards in its tiny form on the processor: the script is known to work where there is no card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_the_tiny_benchmark_measures_every_method_on_the_processor(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--tiny", "--device", "cpu", "--json", str(tmp_path / "figures.json")]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert max(figures["differences"].values()) <= 1e-4
    for method in ("lora", "qlora", "full"):
        found = figures["training"][f"tiny {method} ours"]
        assert found["tokens_per_second"] > 0
        assert found["share_of_matrix_rate"] > 0
    assert all("tokens_per_second" in found or found["skipped"] for found in figures["training"].values())
