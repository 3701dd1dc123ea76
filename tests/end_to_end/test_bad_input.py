"""What is wrong is refused in one sentence, and nothing half-written is left.

Refusals that need no process of their own are in `tests/ragft/test_cli.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support import lifecycle
from support.commands import Ended
from support.lifecycle import read_lines, write_lines

from ragft.cli.scaffold import scaffold
from ragft.models import resolve_encoder, resolve_model

Ragft = Callable[..., Ended]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a domain as `ragft new` makes it, which commands are run in."""
    desk = scaffold(tmp_path / "desk")
    monkeypatch.chdir(desk)
    return desk


def published(desk: Path) -> list[str]:
    """The kinds of all results in the workspace."""
    manifests = [json.loads(path.read_text()) for path in desk.glob("workspace/*/*/*/manifest.json")]
    return sorted(values["kind"] for values in manifests if "kind" in values)


def half_written(desk: Path) -> list[Path]:
    return [path for path in desk.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".")]


@pytest.mark.medium
def test_files_that_cannot_be_read_are_named_and_the_others_indexed(ragft: Ragft, desk: Path, tmp_path: Path) -> None:
    documents = desk / "documents"
    (documents / "picture.md").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (documents / "latin.md").write_bytes("Stra\u00dfe".encode("latin-1"))
    (documents / "scan.pdf").write_bytes(b"%PDF-1.7")
    (documents / "tool.exe").write_bytes(b"MZ")
    (documents / "blank.txt").write_text(" \n")
    (tmp_path / "elsewhere.md").write_text("# Secret\n")
    (documents / "link.md").symlink_to(tmp_path / "elsewhere.md")
    # Reading this one would never end.
    os.mkfifo(documents / "pipe.md")
    bad = {"picture.md", "latin.md", "scan.pdf", "tool.exe", "blank.txt", "link.md", "pipe.md"}
    if os.geteuid() != 0:
        (documents / "locked.md").write_text("# Locked\n")
        (documents / "locked.md").chmod(0)
        bad.add("locked.md")

    ended = ragft("index", "build")
    assert ended.status == 1
    assert "Traceback" not in ended.err
    named = dict(line.removeprefix("Skipped ").split(": ", 1) for line in ended.err.splitlines() if "Skipped" in line)
    assert named.keys() == bad
    assert "binary" in named["picture.md"] and "UTF-8 at byte offset 4" in named["latin.md"]
    assert "damaged" in named["scan.pdf"] and ".exe" in named["tool.exe"] and "leaves the folder" in named["link.md"]
    assert "1 document added, 0 changed, 0 removed" in ended.out and f"{len(bad)} skipped" in ended.out
    (listed,) = ragft("index", "list", "--json").values["snapshots"]
    assert listed["documents"] == 1


@pytest.mark.medium
@pytest.mark.parametrize("command", ["run", "evaluate", "check"])
def test_question_that_is_trained_on_is_refused_before_anything_is_made(
    ragft: Ragft, desk: Path, tiny_base: Path, command: str
) -> None:
    example = read_lines(desk / "examples.jsonl")[1]
    questions = read_lines(desk / "questions.jsonl")
    questions[2] |= {"question": f"  {example['question'].upper()}"}
    write_lines(desk / "questions.jsonl", questions)
    ended = ragft(command, "--set", f"model.base={tiny_base}")
    if command == "check":  # shows all that it finds, as a table
        assert ended.status == 1
        said = ended.out
    else:
        assert ended.status == 2
        said = ended.sentence
    assert questions[2]["id"] in said and example["id"] in said
    assert published(desk) == []
    assert half_written(desk) == []


@pytest.mark.medium
def test_encoder_with_other_weights_than_the_indexs_is_refused_and_the_index_stays(
    ragft: Ragft, desk: Path, tmp_path: Path
) -> None:
    assert ragft("index", "build").status == 0
    other = tmp_path / "encoder"
    shutil.copytree(resolve_encoder("all-minilm-l6-v2"), other)
    weights = next(other.rglob("*.safetensors"))
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    (desk / "documents" / "more.md").write_text("# More\n\nSomething new.\n")
    ended = ragft("index", "refresh", "--set", f"index.encoder.model={other}")
    assert ended.status == 1
    assert str(other) in ended.sentence and "--rebuild" in ended.sentence
    assert ragft("index", "verify").status == 0
    assert half_written(desk) == []


def test_model_folder_without_a_tokenizer_is_refused_before_training(ragft: Ragft, desk: Path, tmp_path: Path) -> None:
    bare = tmp_path / "model"
    bare.mkdir()
    for path in resolve_model("smollm2-135m-instruct").iterdir():
        if path.suffix == ".safetensors" or path.name == "config.json":
            (bare / path.name).symlink_to(path)
    ended = ragft("finetune", "--set", f"model.base={bare}")
    assert ended.status == 2
    assert str(bare) in ended.sentence and "tokenizer" in ended.sentence
    assert "adapter" not in published(desk)
    assert half_written(desk) == []


@pytest.mark.medium
def test_port_in_use_is_refused_before_a_model_is_loaded(desk: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = lifecycle.ragft("serve", "--port", port, "--set", "serve.setups=[prompt-only]", cwd=desk)
    assert ended.status == 2
    assert f"Port {port} is in use" in ended.sentence and "serve.port" in ended.sentence
    assert ended.err == ended.sentence + "\n"


@pytest.mark.medium
@pytest.mark.parametrize("size", ["8k", "24k"])
def test_full_disk_leaves_no_index_and_more_room_is_all_it_takes(
    ragft: Ragft, desk: Path, disk_of: Callable[[str], Path], size: str
) -> None:
    disk = disk_of(size)

    def build() -> Ended:
        return ragft("index", "build", "--set", f"workspace={disk}")

    ended = build()
    assert ended.status == 1
    assert "The disk is full" in ended.sentence and str(disk) in ended.sentence
    assert not (disk / "index" / "CURRENT").exists()
    disk_of("8m")
    assert build().status == 0
    assert ragft("index", "verify", "--set", f"workspace={disk}").status == 0
    assert half_written(disk) == []


@pytest.mark.slow
def test_full_disk_while_training_leaves_no_adapter_and_more_room_is_all_it_takes(
    desk: Path, disk_of: Callable[[str], Path]
) -> None:
    disk = disk_of("10m")
    short = ["--set", f"workspace={disk}", "--set", "data.mix.repeats=1", "--set", "finetune.epochs=1"]
    ended = lifecycle.ragft("finetune", *short, cwd=desk)
    assert ended.status == 1
    assert "The disk is full" in ended.sentence
    assert list((disk / "adapters").glob("[!.]*")) == []
    disk_of("1g")
    assert lifecycle.ragft("finetune", *short, cwd=desk).status == 0
    (adapter,) = disk.glob("adapters/*/adapter/adapter_model.safetensors")
    assert adapter.stat().st_size > 2**20
    assert list(disk.rglob("*.tmp")) == []
