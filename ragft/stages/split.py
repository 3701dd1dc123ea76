"""The arms of `serve.split`, as the endpoint asks them, and the experiments that were recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ragft.artifacts import fingerprint_of
from ragft.errors import RagftError, UsageError
from ragft.setups import SETUPS, Arm, Setup
from ragft.stages.application import Application
from ragft.stages.inputs import RECORDS, RETRIEVAL
from ragft.stages.prompt_choice import configured
from ragft.traffic.experiment import ArmSpec, Experiment
from ragft.traffic.log import experiments


def experiments_root(app: Application) -> Path:
    """The folder of the workspace in which outcomes are recorded."""
    return app.workspace / "experiments"


def arms(app: Application) -> dict[str, Setup]:
    """The arms by name; one with a model of its own has an engine of that model's name.

    Raises:
        UsageError: the workspace has no such model.
    """
    return {name: _asked(app, name) for name in app.config.serve.split.arms}


def _asked(app: Application, name: str) -> Setup:
    section = app.config.serve.split.arms[name]
    setup = configured(app, SETUPS[section.setup])[0]
    if section.model is None:
        return setup
    try:
        model = app.registry.named(section.model)
    except UsageError as error:
        raise UsageError(f"serve.split.arms.{name}.model: {error}") from None
    return Arm(
        setup.name, setup.tuned, setup.retrieval, setup.arrangement, setup.shots, engine=f"model {model.fingerprint}"
    )


def experiment(app: Application, versions: Mapping[str, str], now: float) -> Experiment:
    """The experiment of a configuration whose arms are answered by these models.

    Its id is a hash of all that decides what is compared: arms and shares, the models, and what decides an answer and
    its outcome. A refreshed index starts no new one: all arms see the same documents.

    Args:
        versions: of the model of each arm, by the arm's name.
        now: seconds since the epoch.
    """
    config, split = app.config, app.config.serve.split
    arms = tuple(
        ArmSpec(name, arm.setup, versions[name], arm.share, arm.shadow, SETUPS[arm.setup].retrieval)
        for name, arm in split.arms.items()
    )
    decided: dict[str, Any] = {
        "arms": [msgspec.to_builtins(arm) for arm in arms],
        "sticky": split.sticky,
        # What decides records decides answers; the patterns of `answer` decide what an outcome is.
        **RECORDS.values(config),
        **RETRIEVAL.values(config),
        "answer": config.answer.model_dump(mode="json"),
        "condense": config.serve.condense,
        "grounding": [config.serve.grounding, config.serve.refuse_by, config.serve.refuse_below],
    }
    return Experiment(
        fingerprint_of("experiment", decided), now, arms, split.decides, split.window, split.slowest,
        config.engine.max_tokens,
    )  # fmt: skip


def own_models(app: Application, setups: Iterable[Setup]) -> dict[str, Path]:
    """The folders of models that arms bring, by the names of their engines."""
    named = dict.fromkeys(setup.model for setup in setups if isinstance(setup, Arm))
    return {engine: app.registry.named(engine.removeprefix("model ")).folder for engine in named}


def described(app: Application) -> str:
    """The arms in a sentence, for `ragft check`; raises as `arms`."""
    found, split = arms(app), app.config.serve.split
    return ", ".join(
        f"{name} {'as a shadow' if name not in split.shares else f'{100 * split.shares[name]:g} %'} ({setup.name}"
        f"{f', {setup.model}' if isinstance(setup, Arm) else ''})"
        for name, setup in found.items()
    )


def recorded(app: Application, named: str | None) -> Experiment:
    """The experiment of a given id, or the beginning of one; None: the one that was recorded last.

    Raises:
        RagftError: nothing was recorded yet.
        UsageError: there is no such experiment, or more than one.
    """
    root = experiments_root(app)
    known = experiments(root)
    if not known:
        raise RagftError(
            f"No experiment was recorded in {root}: set serve.split.arms, start `ragft serve`, and send requests to "
            f"the model {app.config.serve.split.name!r}."
        )
    if named is None:
        return known[0]
    found = [one for one in known if one.id.startswith(named)]
    if len(found) != 1:
        many = "Several experiments are" if found else "No experiment is"
        raise UsageError(f"{many} named {named!r}; there are: {', '.join(one.id for one in found or known)}.")
    return found[0]
