"""Trackers: one contract over all that stand in the table, and nothing beyond what they may know."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ragft.config import FinetuneSection
from ragft.errors import MissingDependency
from ragft.finetune import track
from ragft.finetune.track import ABOUT, SETTINGS, TRACKERS, TrackerKind, Tracking

RUN = "0123456789abcdef"
SECRET = "swordfish-1234"


@pytest.fixture(params=TRACKERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each tracker of the table whose package is installed."""
    tracker = str(request.param)
    module = TRACKERS[tracker].module
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install 'ragft[{tracker}]'")
    return tracker


def train(name: str, root: Path, steps: range, said: list[str]) -> None:
    """One training, told to a tracker, with more than it may know."""
    tracking = Tracking(name, root, RUN, said.append)
    tracking.start({"name": "desk", "base_model": "tiny", "rank": 4, "alpha": None, "api_key": SECRET})
    for step in steps:
        values = {"train_loss": 1 / step, "validation_loss": None, "gradient_norm": float("nan"), "other": 7.0}
        tracking.log(step, values)
    page = root / "training.html"
    page.write_text("<html></html>")
    tracking.artefact(page)
    tracking.end("finished")


@pytest.mark.medium
def test_a_resumed_training_goes_on_in_the_same_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    said: list[str] = []
    train(name, tmp_path, range(1, 6), said)
    train(name, tmp_path, range(4, 9), said)
    assert said == []
    assert READ[name](tmp_path) == {step: pytest.approx(1 / step) for step in (range(1, 9) if name != "none" else ())}
    files = [path for path in (tmp_path / name).rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(SECRET.encode() in path.read_bytes() for path in files)
    assert any(path.name == "training.html" for path in files) == (name != "none")


def _nothing(root: Path) -> dict[int, float]:
    return {}


def _tensorboard(root: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(root / "tensorboard" / RUN)).Reload()
    assert found.Tags()["scalars"] == ["train_loss"]
    return {event.step: event.value for event in found.Scalars("train_loss")}


def _mlflow(root: Path) -> dict[int, float]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(root / "mlflow").resolve().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("desk").experiment_id])
    assert run.data.params == {"name": "desk", "base_model": "tiny", "rank": "4"}
    assert set(run.data.metrics) == {"train_loss"}
    assert set(run.data.tags) == {"fingerprint", "mlflow.runName"}
    assert run.info.status == "FINISHED"
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "train_loss")}


def _wandb(root: Path) -> dict[int, float]:
    import json

    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as at exit: W&B's own process may still be writing when `finish` has returned
    values: dict[int, float] = {}
    for path in sorted((root / "wandb").rglob(f"run-{RUN}.wandb")):
        # LevelDB's log format behind seven bytes; a file this small is one block of whole records.
        content, at = path.read_bytes(), 7
        while at < len(content):
            length = int.from_bytes(content[at + 4 : at + 6], "little")
            data, at = content[at + 7 : at + 7 + length], at + 7 + length
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if row:
                assert {key for key in row if not key.startswith("_")} == {"train_loss"}
                values[row["_step"]] = row["train_loss"]
    return values


READ: dict[str, Callable[[Path], dict[int, float]]] = {
    "none": _nothing, "tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb,
}  # fmt: skip


class Broken:
    """A tracker whose disk is full."""

    def __init__(self, folder: Path, run: str) -> None:
        self.calls = 0

    def start(self, about: Mapping[str, str | float]) -> None: ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        raise OSError("No space left\n on device")

    def artefact(self, path: Path) -> None:
        raise AssertionError("called after it failed")

    def end(self, status: str) -> None:
        raise AssertionError("called after it failed")


def test_a_tracker_that_fails_is_named_once_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(track.TRACKERS, "mlflow", TrackerKind("broken", Broken))
    said: list[str] = []
    train("mlflow", tmp_path, range(1, 4), said)
    assert said == [
        "The tracker mlflow failed and gets nothing more; the training goes on without it: No space left on device"
    ]


def test_a_missing_package_is_refused_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(track.TRACKERS, "wandb", TrackerKind("absent", Broken, "no_such_module"))
    with pytest.raises(MissingDependency, match=r"pip install 'ragft\[wandb\]'"):
        Tracking("wandb", tmp_path, RUN, print)


def test_settings_that_may_be_told_exist_and_none_of_them_is_a_path() -> None:
    fields = FinetuneSection.model_fields
    assert set(SETTINGS) <= set(fields)
    values: dict[str, Any] = FinetuneSection().model_dump()
    assert all(isinstance(values[key], str | int | float | None) for key in SETTINGS)
    assert "workspace" not in ABOUT
