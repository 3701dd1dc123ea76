"""The arms of an evaluation: setups beside the four, each answered and recorded as they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ragft.artifacts import model_version
from ragft.config import ArmSection
from ragft.config.evaluate import OWN_MODELS
from ragft.data.jsonl import to_lines
from ragft.engine.remote import RemoteEngine, key_in
from ragft.errors import UsageError
from ragft.messages import Message
from ragft.models import resolve_model
from ragft.setups import Arm
from ragft.stages.application import Application, Inputs
from ragft.stages.conversing import how_conversed
from ragft.stages.data import mix, rows
from ragft.stages.inputs import RECORDS, RETRIEVAL
from ragft.stages.live import how_adapted, version_of

if TYPE_CHECKING:
    from index.store.snapshot import Snapshot
    from ragft.engine.base import Engine
    from ragft.pipeline import Retrieved


def arms(app: Application) -> tuple[Arm, ...]:
    """The arms that the configuration names.

    Raises:
        UsageError: a key that an arm needs is not in the environment.
    """
    return tuple(_arm(name, section) for name, section in app.config.evaluate.arms.items())


def _arm(name: str, section: ArmSection) -> Arm:
    _key(name, section)
    is_own = section.url is None and section.model in OWN_MODELS
    engine = section.model if is_own else f"arm {name}"
    return Arm(name, engine == "tuned", section.passages != "none", section.prompt, engine=engine)


def with_shots(app: Application, arm: Arm) -> Arm:
    """An arm with the turns of its few-shot prompt, see `shots`."""
    count = app.config.evaluate.arms[arm.name].shots
    return replace(arm, shots=shots(app, count, passages=arm.retrieval, key=f"evaluate.arms.{arm.name}.shots"))


def engine(app: Application, arm: Arm) -> Engine:
    """The engine of an arm with a model of its own, not started yet."""
    section = app.config.evaluate.arms[arm.name]
    if section.url is None:
        return app.engine(resolve_model(section.model, app.reporter.say))
    return RemoteEngine(section.url, section.model, _key(arm.name, section))


def _key(name: str, section: ArmSection) -> str:
    return key_in(section.key_variable, f"evaluate.arms.{name}", "set it, or leave out the arm")


def inputs(app: Application, arm: Arm, questions: str, index_version: str | None) -> Inputs:
    """What decides the records of an arm.

    Args:
        arm: with its shots.
        questions: hash of what is asked.
    """
    section = app.config.evaluate.arms[arm.name]
    if arm.engine in OWN_MODELS:
        version = version_of(app, app.model_folder(arm.engine))
    else:
        remote = section.url is not None
        version = engine(app, arm).version if remote else model_version(resolve_model(section.model, app.reporter.say))
    parents = {"model": version}
    # The name of the variable, and the key in it, decide nothing.
    values: dict[str, Any] = {"setup": arm.name, "questions": questions, "passages": section.passages, **parents}
    if arm.engine in OWN_MODELS:
        values |= how_adapted(app)
    values["prompt"] = section.prompt
    if arm.shots:
        values["shots"] = hash_shots(arm.shots)
    if section.passages == "gold":
        values["sources"] = _hash([{"id": one.id, "sources": list(one.sources)} for one in app.questions])
    if arm.retrieval and index_version is not None:
        parents["index"] = index_version
        values |= {"index": index_version, "reranker": app.encoder_hashes()["reranker"]}
    values |= how_conversed(app, app.questions, arm)
    return Inputs((RECORDS, RETRIEVAL) if arm.retrieval else (RECORDS,), values, parents)


def _hash(values: Sequence[dict[str, Any]]) -> str:
    return blake3(to_lines(values)).hexdigest()[:16]


def hash_shots(shots: Sequence[Message]) -> str:
    """16 hex digits over the turns of a few-shot prompt."""
    return _hash([dict(turn) for turn in shots])


def shots(app: Application, count: int, *, passages: bool, key: str) -> tuple[Message, ...]:
    """The turns of a few-shot prompt: rows that a model would be trained on, of different examples, drawn by `seed`.

    Args:
        count: number of examples.
        passages: whether they show passages, as prompts with retrieval do; of four such, one is a refusal, if the mix
            has any.
        key: of the configuration that says so, for messages.

    Raises:
        UsageError: the mix has too few rows of that kind.
    """
    if count == 0:
        return ()
    kinds = ["gold", "gold", "gold", "refusal"] if passages else ["closed-book"]
    mix(app)
    by_kind: dict[str, list[tuple[Message, ...]]] = {kind: [] for kind in kinds}
    seen: set[str] = set()
    mixed = list(rows(app, "train"))
    random.Random(app.config.seed).shuffle(mixed)
    for row in mixed:
        # An example with turns or a system prompt of its own would be another conversation.
        is_plain = len(row.messages) == 3 and row.messages[0]["content"] == app.config.prompt.system
        if row.kind in by_kind and is_plain and row.example_id not in seen:
            seen.add(row.example_id)
            by_kind[row.kind].append(tuple(row.messages[1:]))
    found = []
    for place in range(count):
        kind = kinds[place % len(kinds)]
        of_kind = by_kind[kind] or by_kind[kinds[0]]
        if not of_kind:
            raise UsageError(
                f"{key} is {count}, and the mix has only {place} rows of the kind "
                f"{kinds[0]!r} to show: lower shots, or raise their share in data.mix."
            )
        found.append(of_kind.pop())
    return tuple(turn for turns in found for turn in turns)


def gold(app: Application, snapshot: Snapshot) -> list[Retrieved]:
    """The passages of the sources of every question: first those that hold an answer, at most `index.search.top_k`.

    A question without sources gets none.
    """
    from ragft.data.gold import source_hits
    from ragft.pipeline import Retrieved

    top_k = app.config.index.search.top_k
    hits = source_hits(app.questions, snapshot.chunks())
    return [Retrieved(hits[question.id][:top_k], snapshot.id, 0.0) for question in app.questions]
