"""The merged models of a workspace, and which one is deployed: what `ask`, `serve` and `evaluate` use.

`CURRENT` names the deployed model and is replaced atomically; `deployments.jsonl` remembers which one served when, so
that the one before can be deployed again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

from index.durable import locked, write_file
from ragft.artifacts import Artifact, artifacts_in, find, hash_model, remove
from ragft.config import Config
from ragft.data.jsonl import to_lines
from ragft.errors import RagftError, UsageError

_CURRENT, _HISTORY, _LOCK = "CURRENT", "deployments.jsonl", "LOCK"
_TRAINED_WITH = ("model.base", "prompt.system", "answer.refusal")


def has_rounded_weights(model: Artifact) -> bool:
    """Whether a merged model has the weights of its base as quantising left them."""
    return bool(model.manifest["inputs"].get("quantised")) and model.figures.get("onto") == "trained"


@dataclass(frozen=True)
class Removed:
    """What a garbage collection deleted, or would delete: fingerprints, oldest first, and bytes."""

    models: tuple[str, ...]
    freed: int


class Registry:
    """The models in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> list[Artifact]:
        """All merged models, newest first."""
        return artifacts_in(self.root)

    def named(self, fingerprint: str) -> Artifact:
        """The model with this fingerprint, or the only one whose fingerprint begins so.

        Raises:
            UsageError: there is none, or more than one.
        """
        found = [model for model in self.models() if model.fingerprint.startswith(fingerprint)]
        if len(found) != 1:
            known = ", ".join(model.fingerprint for model in (found or self.models())) or "none"
            problem = "names several models" if found else "names no model"
            raise UsageError(f"{fingerprint!r} {problem} in {self.root}; choose one of these: {known}.")
        return found[0]

    def deployed(self) -> Artifact:
        """The model that was deployed last; a RagftError where there is none yet."""
        current = self.current()
        artifact = find(self.root, current) if current is not None else None
        if artifact is None:
            raise RagftError(
                f"There is no tuned model in {self.root.parent}: run `ragft run`, or `ragft finetune` and then "
                "`ragft merge`."
            )
        return artifact

    @property
    def current_path(self) -> Path:
        """The file that names the deployed model; it is replaced when another one is deployed."""
        return self.root / _CURRENT

    def current(self) -> str | None:
        """The fingerprint of the deployed model; None where none is."""
        path = self.current_path
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def previous(self) -> str | None:
        """The fingerprint of the model that served before the deployed one; None where there was none."""
        current = self.current()
        newest_first = (str(entry["model"]) for entry in reversed(self._history()))
        since_current = dropwhile(lambda name: name != current, newest_first)
        return next((name for name in since_current if name != current), None)

    def deploy(self, model: Artifact) -> str | None:
        """Deploys a model; a running server serves it within seconds.

        Returns:
            The fingerprint of the model that this one replaces; None if there was none, or if it is the same.
        """
        with locked(self.root / _LOCK, wait=True):
            before = self.current()
            if before == model.fingerprint:
                return None
            history = self._history()
            if before is not None and (not history or history[-1]["model"] != before):
                # A version without history deployed it, or the deployment at the end of the history was interrupted.
                history.append({"model": before})
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_file(self.root / _HISTORY, to_lines([*history, {"model": model.fingerprint, "deployed": now}]))
            write_file(self.current_path, model.fingerprint.encode())
        return before

    def rollback(self) -> tuple[Artifact, str | None]:
        """Deploys the model that served before; returns it, and what `deploy` returns; raises as `before`."""
        model = self.before()
        return model, self.deploy(model)

    def before(self) -> Artifact:
        """The model that served before the deployed one.

        Raises:
            RagftError: no other model has served, or it was deleted.
        """
        previous = self.previous()
        model = find(self.root, previous) if previous is not None else None
        if model is None:
            gone = f"model {previous}, which served before, was deleted" if previous else "no other model has served"
            raise RagftError(f"There is no model to go back to in {self.root}: {gone}; see `ragft models list`.")
        return model

    def gc(self, keep: int, *, dry_run: bool = False) -> Removed:
        """Deletes old models, except the newest `keep`, the deployed one and the one that served before it."""
        if not self.root.is_dir():
            return Removed((), 0)
        with locked(self.root / _LOCK, wait=True):
            kept = {self.current(), self.previous()}
            doomed = [model for model in reversed(self.models()[keep:]) if model.fingerprint not in kept]
            freed = sum(path.stat().st_size for model in doomed for path in model.folder.rglob("*") if path.is_file())
            if not dry_run:
                for model in doomed:
                    remove(model)
        return Removed(tuple(model.fingerprint for model in doomed), freed)

    def differences(self, model: Artifact, config: Config) -> list[str]:
        """The keys of `trained_with` whose values differ between a model and a configuration."""
        before, now = _trained_with(model), trained_with(config)
        return [key for key, value in now.items() if key in before and not _same(key, before[key], value, model)]

    def _history(self) -> list[dict[str, Any]]:
        path = self.root / _HISTORY
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def trained_with(config: Config) -> dict[str, Any]:
    """The values that a model answers best with, by their keys: those it was trained with. Its manifest holds them."""
    prompt = config.prompt
    values = (config.model.base, prompt.system, config.answer.refusal)
    template = {"prompt.template_arguments": prompt.template_arguments, "prompt.date": prompt.date.isoformat()}
    return {**dict(zip(_TRAINED_WITH, values, strict=True)), **template}


def _trained_with(model: Artifact) -> dict[str, Any]:
    """`trained_with` as a model's manifest has it, or one of an earlier version."""
    figures, prompt = model.figures, model.manifest["inputs"].get("prompt", {})
    earlier = (figures.get("base"), prompt.get("system"), prompt.get("refusal"))
    known = zip(_TRAINED_WITH, earlier, strict=True)
    return figures.get("trained_with") or {key: value for key, value in known if value is not None}


def _same(key: str, before: Any, now: Any, model: Artifact) -> bool:
    if before == now or key != "model.base":
        return before == now
    # Another name may mean the same base: a local folder is hashed, a model of the hub is not downloaded for this.
    return Path(now).is_dir() and hash_model(Path(now)) == model.manifest["inputs"].get("base")
