"""An evaluation in a tracker: figures with intervals, verdict and report; no question or answer unless asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from support.evaluated import Evaluated, evaluated

from ragft.errors import MissingDependency, RagftError
from ragft.finetune import track
from ragft.finetune.track import TrackerKind
from ragft.stages.explanation import explanation

UNTOLD = (b"Question 3?", b"2027-04-30", b"Ends 2026", b"too long, said the engine")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    made = evaluated(tmp_path, monkeypatch)
    made.failures["Question 5?"] = RagftError("too long, said the engine")
    return made


def tracked(run: Evaluated, tracker: str, **settings: Any) -> Path:
    """The folder of a tracker that was told of an evaluation, twice."""
    for _ in range(2):
        run(evaluate={"tracker": tracker, "max_failed": 0.5, **settings})
    return run.folder / "out" / "tracking" / tracker


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_figures_verdict_and_report_are_told_and_no_texts(run: Evaluated, tracker: str) -> None:
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed: pip install 'ragft[{tracker}]'")
    folder = tracked(run, tracker)
    found = contents(folder)
    assert b"On facts, " in found and b"<!doctype html>" in found
    assert not [text for text in UNTOLD if text in found]
    assert str(run.folder).encode() not in b"".join(path.read_bytes() for path in folder.rglob("report.html"))
    assert tracker == "mlflow" or b"hybrid/exact_match/low" in found
    if tracker == "mlflow":
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=folder.resolve().as_uri())
        (told,) = client.search_runs([client.get_experiment_by_name("desk").experiment_id])
        assert told.data.tags["mlflow.note.content"].startswith("On facts, ")
        assert told.data.params["decides"] == "exact_match" and told.data.params["questions"] == "7"
        assert told.data.metrics["hybrid/exact_match/mean"] == pytest.approx(6 / 7)
        assert told.data.metrics["hybrid - rag-only/exact_match/p_holm"] == 1.0
        assert told.info.status == "FINISHED"


class Remembers:
    """A tracker that keeps what it is told."""

    told: list[Any]

    def __init__(self, folder: Path, name: str) -> None:
        self.told.append(name)

    def start(self, about: Any) -> None: ...

    def log(self, step: int, values: Any) -> None: ...

    def artefact(self, path: Path) -> None:
        self.told.append(path.read_text())

    def end(self, status: str) -> None: ...


def test_the_whole_report_is_told_where_it_is_asked_for_and_explaining_tells_nobody(
    run: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    Remembers.told = []
    monkeypatch.setitem(track.TRACKERS, "mlflow", TrackerKind("remembers", Remembers))
    settings = {"tracker": "mlflow", "max_failed": 0.5, "track_answers": True}
    made = run(evaluate=settings)
    assert Remembers.told == [made.fingerprint, (made.folder / "report.html").read_text()]
    explanation(run.application(evaluate=settings), "q1")
    assert len(Remembers.told) == 2


def test_nothing_is_asked_without_the_package_of_the_tracker(run: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(track.TRACKERS, "wandb", TrackerKind("absent", Remembers, "no_such_module"))
    with pytest.raises(MissingDependency, match=r"evaluate\.tracker is wandb.*pip install 'ragft\[wandb\]'"):
        run(evaluate={"tracker": "wandb"})
    assert not run.engines
