"""What `pip install` gives: every module and file, working far away from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("index", "ragft", "serving")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, because a build leaves its own folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    # Not packages, and not to be taken for some.
    for name in ("tests", "benchmarks", "examples"):
        (source / name).mkdir()
        (source / name / "module.py").write_text("")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and this environment's other packages, but not the checkout.

    Its packages are this environment's by a path alone, so that the `.pth` file of an editable install is not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--force-reinstall", wheel], check=True, capture_output=True)
    return folder / "bin"


def run(*command: object, cwd: Path) -> str:
    """What a command printed; fails if it did."""
    ended = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.medium
def test_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files
    assert {f"{name}/py.typed" for name in PACKAGES} <= held
    assert {"ragft/evaluate/report/report.html.j2", "ragft/templates/ragft.yaml"} <= held


@pytest.mark.medium
def test_wheel_carries_its_licence_and_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.11" in metadata


@pytest.mark.medium
def test_installed_modules_are_not_the_checkouts(elsewhere: Path, tmp_path: Path) -> None:
    program = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)})"
    for path in run(elsewhere / "python", "-c", program, cwd=tmp_path).split():
        assert Path(path).is_relative_to(elsewhere.parent)


@pytest.mark.medium
def test_command_answers_from_a_folder_that_is_not_the_checkout(elsewhere: Path, tmp_path: Path) -> None:
    assert "Usage: ragft" in run(elsewhere / "ragft", "--help", cwd=tmp_path)
    assert "Usage: " in run(elsewhere / "python", "-m", "ragft", "--help", cwd=tmp_path)


@pytest.mark.medium
def test_new_domain_of_an_installed_wheel_passes_its_audit(elsewhere: Path, tmp_path: Path) -> None:
    run(elsewhere / "ragft", "new", "handbook", cwd=tmp_path)
    assert "No errors, 0 warnings." in run(elsewhere / "ragft", "data", "audit", cwd=tmp_path / "handbook")


@pytest.mark.medium
@pytest.mark.parametrize(
    "module", ["serving.app", "ragft.evaluate.report", "ragft.stages.check", "index.refresh.refresh"]
)
def test_other_parts_import_from_an_installed_wheel(elsewhere: Path, tmp_path: Path, module: str) -> None:
    run(elsewhere / "python", "-c", f"import {module}", cwd=tmp_path)
