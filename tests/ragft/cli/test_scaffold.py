"""`ragft new`: a domain that is complete from the first moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Ended
from support.domains import application

from ragft.cli.scaffold import scaffold
from ragft.config import load_config
from ragft.data.audit import audit_data
from ragft.errors import UsageError

Ragft = Callable[..., Ended]


def test_new_domain_has_nothing_to_mend(tmp_path: Path) -> None:
    folder = scaffold(tmp_path / "handbook")
    findings = audit_data(application(load_config(folder / "ragft.yaml")))
    assert {row.state for row in findings.rows} == {"ok"}


@pytest.mark.parametrize(
    "name", ["handbook", "2024", "1.5", "no", "null", "on", "2024-01-01", "1e3", "0x1f", "a.b-c_d"]
)
def test_every_name_that_is_taken_gives_a_configuration_that_loads(tmp_path: Path, name: str) -> None:
    assert load_config(scaffold(tmp_path / name) / "ragft.yaml").name == name


@pytest.mark.parametrize("name", ["Handbook", "my handbook", "-a", ".a", "ä", "a\n", ""])
def test_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a domain"):
        scaffold(tmp_path / name if name else Path())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("mine", "file"):
        with pytest.raises(UsageError, match="exists already"):
            scaffold(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "notes"]


def test_empty_folder_is_filled(tmp_path: Path, ragft: Ragft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handbook").mkdir()
    ended = ragft("new", "handbook")
    assert ended.status == 0
    assert "cd handbook && ragft check && ragft run" in ended.out
    assert ragft("new", "handbook").status == 2
