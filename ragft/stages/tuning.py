"""`ragft tune`: better settings of training, looked for with the validation rows alone. Publishes nothing.

The evaluation questions are not read here: a recipe that was chosen by them could not be judged by them any more.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from index.durable import locked, write_file
from ragft.artifacts import MANIFEST, fingerprint_of, package_versions
from ragft.config import FinetuneSection
from ragft.console import duration, once
from ragft.data.jsonl import to_lines
from ragft.errors import RagftError, UsageError
from ragft.finetune.rates import Curve, Suggestion, suggestion, sweep
from ragft.finetune.report import TrainProgress
from ragft.finetune.search import Search, Trial, Values, described, refuse_missing_optuna, whole_space
from ragft.finetune.training import train
from ragft.stages.adapter import beginning
from ragft.stages.application import Application
from ragft.stages.data import mix, rendered
from ragft.stages.inputs import ADAPTER
from ragft.stages.watching import asked, rules_of_selection

if TYPE_CHECKING:
    from ragft.finetune.report import TrainReport
    from ragft.messages import Rendered

KIND, FOLDER = "tuning", "tuning"
JOURNAL, TRIALS, PAGE = "journal.jsonl", "trials.jsonl", "tuning.html"
_WHY = {
    "time": "the time of this call is up (tune.minutes); the same command goes on from here",
    "trials": "tune.trials have ended",
    "space": "nothing in tune.space is left to try",
}


@dataclass(frozen=True)
class Tuned:
    """What is known after a search.

    Attributes:
        best: of the trials that finished; `trials` has all that ended, the configured values first.
        ended: why the search ended, for people.
    """

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial
    ended: str

    @property
    def configured(self) -> Trial:
        """The trial of the values that are configured now."""
        return self.trials[0]


def tune(app: Application) -> Tuned:
    """Searches, or goes on with the search of the same inputs, for as long as the configuration allows.

    Raises:
        MissingDependency: Optuna is not installed.
        RagftError: there are no validation rows, the configured values cannot be trained, or the time was too short for
            one trial.
    """
    refuse_missing_optuna()
    settings = app.config.finetune
    space = whole_space(settings, app.config.tune.space)
    inputs, versions = _inputs(app, space), package_versions(ADAPTER.packages)
    folder = app.workspace / FOLDER / fingerprint_of(KIND, inputs, ADAPTER.packages)
    rows, validation = rendered(app, "train"), rendered(app, "validation")
    if not any(len(row.ids) <= settings.max_seq_length for row in validation):
        raise UsageError(
            "ragft tune compares trials by validation rows of at most finetune.max_seq_length = "
            f"{settings.max_seq_length} tokens, and there are none: raise data.split.validation_share, name a file in "
            "data.validation, or raise finetune.max_seq_length."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        search = Search(folder / JOURNAL, space, settings, seed=app.config.seed)
        begin, known = time.monotonic(), len(search.trials)
        if known:
            app.reporter.say(f"Going on after {known} trials in {folder}")
        ended = "it was interrupted"
        try:
            ended = _WHY[_search(app, search, folder, rows, validation)]
        finally:
            _write(app, folder, search, ended, {"inputs": inputs, "versions": versions}, time.monotonic() - begin)
    best = search.best
    if best is None:
        raise RagftError(
            f"No trial finished in {duration(60 * app.config.tune.minutes)}: raise tune.minutes (the same command goes "
            "on from here), or lower finetune.epochs."
        )
    return Tuned(folder, tuple(search.trials), best, ended)


def find_learning_rate(app: Application) -> tuple[Curve, Suggestion]:
    """Losses by learning rate on the training rows, and what they suggest; nothing is kept."""
    rows, settings = rendered(app, "train"), app.config.finetune
    folder = app.workspace / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".rates-") as growing, app.reporter.progress("Steps") as advance:
        curve = sweep(
            app.base, rows, settings, seed=app.config.seed, folder=Path(growing), say=app.reporter.say, advance=advance
        )
    return curve, suggestion(curve)


def _inputs(app: Application, space: Any) -> dict[str, Any]:
    """What decides how well a trial does: all that decides an adapter, and what is searched."""
    return {
        **ADAPTER.values(app.config), **beginning(app), **rules_of_selection(app), "mix": mix(app).fingerprint,
        "base": app.base_hash, "template": app.template.hash,
        "space": {key: values if isinstance(values, tuple) else values.model_dump() for key, values in space.items()},
    }  # fmt: skip


def _search(
    app: Application, search: Search, folder: Path, rows: Sequence[Rendered], validation: Sequence[Rendered]
) -> Any:
    from ragft.finetune.fast.memory import return_free_memory

    config, reporter = app.config, app.reporter
    settings, say = config.finetune, once(reporter.say)
    evaluate = None if settings.select == "loss" else asked(app, rows)

    with reporter.phases() as phase:

        def try_values(values: Values, progress: Any) -> TrainReport:
            growing = folder / f"trial-{fingerprint_of('trial', values, ())}"
            advance = phase(f"Trial {len(search.trials) + 1}")

            def told(state: TrainProgress) -> None:
                advance(state.step, state.steps, f"loss {state.train_loss:.3f}")
                progress(state)

            changed = FinetuneSection.model_validate({**settings.model_dump(exclude_unset=True), **values})
            return train(
                app.base, rows, validation, changed, seed=config.seed, folder=growing, progress=told,
                evaluate=evaluate, say=say,
            )  # fmt: skip

        def tell(trial: Trial) -> None:
            for growing in folder.glob("trial-*"):
                shutil.rmtree(growing)
            return_free_memory()
            reporter.say(_line(trial, search.best, settings.select))

        return search.run(try_values, seconds=60 * config.tune.minutes, most=config.tune.trials, tell=tell)


def _line(trial: Trial, best: Trial | None, select: str) -> str:
    """A trial in one line for people."""
    outcome = trial.reason if trial.ended == "failed" else score(trial, select)
    if trial.ended == "pruned":
        outcome += ", ended early"
    elif best is not None and best.number == trial.number:
        outcome += ", the best so far"
    return f"Trial {trial.number}: {described(trial.values)}: {outcome} ({duration(trial.seconds)})"


def score(trial: Trial, select: str) -> str:
    """How well a trial did, for people."""
    loss = f"validation loss {trial.loss:.4f}"
    return loss if select == "loss" else f"{select} {trial.metrics[select]:.0%}, {loss}"


def _write(app: Application, folder: Path, search: Search, ended: str, about: dict[str, Any], seconds: float) -> None:
    """The trials, the page and the manifest, as they are now."""
    from ragft.finetune.tuning_page import render_tuning

    trials, best = search.trials, search.best
    if not trials:
        return
    config = app.config
    page = render_tuning(
        trials, best, name=config.name, base=Path(config.model.base).name, settings=config.finetune, ended=ended
    )
    write_file(folder / TRIALS, to_lines(asdict(trial) for trial in trials))
    write_file(folder / PAGE, page.encode())
    manifest = {
        "kind": KIND, "fingerprint": folder.name, "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2), "parents": {"mix": about["inputs"]["mix"]}, **about,
        "figures": figures(trials, best, config.finetune.select) | {"ended": ended},
    }  # fmt: skip
    write_file(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())


def figures(trials: Sequence[Trial], best: Trial | None, select: str) -> dict[str, Any]:
    """What a search measured, for machines."""
    counts = [trial.ended for trial in trials]
    return {
        "trials": len(trials), **{ended: counts.count(ended) for ended in ("finished", "pruned", "failed")},
        "select": select, "best": best and asdict(best), "configured": asdict(trials[0]),
    }  # fmt: skip


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with locked(folder / "LOCK"):
            yield
    except BlockingIOError:
        raise RagftError(f"Another process is searching in {folder}: wait for it, or use another workspace.") from None
