"""The latest evaluation of a workspace, and whether it is of what serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragft.artifacts import Artifact, artifacts_in, find
from ragft.stages.application import Application
from ragft.stages.inputs import EVALUATION, RECORDS

Versions = Mapping[str, tuple[str | None, str | None]]
"""By setup the versions of its model and its index; None for what is not known or not there."""


@dataclass(frozen=True)
class Latest:
    """An evaluation and what it was made of.

    Attributes:
        versions: by setup; without those whose answers came from a file or are no longer in the workspace.
        serves: whether each setup that serves and was evaluated is in the version that was; None where it cannot be
            told.
        sentence: the same in words.
    """

    artifact: Artifact
    versions: Versions
    serves: bool | None
    sentence: str


def latest_evaluation(app: Application, serving: Versions) -> Latest | None:
    """The evaluation that was made last; None where there is none.

    Args:
        serving: what serves now.
    """
    made = artifacts_in(app.workspace / EVALUATION.folder)
    if not made:
        return None
    artifact = made[0]
    versions = _versions(app, artifact)
    both = [name for name in serving if name in versions]
    if not both:
        return Latest(
            artifact, versions, None, "Whether it is of what serves cannot be told: it holds none of these setups, or "
            "their answers are from elsewhere or deleted.",
        )  # fmt: skip
    other = [name for name in both if versions[name] != serving[name]]
    if not other:
        return Latest(artifact, versions, True, "It is of the versions that serve now.")
    told = "; ".join(
        f"{name} was evaluated as {_named(versions[name])} and serves as {_named(serving[name])}" for name in other
    )
    return Latest(artifact, versions, False, f"It belongs to other versions than those that serve: {told}.")


def _versions(app: Application, artifact: Artifact) -> dict[str, tuple[str | None, str | None]]:
    parts = artifact.manifest["inputs"].get("records")
    found = {}
    for name, fingerprint in parts.items() if isinstance(parts, dict) else ():
        records = find(app.workspace / RECORDS.folder, str(fingerprint))
        if records is not None:
            parents = records.manifest["parents"]
            found[name] = (parents.get("model"), parents.get("index"))
    return found


def _named(versions: tuple[str | None, str | None]) -> str:
    model, index = versions
    return f"model {model or 'unknown'}" + (f" over index {index}" if index else "")
