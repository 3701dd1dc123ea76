"""Trackers: programs that show many trainings, and evaluations, side by side.

A tracker gets numbers and a few settings, by an allow-list: no paths, no keys, nothing of the environment, and files
only where they are asked for. All write below a folder of the workspace; none needs a network. Each is opened by the
name of a run, and a run that is opened again, as by a training that resumes, goes on where it ended.

Imports nothing heavy: the configuration reads the table of trackers from here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ragft.errors import MissingDependency

Status = Literal["finished", "interrupted"]

SETTINGS = (
    "method", "rank", "alpha", "epochs", "batch_size", "optimizer", "learning_rate", "warmup_ratio", "lr_scheduler",
    "weight_decay", "max_grad_norm", "max_seq_length", "token_budget", "eval_count", "eval_samples", "select",
    "patience",
)  # fmt: skip
ABOUT = ("name", "base_model", "seed", "rows", "validation_rows", *SETTINGS)
"""What a tracker may be told of a training."""

VALUES = (
    "train_loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second", "form", "exact_match",
)  # fmt: skip
"""Numbers that a tracker may be told of a step."""


class Tracker(Protocol):
    """What is told of one training, or of one evaluation."""

    def start(self, about: Mapping[str, str | float]) -> None:
        """Begins the run, or goes on with it; called once, before anything else."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers after an optimiser step. After a resumption a step may come twice: the later one counts."""

    def artefact(self, path: Path) -> None:
        """Keeps a copy of a file with the run."""

    def end(self, status: Status) -> None:
        """Writes what is pending; called once, after everything else."""


class _None:
    """Tells nobody."""

    def __init__(self, folder: Path, run: str) -> None: ...

    def start(self, about: Mapping[str, str | float]) -> None: ...

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def artefact(self, path: Path) -> None: ...

    def end(self, status: Status) -> None: ...


class _TensorBoard:
    """One folder of event files for each run; a resumption adds a file, which hides repeated steps."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder / run
        self._writer: Any = None

    def start(self, about: Mapping[str, str | float]) -> None:
        self._about = "".join(f"| {key} | {value} |\n" for key, value in about.items())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
            self._writer.add_text("about", f"| | |\n|---|---|\n{self._about}", 0)
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def artefact(self, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, self._folder)

    def end(self, status: Status) -> None:
        if self._writer is not None:
            self._writer.close()


class _MLflow:
    """One run in a local file store, through the client alone: its fluent calls add user, program and git commit."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run

    def start(self, about: Mapping[str, str | float]) -> None:
        with _environment(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true"):
            from mlflow.tracking import MlflowClient

            self._client: Any = MlflowClient(tracking_uri=self._folder.resolve().as_uri())
            name = str(about.get("name", "ragft"))
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            known = self._client.search_runs([experiment], f"tags.fingerprint = '{self._run}'")
            if known:
                self._id = known[0].info.run_id
                self._client.update_run(self._id, status="RUNNING")
                return
            created = self._client.create_run(experiment, run_name=self._run, tags={"fingerprint": self._run})
            self._id = created.info.run_id
        for key, value in about.items():
            if key == "verdict":  # a text that people read first
                self._client.set_tag(self._id, "mlflow.note.content", value)
            else:
                self._client.log_param(self._id, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._client.log_metric(self._id, key, value, step=step)

    def artefact(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def end(self, status: Status) -> None:
        self._client.set_terminated(self._id, "FINISHED" if status == "finished" else "KILLED")


class _WandB:
    """One offline run, which `wandb sync` uploads when somebody calls it; without machine, program, git or console."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._id = folder, run

    def start(self, about: Mapping[str, str | float]) -> None:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        # W&B names a folder by the second and the run, and of two that begin in one second keeps one.
        newest = max((path.stat().st_ctime for path in self._folder.glob("wandb/offline-run-*")), default=0.0)
        time.sleep(max(0.0, min(1.1, newest + 1.1 - time.time())))
        settings = wandb.Settings(
            mode="offline", silent=True, console="off", save_code=False, disable_code=True, disable_git=True,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        name = str(about.get("name", "ragft"))
        self._run: Any = wandb.init(
            project=name, id=self._id, dir=str(self._folder), config=dict(about), settings=settings,
            notes=str(about.get("verdict", "")) or None, reinit="create_new",
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def artefact(self, path: Path) -> None:
        # Of a file elsewhere, W&B keeps a link, which would be broken as soon as the file is moved.
        copied = shutil.copy(path, self._run.dir)
        self._run.save(copied, base_path=self._run.dir, policy="now")

    def end(self, status: Status) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Sets variables that a library reads, unless they are set."""
    added = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


@dataclass(frozen=True)
class TrackerKind:
    """An entry of the table.

    Attributes:
        title: in the configuration's help.
        make: from a folder and the name of a run.
        module: what must be installed, and is brought by the extra that has the tracker's name; empty: nothing.
    """

    title: str
    make: Callable[[Path, str], Tracker]
    module: str = ""


TRACKERS = {
    "none": TrackerKind("nowhere", _None),
    "tensorboard": TrackerKind("event files for TensorBoard", _TensorBoard, "tensorboard"),
    "mlflow": TrackerKind("a local store of MLflow", _MLflow, "mlflow"),
    "wandb": TrackerKind("an offline run of Weights & Biases", _WandB, "wandb"),
}


def refuse_missing_tracker(name: str, key: str = "finetune.tracker") -> None:
    """Raises a MissingDependency if a tracker's package is not installed; `key` of the configuration names it."""
    module = TRACKERS[name].module
    if module and importlib.util.find_spec(module) is None:
        raise MissingDependency(
            f"{key} is {name}, which needs a package that is not installed: pip install 'ragft[{name}]', or set {key} "
            "to none."
        )


@dataclass(frozen=True)
class Told:
    """What a tracker may know of one kind of run.

    Attributes:
        about: what it may be told at the start.
        values: whether a number may be told, by its name.
        key: of the configuration, that names the tracker.
        what: the kind of run, in words.
    """

    about: Collection[str]
    values: Callable[[str], bool]
    key: str
    what: str


TRAINING = Told(ABOUT, VALUES.__contains__, "finetune.tracker", "the training")


class Tracking:
    """Tells a tracker what it may know of one run. If it fails, that is said once, and the run goes on."""

    def __init__(self, name: str, root: Path, run: str, say: Callable[[str], None], told: Told = TRAINING) -> None:
        """`root` is the folder of all trackers, `run` the name under which a run that is told again goes on.

        Raises:
            MissingDependency: the tracker's package is not installed.
        """
        refuse_missing_tracker(name, told.key)
        self._name, self._say, self._allowed, self._started = name, say, told, False
        self._tracker: Tracker | None = TRACKERS[name].make(root / name, run)

    def start(self, about: Mapping[str, Any]) -> None:
        allowed = {key: about[key] for key in self._allowed.about if about.get(key) is not None}
        self._started = True
        self._told(lambda tracker: tracker.start(allowed))

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        known = {key: value for key, value in values.items() if self._allowed.values(key)}
        allowed = {key: float(value) for key, value in known.items() if value is not None and math.isfinite(value)}
        self._told(lambda tracker: tracker.log(step, allowed))

    def artefact(self, path: Path) -> None:
        self._told(lambda tracker: tracker.artefact(path))

    def end(self, status: Status) -> None:
        if self._started:
            self._told(lambda tracker: tracker.end(status))
        self._tracker = None

    def _told(self, tell: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            tell(self._tracker)
        except Exception as error:
            self._tracker = None
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self._say(
                f"The tracker {self._name} failed and gets nothing more; {self._allowed.what} goes on without it: "
                f"{reason}"
            )
