"""Killed or interrupted at any moment, the next run finishes with the same result as an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.lifecycle import Small, Undisturbed, finish, kill_group, start, until

from ragft.finetune.fast.checkpoint import content_of

pytestmark = pytest.mark.slow
KILLS = 5
SEED = 11


def results(small: Small) -> dict[str, bytes]:
    """Every published file that is a result, not a record of how long it took: adapter, rows, live snapshot."""
    wanted = ["adapters/*/adapter/*", "data/*/*.jsonl", "index/CURRENT"]
    return {
        str(path.relative_to(small.workspace)): path.read_bytes()
        for pattern in wanted
        for path in small.workspace.glob(pattern)
    }


def killed(small: Small, seconds: float) -> bool:
    """Starts the training and kills it so many seconds after it began to write; False if it was done before."""
    process = start("finetune", "-c", small.config, cwd=small.folder)
    adapters = small.workspace / "adapters"
    until(lambda: list(adapters.glob(".*.growing")) or process.poll() is not None, 600, "a growing adapter")
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return True
    assert process.returncode == 0
    return False


def test_finetune_killed_at_random_moments_ends_like_an_undisturbed_one(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    small = undisturbed.small.copy_to(tmp_path / "desk")
    draw = random.Random(SEED)
    # A run that goes on from a checkpoint may be done before its moment comes; the first one never is.
    moments = [0.0, *(draw.uniform(0.0, 0.5) * undisturbed.seconds for _ in range(KILLS - 1))]
    kills = [moment for moment in moments if killed(small, moment)]
    assert kills
    ended = small.ragft("finetune")
    assert ended.status == 0, ended.err
    expected = results(undisturbed.small)
    assert len(expected) == 3 + 4 + 1
    assert results(small) == expected
    assert small.ragft("index", "verify").status == 0
    unfinished = [path for path in (small.workspace / "adapters").iterdir() if path.name.startswith(".")]
    assert unfinished == []


def test_interrupted_training_says_so_in_a_sentence_and_goes_on_where_it_was(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    small = undisturbed.small.copy_to(tmp_path / "desk")
    adapters = small.workspace / "adapters"
    process = start("finetune", "-c", small.config, cwd=small.folder)
    until(lambda: list(adapters.glob(".*/checkpoint.safetensors")) or process.poll() is not None, 600, "a checkpoint")
    assert process.poll() is None, process.communicate()
    # As a terminal does: to every process of the group.
    os.killpg(process.pid, signal.SIGINT)
    ended = finish(process, 60)
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err.splitlines()[-1] == "Interrupted. Nothing is lost: the same command continues from here."
    assert "Traceback" not in ended.err and "Aborted" not in ended.err
    (growing,) = adapters.glob(".*.growing")
    add_seconds(growing / "checkpoint.safetensors", 10_000)
    again = small.ragft("finetune", "--json")
    assert again.status == 0, again.err
    assert again.values["seconds"] > 10_000
    assert results(small) == results(undisturbed.small)


def add_seconds(checkpoint: Path, seconds: float) -> None:
    """Marks a checkpoint by the time that it says it took: who resumes from it counts on from there."""
    with safe_open(checkpoint, framework="pt") as file:
        about = dict(file.metadata())
    state = json.loads(about["state"])
    state["seconds"] += seconds
    tensors, about = load_file(checkpoint), {**about, "state": json.dumps(state)}
    save_file(tensors, checkpoint, {**about, "content": content_of(about, tensors)})
