"""Every stage's output is published whole, under the fingerprint of all that went in."""

from __future__ import annotations

import copy
import errno
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft import artifacts
from ragft.artifacts import (
    MANIFEST,
    artifacts_in,
    build,
    find,
    fingerprint_of,
    hash_file,
    hash_folder,
    hash_model,
    model_version,
    sweep,
)
from ragft.errors import RagftError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
INPUTS = st.dictionaries(st.text(min_size=1), VALUES, min_size=1, max_size=4)


def turned(value: Any) -> Any:
    """The same value with the keys of all its dictionaries in the other order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(inputs=INPUTS)
def test_same_inputs_have_the_same_fingerprint_whatever_the_order_of_keys(inputs: dict[str, Any]) -> None:
    assert fingerprint_of("mix", inputs) == fingerprint_of("mix", turned(copy.deepcopy(inputs)))


@pytest.mark.medium
@given(inputs=INPUTS, data=st.data())
def test_any_changed_input_changes_the_fingerprint(inputs: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(inputs)))
    before = json.dumps(inputs[key], sort_keys=True)
    other = data.draw(VALUES.filter(lambda value: json.dumps(value, sort_keys=True) != before))
    assert fingerprint_of("mix", inputs) != fingerprint_of("mix", {**inputs, key: other})


def test_kind_is_part_of_the_fingerprint() -> None:
    assert fingerprint_of("mix", {"seed": 0}) != fingerprint_of("split", {"seed": 0})


def test_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        (folder / "rows").write_text("rows")
        return {"rows": 3}

    def never(folder: Path) -> dict[str, Any]:
        raise AssertionError("the stage ran again")

    made, new = build(tmp_path, "mix", {"seed": 0}, work)
    found, again = build(tmp_path, "mix", {"seed": 0}, never)
    assert (new, again) == (True, False)
    assert found == made
    assert (found.folder / "rows").read_text() == "rows"
    assert build(tmp_path, "mix", {"seed": 1}, work)[1]


def test_manifest_says_what_went_in_and_what_came_out(tmp_path: Path) -> None:
    inputs = {"split": "abc", "documents": [("ä.md", "123")]}
    artifact, _ = build(
        tmp_path, "mix", inputs, lambda folder: {"rows": 3}, packages=["torch", "no-such-package"],
        parents={"split": "abc"},
    )  # fmt: skip
    manifest = json.loads((artifact.folder / MANIFEST).read_text(encoding="utf-8"))
    assert set(manifest) == {"kind", "fingerprint", "created", "seconds", "parents", "inputs", "versions", "figures"}
    assert manifest["fingerprint"] == artifact.fingerprint == artifact.folder.name
    assert (manifest["kind"], manifest["parents"], manifest["figures"]) == ("mix", {"split": "abc"}, {"rows": 3})
    assert set(manifest["versions"]) == {"torch"}
    # What is in the manifest gives the fingerprint again.
    assert fingerprint_of("mix", manifest["inputs"], manifest["versions"]) == artifact.fingerprint


@pytest.mark.parametrize("stop", [RuntimeError("a bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_interrupted_stage_publishes_nothing_and_finds_its_files_again(tmp_path: Path, stop: BaseException) -> None:
    def interrupted(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").write_text("half")
        raise stop

    with pytest.raises(type(stop)):
        build(tmp_path, "adapter", {"seed": 0}, interrupted)
    assert artifacts_in(tmp_path) == []
    assert find(tmp_path, fingerprint_of("adapter", {"seed": 0})) is None

    def resumed(folder: Path) -> dict[str, Any]:
        return {"had": (folder / "checkpoint").read_text()}

    def other(folder: Path) -> dict[str, Any]:
        return {"had": [path.name for path in folder.iterdir()]}

    assert build(tmp_path, "adapter", {"seed": 1}, other)[0].figures == {"had": []}
    assert build(tmp_path, "adapter", {"seed": 0}, resumed)[0].figures == {"had": "half"}
    assert len(artifacts_in(tmp_path)) == 2


def test_full_disk_while_publishing_loses_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(folder: Path) -> dict[str, Any]:
        if not (folder / "model").exists():
            (folder / "model").write_text("hours of training")
        return {}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        build(tmp_path, "model", {}, work)
    assert artifacts_in(tmp_path) == []
    (growing,) = tmp_path.glob(".*.growing")
    assert (growing / "model").read_text() == "hours of training"
    assert build(tmp_path, "model", {}, work)[1]


def test_artifacts_are_listed_newest_first(tmp_path: Path) -> None:
    for seed in range(3):
        artifact, _ = build(tmp_path, "mix", {"seed": seed}, lambda folder: {})
        manifest = {**artifact.manifest, "created": f"2026-01-0{seed + 1}T00:00:00+00:00"}
        (artifact.folder / MANIFEST).write_text(json.dumps(manifest))
    assert [artifact.manifest["inputs"]["seed"] for artifact in artifacts_in(tmp_path)] == [2, 1, 0]
    assert artifacts_in(tmp_path / "nothing") == []


def test_files_go_in_by_content_not_by_name(tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "other"), ("empty", "")):
        (tmp_path / name).write_text(text)
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b") != hash_file(tmp_path / "c")
    assert hash_file(tmp_path / "empty") != hash_file(tmp_path / "a")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_hash_of_a_model_changes_with_each_of_its_files(tmp_path: Path, name: str) -> None:
    for file in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / file).write_text("before")
    before = hash_model(tmp_path)
    (tmp_path / MANIFEST).write_text("{}")
    (tmp_path / "README.md").write_text("notes")
    assert hash_model(tmp_path) == before
    (tmp_path / name).write_text("after")
    assert hash_model(tmp_path) != before


def test_hash_of_a_folder_counts_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    before = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_folder(tmp_path) != before


def test_second_process_is_kept_out_of_a_growing_folder(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        # flock belongs to the open file, so a second open in this process is refused as one of another would be.
        with pytest.raises(RagftError, match="Another process is making this mix"):
            build(tmp_path, "mix", {"seed": 0}, lambda _: {})
        return {}

    assert build(tmp_path, "mix", {"seed": 0}, work)[1]


def age(folder: Path, seconds: float) -> None:
    """Makes a folder and all in it look as if nothing was written there for so long."""
    past = time.time() - seconds
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (past, past))


def test_sweep_deletes_what_a_killed_stage_left_and_nothing_goes_on_from(tmp_path: Path) -> None:
    growing = tmp_path / ".0123456789abcdef.growing"
    (growing / "model").mkdir(parents=True)
    (growing / "model" / "weights").write_text("half")
    age(growing, 90_000)
    assert sweep(tmp_path) == [growing]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "records.jsonl", "below/checkpoint-100/state.json"])
def test_sweep_never_touches_what_a_stage_would_go_on_from(tmp_path: Path, name: str) -> None:
    growing = tmp_path / ".0123456789abcdef.growing"
    (growing / name).parent.mkdir(parents=True)
    (growing / name).write_text("hours of work")
    age(growing, 90_000_000)
    assert sweep(tmp_path) == []
    assert (growing / name).read_text() == "hours of work"


def test_sweep_leaves_what_was_written_lately_what_is_published_and_what_another_process_makes(tmp_path: Path) -> None:
    fresh, published = tmp_path / ".0000000000000000.growing", tmp_path / "1111111111111111"
    busy = tmp_path / ".2222222222222222.growing"
    for folder in (fresh, published, busy):
        folder.mkdir()
        (folder / "file").write_text("x")
        age(folder, 90_000)
    (fresh / "file").write_text("just now")
    with (tmp_path / ".2222222222222222.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == [busy]
    assert sweep(tmp_path / "nowhere") == []


def test_version_of_a_model_is_its_content_which_its_manifest_remembers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = model_version(tmp_path)
    assert before == hash_model(tmp_path) and len(before) == 16
    (tmp_path / "README.md").write_text("no part of the model")
    assert model_version(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert model_version(tmp_path) != before
    manifest = {"fingerprint": "ab" * 8, "figures": {"version": before}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert model_version(tmp_path) == before
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "figures": {}}))  # made by an earlier version
    assert model_version(tmp_path) == "ab" * 8


def test_versions_of_the_named_packages_are_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.1", "vllm": "0.3"}
    monkeypatch.setattr(artifacts, "_installed_version", installed.get)
    before = {names: fingerprint_of("mix", {}, names) for names in (("torch",), ("torch", "vllm"), ("torch", "peft"))}
    assert before["torch",] == before["torch", "peft"] != before["torch", "vllm"]
    installed["vllm"] = "0.4"
    after = {names: fingerprint_of("mix", {}, names) for names in before}
    assert [after[names] == before[names] for names in before] == [True, False, True]
