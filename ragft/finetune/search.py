"""The search for better settings of training: which values are tried next, which trials end early, and what is kept.

Knows nothing of rows or models: it is given a function that trains with some values. Trials are kept in a journal, one
line for each thing that happened, so that a search that was interrupted goes on with the trial that it was at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ragft.config import FinetuneSection
from ragft.config.tune import Range, Space
from ragft.errors import MissingDependency, RagftError
from ragft.finetune.methods import METHODS
from ragft.finetune.report import TrainProgress

if TYPE_CHECKING:
    import optuna

Values = dict[str, int | float | str]
"""Keys of `finetune` with the values of one trial."""

RANKS = (8, 16, 32, 64)
_STARTUP_TRIALS = 5
"""Trials by chance before the sampler learns from them. Optuna's ten would be most of what half an hour allows."""
_COMPARED_TRIALS, _FIRST_COMPARED = 3, 2
# A trial is compared with others from its second validation on: at the first one the learning rate is at its peak, and
# what learns slowly is not yet to be told from what learns badly.
_DIGITS = 3
"""Significant digits of a tried number, so that what is pasted into a configuration is what was tried."""
_MOST_REPEATS = 50


class Kept(Protocol):
    """What a training says of the adapter that it kept; see `ragft.finetune.report.TrainReport`."""

    @property
    def best_loss(self) -> float: ...
    @property
    def best_metrics(self) -> Mapping[str, float]: ...


Train = Callable[[Values, Callable[[TrainProgress], None]], Kept]
"""Trains with some values, calling back after each optimiser step; goes on where it was if it trained them before."""


@dataclass(frozen=True)
class Trial:
    """One training of a search that has ended.

    Attributes:
        ended: `finished`; `pruned`, because it was worse than most at the same share of its training; or `failed`.
        loss: validation loss of the adapter that would have been kept, or at the last validation; None if there was
            none.
        metrics: of the same adapter.
        seconds: of this call's part of it.
        reason: why it failed.
    """

    number: int
    values: Values
    ended: Literal["finished", "pruned", "failed"]
    loss: float | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def rank(self, select: str) -> tuple[float, float]:
        """The order of finished trials, best first; see `HistoryEntry.rank`."""
        return (0.0 if select == "loss" else -self.metrics[select], math.inf if self.loss is None else self.loss)


class _Unlocked:
    """No lock for Optuna's journal: whoever opens a search keeps other processes out, and a kill leaves no lock."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


class _Pruned(Exception):
    """Ends a training that most others are better than."""


class _OutOfTime(Exception):
    """Ends a training that the next call goes on with."""


def whole_space(settings: FinetuneSection, declared: Space) -> Space:
    """The values that are searched: those that are declared, or those by default, with the configured ones among them.

    Raises:
        RagftError: the method uses none of a declared key.
    """
    if unused := METHODS[settings.method].unused(set(declared)):
        raise RagftError(
            f"tune.space varies {', '.join(unused)}, which finetune.method = {settings.method} does not use: remove "
            "that, or choose a method that uses it."
        )
    space: Space = {}
    for key, values in (declared or _by_default(settings)).items():
        now = getattr(settings, key)
        if now is None:  # alpha, which is then twice the rank, or no noise
            space[key] = values
        elif isinstance(values, Range):
            space[key] = Range(low=min(values.low, now), high=max(values.high, now))
        else:
            space[key] = tuple(dict.fromkeys((*values, now)))
    return space


def _by_default(settings: FinetuneSection) -> Space:
    rate, epochs = settings.learning_rate, settings.epochs
    space: Space = {
        "learning_rate": Range(low=rate / 10, high=4 * rate),
        "epochs": (epochs / 2, epochs, 2 * epochs),
    }
    if "rank" in METHODS[settings.method].keys:
        space["rank"] = RANKS
    return space


class Search:
    """A search that is kept in a journal. Only one process may have it open."""

    def __init__(self, journal: Path, space: Space, settings: FinetuneSection, *, seed: int) -> None:
        """`settings` are those that the values of a trial replace; their own are the first trial."""
        library = _optuna()
        from optuna.storages.journal import JournalFileBackend

        library.logging.set_verbosity(library.logging.ERROR)
        _without_torn_line(journal)
        self.space, self.settings, self._seed = space, settings, seed
        self._study: optuna.Study = library.create_study(
            storage=library.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=_Unlocked())),
            study_name="ragft",
            direction="minimize" if settings.select == "loss" else "maximize",
            pruner=library.pruners.MedianPruner(_COMPARED_TRIALS, n_warmup_steps=_FIRST_COMPARED),
            load_if_exists=True,
        )
        self._return_interrupted()

    @property
    def trials(self) -> list[Trial]:
        """The trials that have ended, in their order."""
        told = (trial.user_attrs.get("ended") for trial in self._study.get_trials(deepcopy=False))
        return [Trial(number=number, **values) for number, values in enumerate(filter(None, told), 1)]

    @property
    def best(self) -> Trial | None:
        """The best of the finished trials, by what decides which adapter is kept; None if none has finished."""
        finished = [trial for trial in self.trials if trial.ended == "finished"]
        return min(finished, key=lambda trial: trial.rank(self.settings.select), default=None)

    def run(
        self, train: Train, *, seconds: float, most: int | None, tell: Callable[[Trial], None] = lambda trial: None
    ) -> Literal["time", "trials", "space"]:
        """Tries values until the time is up, so many trials have ended in all, or nothing is left to try.

        Args:
            train: is called in turn with the values of each trial.
            tell: called after each trial.

        Returns:
            why it ended.

        Raises:
            RagftError: what is configured cannot be trained at all.
        """
        deadline = time.monotonic() + seconds
        while most is None or len(self.trials) < most:
            if time.monotonic() >= deadline:
                return "time"
            if (asked := self._next()) is None:
                return "space"
            try:
                self._try(*asked, train, deadline)
            except _OutOfTime:
                return "time"
            tell(self.trials[-1])
        return "trials"

    def _return_interrupted(self) -> None:
        """Puts the trial that an earlier process was at in front; the first trial of all is what is configured."""
        from optuna.trial import TrialState

        before = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in before:
            self._study.tell(trial.number, state=TrialState.FAIL)
            if len(trial.params) == len(self.space):
                self._study.enqueue_trial(trial.params)
        if not self._study.trials:
            configured = {key: getattr(self.settings, key) for key in self.space}
            self._study.enqueue_trial({key: value for key, value in configured.items() if value is not None})

    def _next(self) -> tuple[optuna.Trial, Values] | None:
        """A trial with values that none has had; None if there seem to be no more."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        tried = [trial.values for trial in self.trials]
        for repeat in range(_MOST_REPEATS):
            # Seeded by what is known: an interrupted search tries what an undisturbed one would.
            seed = (self._seed * 1_000_003 + len(tried) * _MOST_REPEATS + repeat) % 2**32
            self._study.sampler = TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
            trial = self._study.ask()
            values = {key: self._suggested(trial, key) for key in sorted(self.space)}
            if values not in tried:
                return trial, values
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _suggested(self, trial: optuna.Trial, key: str) -> int | float | str:
        values = self.space[key]
        if not isinstance(values, Range):
            chosen: int | float | str = trial.suggest_categorical(key, values)
            return chosen
        logarithmic = values.low > 0
        if FinetuneSection.model_fields[key].annotation is int:
            return trial.suggest_int(key, math.ceil(values.low), math.floor(values.high), log=logarithmic)
        return _rounded(trial.suggest_float(key, values.low, values.high, log=logarithmic))

    def _try(self, trial: optuna.Trial, values: Values, train: Train, deadline: float) -> None:
        """Trains with some values, and keeps what came of it; an interruption keeps the trial as the next one."""
        from optuna.trial import TrialState

        select, last, begin = self.settings.select, dict[str, Any](), time.monotonic()

        def progress(state: TrainProgress) -> None:
            if state.validation_loss is not None:
                last.update(loss=state.validation_loss, metrics=dict(state.metrics))
                # Trainings of other lengths are compared at the same share of each.
                at = max(1, round(self.settings.eval_count * state.step / state.steps))
                trial.report(state.validation_loss if select == "loss" else state.metrics[select], at)
                if state.step < state.steps and trial.should_prune():
                    raise _Pruned
            if state.step < state.steps and time.monotonic() >= deadline:
                raise _OutOfTime

        def end(ended: Literal["finished", "pruned", "failed"], **more: Any) -> None:
            told = Trial(0, values, ended, **{"loss": None, **last, **more}, seconds=time.monotonic() - begin)
            trial.set_user_attr("ended", {key: value for key, value in asdict(told).items() if key != "number"})

        try:
            kept = train(values, progress)
        except _Pruned:
            end("pruned")
            self._study.tell(trial, state=TrialState.PRUNED)
        except RagftError as error:
            if not self.trials:
                self._study.tell(trial, state=TrialState.FAIL)
                self._study.enqueue_trial(trial.params)
                raise
            # To the sampler it is the worst of all: what diverged should not be tried again nearby.
            end("failed", reason=str(error))
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            end("finished", loss=kept.best_loss, metrics=dict(kept.best_metrics))
            self._study.tell(trial, kept.best_loss if select == "loss" else kept.best_metrics[select])


def values_block(values: Mapping[str, Any]) -> str:
    """Values as lines to paste into a configuration."""
    import yaml

    return yaml.safe_dump({"finetune": dict(values)}, sort_keys=True).rstrip()


def described(values: Mapping[str, Any]) -> str:
    """Values in one line for people."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def refuse_missing_optuna() -> None:
    """Raises a MissingDependency if the package that chooses values is not installed."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingDependency(
            "`ragft tune` needs a package that is not installed: pip install 'ragft[tune]'. `ragft tune "
            "--learning-rate` needs none."
        ) from None
    return optuna


def _without_torn_line(journal: Path) -> None:
    """Cuts off what a kill left of a last line; Optuna would refuse the journal once another line is behind it."""
    if journal.is_file() and (content := journal.read_bytes()) and not content.endswith(b"\n"):
        journal.write_bytes(content[: content.rfind(b"\n") + 1])


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
