"""Worse answers beside the good ones of the examples: those of a setup that is asked their questions, and made ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ragft.data.examples import fields_beside
from ragft.data.gold import located
from ragft.data.jsonl import refuse_existing, write_lines
from ragft.data.preferences import Rules as GoodAnswers
from ragft.data.preferences import Worse, pair_row, with_worse
from ragft.data.questions import sample
from ragft.errors import UsageError
from ragft.evaluate.faults import asked_of, worse_in
from ragft.evaluate.metrics.base import Rules
from ragft.evaluate.records import read_records
from ragft.patterns import Bounded
from ragft.setups import SETUPS
from ragft.stages.application import Application
from ragft.stages.index import live_snapshot
from ragft.stages.prompt_choice import configured
from ragft.stages.records import answers_to


@dataclass(frozen=True)
class Pairs:
    """What was written.

    Attributes:
        worse: how many worse answers there are of each fault; `given`: the example had one, `none`: it has none.
        asked: questions of examples that the setup was asked.
        said: worse answers that are its own.
    """

    worse: dict[str, int]
    asked: int = 0
    said: int = 0


def write_pairs(app: Application, out: Path, setup: str | None = None, limit: int | None = None) -> Pairs:
    """Writes the examples, each with a worse answer where there is one.

    Args:
        setup: is asked the examples' questions first, and what it answers wrongly is taken; None: all are made.
        limit: so many examples are asked, drawn by the seed; None: all that have no worse answer.

    Raises:
        UsageError: the file is there already, or there is no such setup.
        RagftError: no model is deployed, or more answers failed than `evaluate.max_failed` allows.
    """
    refuse_existing(out)
    if setup is not None and setup not in SETUPS:
        raise UsageError(f"--answers-of is {setup!r}: choose one of {', '.join(SETUPS)}.")
    if limit is not None and setup is None:
        raise UsageError("--limit says how many questions a setup is asked: name one with --answers-of.")
    asked, said = _said(app, setup, limit) if setup else (0, {})
    answer = app.config.answer
    form = Bounded(answer.format, "answer.format") if answer.format else None
    value = Bounded(answer.value, "answer.value") if answer.value else None
    is_formed = (lambda text: form.fullmatch(text.strip()) is not None) if form else None
    made = list(with_worse(app.examples, GoodAnswers(value, is_formed, answer.refusal), app.config.seed, said))
    beside = fields_beside(app.config.data.examples, "data.examples")
    write_lines(out, (pair_row(example, worse, beside.get(example.id)) for example, worse in made))
    faults = Counter("none" if worse is None else worse.fault or "given" for _, worse in made)
    own = sum(worse is not None and bool(worse.by) for _, worse in made)
    return Pairs(dict(sorted(faults.items())), asked, own)


def _said(app: Application, name: str, limit: int | None) -> tuple[int, dict[str, Worse]]:
    """How many examples were asked, and the worse answers by their ids."""
    rules = Rules.of(app.config.answer)
    examples = sample(tuple(one for one in app.examples if not one.rejected), limit, app.config.seed)
    if not examples:
        return 0, {}
    setup = configured(app, SETUPS[name])[0]
    questions = tuple(asked_of(example, rules) for example in examples)
    snapshot = live_snapshot(app) if setup.retrieval else None
    if snapshot is not None:  # so that what an answer cites can be told
        questions = located(questions, snapshot.chunks()).questions
    records = read_records(answers_to(app, setup, questions, snapshot).folder / "records.jsonl")
    answers = {one.question_id: one for one in records}
    said = dict[str, Worse]()
    for example, question in zip(examples, questions, strict=True):
        worse = worse_in(example, question, answers[example.id], rules)
        if worse is not None:
            said[example.id] = worse
    return len(examples), said
