"""What a training is watched by: answers to validation prompts, warnings, a tracker, and the training page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.evaluate.metrics import Rules
from ragft.finetune.asking import Asked, count_of, greedy, prompts_of
from ragft.finetune.methods import METHODS
from ragft.finetune.track import SETTINGS, Tracking
from ragft.finetune.watch import Watch
from ragft.stages.application import Application
from ragft.stages.data import rows

if TYPE_CHECKING:
    from ragft.messages import Rendered

PAGE = "training.html"


def rules_of_selection(app: Application) -> dict[str, Any]:
    """What decides which adapter is kept, besides the settings of training: the rules of scoring, where answers do; and
    what else decides where TRL trains.
    """
    settings, answer = app.config.finetune, app.config.answer
    own = {"refusals": answer.refusals} if answer.refusals else {}
    rows = METHODS[settings.method].rows
    trl = {} if rows == "answers" else {"trl": version("trl") if find_spec("trl") else None}
    if rows == "prompts":
        return {**trl, "answer": {"format": answer.format, "value": answer.value, "refusal": answer.refusal, **own}}
    if settings.select == "loss":
        return trl
    return {**trl, "answer": {"format": answer.format, "value": answer.value, **own}}


def asked(app: Application, train_rows: Sequence[Rendered]) -> Asked | None:
    """What answers validation prompts at each validation, as the configuration says; None: nothing does."""
    config, template = app.config, app.template
    tokenizer = template.tokenizer
    settings = config.finetune
    if settings.eval_samples == 0:
        return None
    prompts = prompts_of(rows(app, "validation"), template, max_seq_length=settings.max_seq_length, seed=config.seed)
    chosen = prompts[: count_of(settings, train_rows, prompts)]
    if not chosen:
        return None
    longest = max(one.answer_tokens for one in chosen)
    ends = [end for end in (template.end, tokenizer.eos_token_id) if end is not None]
    return Asked(
        chosen, Rules.of(config.answer), greedy(ends),
        lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        max_tokens=min(config.engine.max_tokens, 2 * longest),
    )  # fmt: skip


class Watching:
    """A training of this application, watched: opened before it, closed after it, whatever happens.

    Attributes:
        asked: what the trainer calls at validations; None: nothing is asked.
        watch: what it tells of each step.
    """

    def __init__(self, app: Application, folder: Path) -> None:
        """`folder` is where the adapter grows.

        Raises:
            MissingDependency: the tracker's package is not installed.
        """
        run = folder.name.strip(".").partition(".")[0]  # the fingerprint, of which the growing folder has its name
        self._app, self._folder = app, folder
        self._tracking = Tracking(app.config.finetune.tracker, app.workspace / "tracking", run, app.reporter.say)

    def prepare(self, train_rows: Sequence[Rendered], validation: Sequence[Rendered]) -> None:
        """Chooses the prompts that are answered at validations, and begins the run of the tracker."""
        app, config = self._app, self._app.config
        self.asked = asked(app, train_rows)
        self.watch = Watch(self._folder, self._tracking, app.reporter.say, self.asked)
        self._tracking.start(
            {
                "name": config.name, "base_model": Path(config.model.base).name, "seed": config.seed,
                "rows": len(train_rows), "validation_rows": len(validation),
                **config.finetune.model_dump(include=set(SETTINGS)),
            }
        )  # fmt: skip

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._tracking.end("interrupted" if kind else "finished")

    def finish(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the training page, and returns the figures with the warnings."""
        from ragft.finetune.training_page import render_training

        found = self.watch.finish(figures["steps"])
        figures = {**figures, "warnings": [symptom.text for symptom in found]}
        config = self._app.config
        page = render_training(
            self.watch.steps, figures, name=config.name, base=Path(config.model.base).name, settings=config.finetune,
            seed=config.seed,
        )  # fmt: skip
        write_file(self._folder / PAGE, page.encode())
        if config.finetune.track_answers:
            self._tracking.artefact(self._folder / PAGE)
        return figures
