"""Live adapters: the tuned model as the base model and the adapter that it was merged from, in one engine.

Whether that answers as the merged model does is proven by `ragft models prove-live`. An adapter that was trained
against quantised weights and merged onto those is another model over the unquantised base, by how much the proof says.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ragft.artifacts import MANIFEST, Artifact, artifacts_in, find, hash_file, model_version
from ragft.errors import RagftError, UsageError
from ragft.finetune.fast.plain_lora import read_plain_lora
from ragft.finetune.lineage import ADAPTER_FILES
from ragft.finetune.live_proof import VERSION, LiveProof, check_live, prove_live
from ragft.finetune.registry import has_rounded_weights
from ragft.stages.application import Application, Inputs
from ragft.stages.data import mix, rows
from ragft.stages.inputs import ADAPTER, LIVE

if TYPE_CHECKING:
    from ragft.engine.adapter import Adapter
    from ragft.engine.base import Engine

FOLDER = "adapter"
"""Of the adapter in the folder of the model that it was merged into."""

_HOW = "`ragft models prove-live` compares them"


def keep_adapter(adapter: Path, model: Path) -> None:
    """Copies an adapter into the folder of the model that it was merged into."""
    (model / FOLDER).mkdir()
    for name in (*ADAPTER_FILES, MANIFEST):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, model / FOLDER / name)


def is_live(app: Application, folder: Path) -> bool:
    """Whether the model of a folder is served with its adapter live: a published one, if `serve.adapters` says so."""
    return app.config.serve.adapters == "live" and folder.parent == app.registry.root


def version_of(app: Application, folder: Path) -> str:
    """Identifies what answers for a model's folder: the merged model, or base and adapter.

    Raises:
        RagftError: its adapter cannot be served live.
    """
    return _readable(app, _published(app, folder)).version if is_live(app, folder) else model_version(folder)


def how_adapted(app: Application) -> dict[str, str]:
    """How the application's models are loaded, among what decides their answers; nothing where that is as usual."""
    return {} if app.config.serve.adapters == "merged" else {"adapters": app.config.serve.adapters}


def adapter_of(app: Application, folder: Path) -> Adapter:
    """The adapter of a published model that may be served live; says so where nobody has proven it.

    Raises:
        RagftError: it cannot be, or its proof says that it answers otherwise than the merged model.
    """
    return app.once(f"live {folder.name}", lambda: _allowed(app, folder))


def _allowed(app: Application, folder: Path) -> Adapter:
    model = _published(app, folder)
    adapter = _readable(app, model)
    proof = _proof_of(app, model, adapter)
    if proof is not None:
        check_live(LiveProof.read(proof).figures(app.config.answer), app.config.merge, model.fingerprint)
    elif has_rounded_weights(model):
        app.reporter.say(
            f"The adapter of model {model.fingerprint} was trained against quantised weights, which the merged model "
            "has: live over the unquantised base it is another model, and nobody has compared it with the proven one; "
            f"{_HOW}."
        )
    else:
        app.reporter.say(
            f"The live adapter of model {model.fingerprint} has not been compared with the merged model, which is the "
            f"proven one; {_HOW}."
        )
    return adapter


def _published(app: Application, folder: Path) -> Artifact:
    model = find(app.registry.root, folder.name)
    if model is None:
        raise RagftError(f"There is no model {folder.name} in {app.registry.root}; see `ragft models list`.")
    return model


def _readable(app: Application, model: Artifact) -> Adapter:
    """The adapter of a model, of a kind that vLLM applies, over the base that it was trained on; read once."""
    return app.once(f"adapter of {model.fingerprint}", lambda: _read(app, model))


def _read(app: Application, model: Artifact) -> Adapter:
    from ragft.engine.adapter import RANKS, Adapter

    if app.config.engine.backend != "vllm":
        raise UsageError(
            f"serve.adapters is live, which engine.backend = {app.config.engine.backend} cannot do: set it to merged, "
            "or engine.backend to vllm."
        )
    inputs = model.manifest["inputs"]
    if (trained := inputs.get("base")) != app.base_hash:
        raise RagftError(
            f"Model {model.fingerprint} was trained on another base model (content hash {trained}, not "
            f"{app.base_hash}), so that its adapter cannot be served live: set model.base to that one, or "
            "serve.adapters to merged."
        )
    folder = _folder(app, model)
    try:
        plain = read_plain_lora(folder)
    except RagftError as error:
        raise RagftError(
            f"Model {model.fingerprint} can only be served merged (serve.adapters: merged), because vLLM applies plain "
            f"LoRA alone: {error}"
        ) from error
    if (rank := max([plain.rank, *plain.ranks.values()])) > RANKS[-1]:
        raise RagftError(
            f"The adapter of model {model.fingerprint} has rank {rank}, and vLLM applies those up to {RANKS[-1]}: set "
            "serve.adapters to merged."
        )
    content = json.dumps([app.base_hash, *inputs["adapter"]])
    return Adapter(folder, blake3(content.encode()).hexdigest()[:16], rank)


def _folder(app: Application, model: Artifact) -> Path:
    """Where the adapter of a model is, found by its content: with the model, or where it was trained."""
    places = [model.folder / FOLDER]
    if trained := model.manifest["parents"].get("adapter"):  # models of earlier versions have no copy
        places.append(app.workspace / ADAPTER.folder / trained / "adapter")
    for folder in places:
        files = [folder / name for name in ADAPTER_FILES]
        if all(map(Path.is_file, files)) and list(map(hash_file, files)) == model.manifest["inputs"]["adapter"]:
            return folder
    raise RagftError(
        f"The adapter that model {model.fingerprint} was merged from is not in {places[0]}, or was changed: delete the "
        "model's folder and merge again, or set serve.adapters to merged."
    )


def engine_of(app: Application, folder: Path, **settings: Any) -> Engine:
    """The engine over one model of the application, as `serve.adapters` says, not started yet; see `engines`."""
    return engines(app, {"": folder}, **settings)[""]


def engines(app: Application, folders: Mapping[str, Path], **settings: Any) -> dict[str, Engine]:
    """Engines over models that run side by side, not started yet; with live adapters they share one.

    Args:
        folders: by the names that the engines get.
        settings: of `ragft.engine.open`.
    """
    if not any(is_live(app, folder) for folder in folders.values()):
        return {model: app.engine(folder, **settings) for model, folder in folders.items()}
    adapters = {model: adapter_of(app, folder) if is_live(app, folder) else None for model, folder in folders.items()}
    return _open(app, adapters, **settings)


def _open(app: Application, adapters: Mapping[str, Adapter | None], **settings: Any) -> dict[str, Engine]:
    from ragft import engine

    return engine.open_live(
        app.base, adapters, app.config.engine, lambda folder: adapter_of(app, folder), seed=app.config.seed,
        template=app.config.prompt.template_options, **settings,
    )  # fmt: skip


def prove(app: Application, model: Artifact, prompts: int | None = None) -> Artifact:
    """Compares base and live adapter with the model that they were merged into; two engines, one after the other.

    Args:
        prompts: held-out prompts to compare on; None: `merge.prompts`.

    Raises:
        RagftError: the adapter cannot be served live at all. What falls short is no error here, see `check_live`.
    """
    adapter, config = _readable(app, model), app.config
    count = config.merge.prompts if prompts is None else prompts

    def work(folder: Path) -> dict[str, Any]:
        conversations = [row.messages[:-1] for row in rows(app, "validation")[:count]]
        if not conversations:
            raise RagftError("There are no held-out prompts to compare on: raise data.split.validation_share.")
        app.reporter.say(f"Comparing the live adapter with the merged model on {len(conversations)} held-out prompts")
        merged, live = app.engine(model.folder), _open(app, {"tuned": adapter})["tuned"]
        lengths = config.engine.max_tokens, config.engine.max_model_len
        proof = asyncio.run(prove_live(merged, live, conversations, *lengths))
        proof.write(folder)
        return proof.figures(config.answer)

    values = {
        "model": model.fingerprint, "adapter": adapter.version, "mix": mix(app).fingerprint, "prompts": count,
        "template": app.template.hash, "version": VERSION,
    }  # fmt: skip
    return app.build(Inputs((LIVE,), values, {"model": model.fingerprint}), work)


def _proof_of(app: Application, model: Artifact, adapter: Adapter) -> Artifact | None:
    """The newest proof of a model's live adapter."""
    of_it = {"model": model.fingerprint, "adapter": adapter.version}
    proofs = artifacts_in(app.workspace / LIVE.folder)
    return next((one for one in proofs if of_it.items() <= one.manifest["inputs"].items()), None)
