"""`serve.split`: which arm answers a request, what became of it, and the shadows beside it.

A request that takes part gets an `Assignment`; when it has ended, its outcome is told to the recorder in a thread of
its own, and its shadows are offered to `Shadows`. Nothing here can fail or delay an answer: what goes wrong is logged.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.form import format_valid
from ragft.evaluate.metrics.refusals import is_refusal
from ragft.keys import Caller
from ragft.pipeline import Pipeline
from ragft.setups import Setup
from ragft.stages.application import Application
from ragft.stages.split import arms, experiment, experiments_root
from ragft.traffic.experiment import Experiment, Unit, unit_of
from ragft.traffic.log import Outcome, Recorder

if TYPE_CHECKING:
    from serving.api.chat_request import Asked
    from serving.telemetry.record import RequestRecord

log = logging.getLogger("ragft.serving")

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Assignment:
    """The part of one request in an experiment.

    Attributes:
        id: shared by the answer that is shown and the shadows beside it.
        arm: name of the arm that answers.
        model: what the client asked for.
        time: of its arrival, in seconds since the epoch.
        shadows: what else answers, once the request has ended.
    """

    experiment: Experiment
    unit: Unit
    arm: str
    setup: Setup
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    time: float = field(default_factory=time.time)
    is_shadow: bool = False
    shadows: tuple[Work, ...] = ()


class Split:
    """The experiment of one deployment.

    Attributes:
        model: what clients ask for to take part, as a setup of that name.
        arms: setups by the names of their arms.
        outcomes: how many requests of which arm got which status; shadows among them.
    """

    def __init__(self, app: Application) -> None:
        """
        Raises:
            UsageError: an arm names a model that the workspace does not have.
        """
        self._app = app
        self._settings = settings = app.config.serve.split
        self._root = experiments_root(app)
        self._rules = Rules.of(app.config.answer)
        self.model = Setup(settings.name, tuned=False, retrieval=False)
        self.arms = arms(app)
        self.shadows = Shadows(int(settings.shadow_load * app.config.engine.max_num_seqs))
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._recorder: Recorder | None = None
        self._current: tuple[tuple[str, ...], Experiment] | None = None

    def open(self) -> None:
        """Begins to record.

        Raises:
            UsageError: another server records in this workspace, or it cannot be written.
        """
        self._recorder = Recorder(self._root, self._settings.max_mib << 20)

    async def close(self) -> None:
        """Ends the shadows, and records what is left."""
        await self.shadows.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)

    @property
    def lost(self) -> int:
        """Outcomes that were not recorded."""
        return 0 if self._recorder is None else self._recorder.lost

    def assign(self, pipeline: Pipeline, asked: Asked, caller: Caller) -> Assignment:
        """The arm that answers a request: the same for all of one user or conversation."""
        told = self._experiment(pipeline)
        unit = unit_of(told, *self._sticky(asked, caller))
        return Assignment(told, unit, unit.arm, self.arms[unit.arm], asked.model)

    def beside(self, shown: Assignment) -> list[Assignment]:
        """The shadows of an answer: they answer what the first arm was asked, and are compared with it."""
        told = shown.experiment
        return [
            replace(shown, arm=arm.name, setup=self.arms[arm.name], is_shadow=True)
            for arm in told.shadows
            if shown.arm == told.control.name
        ]

    def _experiment(self, pipeline: Pipeline) -> Experiment:
        """The experiment of the models that answer now: another model is another experiment."""
        versions = tuple(pipeline.engines[setup.model].version for setup in self.arms.values())
        if self._current is None or self._current[0] != versions:
            told = experiment(self._app, dict(zip(self.arms, versions, strict=True)), time.time())
            log.warning("experiment %s is recorded from now on", told.id)
            self._current = (versions, told)
        return self._current[1]

    def _sticky(self, asked: Asked, caller: Caller) -> tuple[str, str]:
        """What a request keeps to its arm by: the kind, and the value."""
        first = next((turn["content"] for turn in asked.history if turn["role"] == "user"), asked.question)
        known = {"user": asked.user, "conversation": asked.ragft.conversation, "key": caller.name, "first-turn": first}
        return next(((kind, value) for kind in self._settings.sticky if (value := known[kind])), ("first-turn", first))

    def ended(self, record: RequestRecord) -> None:
        """Records what became of a request, and offers its shadows."""
        assignment = record.assignment
        if assignment is None or self._recorder is None:
            return
        self.outcomes[assignment.arm, str(record.status)] += 1
        version = record.model_version
        if version is not None and version != assignment.experiment.arm(assignment.arm).model_version:
            return  # another model took the place of the arm's while it was asked: neither experiment's
        self._recorder.record(assignment.experiment, lambda: self._outcome(assignment, record))
        if record.status != 499:
            for work in assignment.shadows:
                self.shadows.offer(work)

    def _outcome(self, assignment: Assignment, record: RequestRecord) -> Outcome:
        """What is kept of a request; neither question nor answer nor who asked."""
        answer, refused, valid = record.answer, None, None
        if record.declared_refusal:
            refused, valid = True, True if self._rules.format is not None else None
        elif answer is not None and record.status == 200 and not record.interrupted:
            refused = is_refusal(answer, self._rules, asked=record.question)
            valid = format_valid(answer, self._rules)
        first = record.seconds.get("first_token")
        return Outcome(
            time=round(assignment.time, 3), id=assignment.id, request_id=record.request_id, unit=assignment.unit.id,
            arm=assignment.arm, status=record.status, seconds=round(record.seconds["total"], 4),
            first_token=None if first is None else round(first, 4), prompt_tokens=record.prompt_tokens,
            answer_tokens=record.answer_tokens, refused=refused, grounded=record.grounded, format_valid=valid,
            shadow=assignment.is_shadow, interrupted=record.interrupted, index_version=record.index_version,
        )  # fmt: skip


class Shadows:
    """Answers that nobody waits for: they begin where there is room, and end where a request needs it.

    Attributes:
        dropped: how many did not begin, or did not end.
    """

    def __init__(self, room: int) -> None:
        """`room` for requests and shadows together; below 2, a shadow answers only while nothing else is to be done."""
        self.dropped = 0
        self._room = max(1, room)
        self._requests = 0
        self._running: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """A request has come: shadows make room for it."""
        self._requests += 1
        while self._running and self._requests + len(self._running) > self._room:
            self._running.pop().cancel()
            self.dropped += 1

    def end(self) -> None:
        """A request has ended."""
        self._requests -= 1

    def offer(self, work: Work) -> None:
        """Does the work beside the requests, or drops it."""
        if self._requests + len(self._running) >= self._room:
            self.dropped += 1
            return
        # In a context of its own: what it does is not noted in the record of the request that it stands beside.
        task = asyncio.get_running_loop().create_task(work(), context=contextvars.Context())
        self._running.append(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        if task in self._running:
            self._running.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a shadow failed", exc_info=error)

    async def close(self) -> None:
        """Ends those that run."""
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
