"""An export: a merged model in another form, with what that form loses, published whole or not at all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import locked, publish_folder, write_file
from ragft.artifacts import MANIFEST, Artifact, hash_folder, package_versions
from ragft.data.jsonl import read_objects
from ragft.errors import RagftError, UsageError
from ragft.finetune.export.formats import Form
from ragft.stages.application import Application
from ragft.stages.inputs import MIX
from ragft.templates import Template

if TYPE_CHECKING:
    from ragft.finetune.asking import Prompt
    from ragft.finetune.export.loss import Limits, Loss

DEFAULT_EXACT_LOSS = 0.05
"""Two of fifty prompts: a smaller difference cannot be told from chance."""


@dataclass(frozen=True)
class Allowed:
    """What an export may lose; None: the default, of the form or of the configuration."""

    divergence: float | None = None
    format_loss: float | None = None
    exact_loss: float | None = None


def export(
    app: Application, model: Artifact, form: Form, to: Path | None = None, allowed: Allowed | None = None
) -> Path:
    """Writes a merged model in another form, measures what it loses, and publishes it where that is within the limits.

    Args:
        to: a folder that does not exist yet; None: one of the workspace, named by model and form.

    Returns:
        The folder, with the measured figures in its manifest.json.

    Raises:
        UsageError: the folder exists, or the model was trained with another chat template than is configured.
        RagftError: the model has no such form, or loses too much by it.
    """
    from ragft.finetune.export.loss import Limits, check

    folder = (to or app.workspace / "exports" / f"{model.fingerprint}-{form.name}").absolute()
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already: delete it, or name another folder with --to.")
    allowed = allowed or Allowed()
    limits = Limits(
        _first(allowed.divergence, form.max_divergence),
        _first(allowed.format_loss, app.config.merge.max_format_loss),
        _first(allowed.exact_loss, DEFAULT_EXACT_LOSS),
    )
    template, prompts = _prompts(app, model)
    begin = time.perf_counter()
    with _growing(folder) as growing:
        app.reporter.say(f"Writing the model as {form.name}")
        form.write(model.folder, growing, f"{app.config.name} {model.fingerprint}", template.stop)
        _copy_papers(model.folder, growing)
        app.reporter.say(f"Comparing the merged model and its export on {len(prompts)} held-out prompts")
        loss = _measured(app, model, form, growing, template, prompts)
        check(loss, limits)
        manifest = _manifest(app, model, form, loss, limits, growing)
        manifest["seconds"] = round(time.perf_counter() - begin, 2)
        write_file(growing / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        if folder.exists():
            raise UsageError(f"{folder} exists already: delete it, or name another folder with --to.")
        publish_folder(growing, folder)
    return folder


def _first(given: float | None, default: float) -> float:
    return default if given is None else given


def _prompts(app: Application, model: Artifact) -> tuple[Template, list[Prompt]]:
    """The model's chat template, and the prompts that were held out of its own training."""
    from transformers import AutoTokenizer

    from ragft.data.rows import Row
    from ragft.finetune.asking import prompts_of

    tokenizer = AutoTokenizer.from_pretrained(str(model.folder), local_files_only=True)
    template = Template(tokenizer, app.config.prompt.template_options)
    trained = model.figures.get("template")
    if trained is not None and trained != template.hash:
        raise UsageError(
            f"Model {model.fingerprint} was trained with another chat template than prompt.template_arguments and "
            "prompt.date give now: set them as `ragft models show` has them."
        )
    path = app.workspace / MIX.folder / str(model.manifest["inputs"].get("mix")) / "validation.jsonl"
    if not path.is_file():
        raise RagftError(
            f"The held-out prompts of model {model.fingerprint} are gone ({path}), so that what an export loses cannot "
            "be measured: run `ragft run`, and export the model that it makes."
        )
    rows = [Row.from_json(values) for _, values in read_objects(path, "rows", "")]
    longest = app.config.engine.max_model_len
    found = prompts_of(rows, template, max_seq_length=longest, seed=app.config.seed)[: app.config.merge.prompts]
    if not found:
        raise RagftError(
            f"{path} holds no prompt that can be scored: raise data.split.validation_share and train again."
        )
    return template, found


def _measured(
    app: Application, model: Artifact, form: Form, growing: Path, template: Template, prompts: Sequence[Prompt]
) -> Loss:
    from ragft.evaluate.metrics import Rules
    from ragft.finetune.divergence import stop_tokens
    from ragft.finetune.export.loss import measure
    from ragft.finetune.fast import decoder

    dtype = decoder.compute_dtype()
    end = () if template.end is None else (template.end,)
    return measure(
        lambda: decoder.load(model.folder, dtype, attention_name="sdpa"),
        lambda: form.read(growing, dtype),
        prompts,
        Rules.of(app.config.answer),
        ends=lambda merged: stop_tokens(merged, model.folder, end),
        max_tokens=app.config.engine.max_tokens,
        decode=lambda ids: str(template.tokenizer.decode(ids, skip_special_tokens=True)),
        dtype=dtype,
    )


def _manifest(
    app: Application, model: Artifact, form: Form, loss: Loss, limits: Limits, growing: Path
) -> dict[str, Any]:
    return {
        "kind": "export",
        "form": form.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parents": {"model": model.fingerprint},
        "inputs": {"prompts": app.config.merge.prompts, "answer": app.config.answer.model_dump(mode="json")},
        "versions": package_versions((*form.packages, "torch")),
        "figures": {
            "version": hash_folder(growing),
            "bytes": sum(path.stat().st_size for path in growing.iterdir()),
            **loss.figures(),
            "limits": asdict(limits),
            "trained_with": model.figures.get("trained_with"),
        },
    }


def _copy_papers(model: Path, growing: Path) -> None:
    """Licence and model card, wherever the form has not brought them already."""
    for pattern in ("LICENSE*", "NOTICE*", "README.md"):
        for path in model.glob(pattern):
            if path.is_file() and not (growing / path.name).exists():
                shutil.copyfile(path, growing / path.name)


@contextmanager
def _growing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the final one, gone at the end unless it was renamed; first, what a killed export left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    growing, lock = (folder.with_name(f".{folder.name}.{end}") for end in ("growing", "lock"))
    try:
        with locked(lock):
            shutil.rmtree(growing, ignore_errors=True)
            growing.mkdir()
            try:
                yield growing
            finally:
                shutil.rmtree(growing, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except BlockingIOError:
        raise RagftError(f"Another process is exporting to {folder}: wait for it, or name another with --to.") from None
