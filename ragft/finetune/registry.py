"""Which merged model is the deployed one: what `ask`, `serve` and `evaluate` use."""

from __future__ import annotations

from pathlib import Path

from index.durable import write_file
from ragft.artifacts import Artifact, find, hash_model
from ragft.config import Config
from ragft.errors import RagftError


def deploy(workspace: Path, model: Artifact) -> None:
    """Makes a merged model the deployed one: what `ask`, `serve` and `evaluate` use."""
    pointer = workspace / "models" / "CURRENT"
    if not pointer.is_file() or pointer.read_text().strip() != model.fingerprint:
        write_file(pointer, model.fingerprint.encode())


def deployed_model(workspace: Path) -> Artifact:
    """The merged model that was deployed last.

    Raises:
        RagftError: there is none yet.
    """
    pointer = workspace / "models" / "CURRENT"
    artifact = find(workspace / "models", pointer.read_text().strip()) if pointer.is_file() else None
    if artifact is None:
        raise RagftError(
            f"There is no tuned model in {workspace}: run `ragft run`, or `ragft finetune` and `ragft merge`."
        )
    return artifact


def differences(model: Artifact, config: Config) -> list[str]:
    """The keys of a configuration that a merged model was made with other values of: base model and prompt."""
    found = []
    base = model.figures.get("base", config.model.base)
    # Named otherwise, and perhaps the same: a folder can be looked into, a model of the hub is not fetched for this.
    folder, inputs = Path(config.model.base), model.manifest["inputs"]
    if base != config.model.base and not (folder.is_dir() and hash_model(folder) == inputs.get("base")):
        found.append("model.base")
    before, now = inputs.get("prompt", {}), config.prompt.model_dump(mode="json")
    return found + [f"prompt.{key}" for key, value in now.items() if key in before and before[key] != value]
