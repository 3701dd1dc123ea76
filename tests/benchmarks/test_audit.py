"""Faults that are planted into the bundled examples are found, and sound rows beside them are not taken for faulty.

A small version of `python benchmarks/audit.py faults`, whose table is in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import ROOT
from support.domains import application

from ragft.config import load_config
from ragft.data.audit.kinds import KINDS
from ragft.stages.application import Application

ROWS, PLANTED = 120, 8
FLOORS = {"near_duplicate": 0.5, "toxic": 0.5, "groups": 0.5, "length": 0.7, "style": 0.6, "evaluation": 0.7}
"""Least share that must be found as what it is; of the other kinds, nearly all."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_benchmark", ROOT / "benchmarks" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def app() -> Application:
    """One application, so that the documents are read once."""
    return application(load_config(ROOT / "configs" / "lifecycle.yaml"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_planted_faults_are_found_and_sound_rows_are_not(script: ModuleType, app: Application, tmp_path: Path) -> None:
    example = ROOT / "examples" / "lifecycle"
    good, questions = lines(example / "examples.jsonl")[:ROWS], lines(example / "questions.jsonl")
    kinds = script.plants(questions)
    assert set(KINDS) - set(kinds) == {"form", "near_evaluation"}  # what is cut or in another style is out of form
    for kind in kinds:
        folder = tmp_path / kind
        folder.mkdir()
        rows, faulty = script.planted(good, kind, PLANTED, 0, questions)
        found = script.found_rows(app, rows, folder)
        share = len(found.get(kind, set()) & faulty) / len(faulty)
        assert share >= FLOORS.get(kind, 0.85), (kind, share)
        flagged = set().union(*found.values()) - faulty
        if kind == "contradiction":  # nobody knows which of the two is right
            flagged -= {at for at in flagged if any(script._same(rows[at], rows[other]) for other in faulty)}
        assert not flagged, (kind, [rows[at] for at in flagged])
