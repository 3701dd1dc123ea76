"""`ragft check`: a dry run of one application before hours are spent on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from index.errors import IndexFault, NoSnapshot
from index.store.snapshot import Snapshot
from ragft.console import Findings, counted, some
from ragft.data.audit import audit_data
from ragft.errors import RagftError
from ragft.finetune.methods import METHODS
from ragft.finetune.track import TRACKERS, refuse_missing_tracker
from ragft.stages.adapter import beginning, why_not_served
from ragft.stages.application import Application
from ragft.stages.index import refresh
from ragft.stages.machine import look_at_hardware
from ragft.stages.split import described

if TYPE_CHECKING:
    from ragft.config import FinetuneSection
    from ragft.engine.base import Engine
    from ragft.messages import Message
    from ragft.templates import Template

_SAMPLE = 5


def check_all(app: Application) -> Findings:
    """A dry run: the data, the models, five questions through retrieval and prompt, and what training will take."""
    config = app.config
    findings = audit_data(app)
    look_at_hardware(findings)
    if why := why_not_served(config):
        findings.add("warning", "method", why)
    passages, top_k = config.data.mix.passages, config.index.search.top_k
    if passages != top_k:
        unequal = f"training shows {passages} (data.mix.passages), serving {top_k} (index.search.top_k)"
        findings.add("warning", "passages", unequal)
    _tried(findings, "model", lambda: _model(app))
    _tried(findings, "chat template", lambda: _template(app, findings))
    _tried(findings, "training device", lambda: _training_device(config.finetune))
    _tried(findings, "encoder", lambda: f"{config.index.encoder.model}, {app.encoder.dimension} dimensions")
    if (start := config.finetune.start_from) is not None:
        _tried(findings, "start", lambda: f"{start}, of content {'-'.join(beginning(app)['start_from'])}")
    if (tracker := config.finetune.tracker) != "none":
        _tried(findings, "tracker", lambda: _tracker(tracker))
    if (told := config.evaluate.tracker) != "none":
        _tried(findings, "tracker of evaluations", lambda: _tracker(told, "evaluate.tracker"))
    if config.serve.split.arms:
        _tried(findings, "split", lambda: described(app))
    if not findings.errors:
        _tried(findings, "questions through retrieval and prompt", lambda: _five_questions(app, findings))
        _tried(findings, "accepted answers", lambda: _long_answers(app, findings))
        _tried(findings, "training", lambda: _training(app, findings))
    return findings


def _tried(findings: Findings, what: str, work: Callable[[], str]) -> None:
    try:
        findings.add("ok", what, work())
    except (RagftError, IndexFault) as error:
        findings.add("error", what, str(error))


def _model(app: Application) -> str:
    from ragft.finetune.base import check_writes

    check_writes(app.base)
    return f"{app.config.model.base} in {app.base}"


def _training_device(settings: FinetuneSection) -> str:
    from ragft.finetune import devices
    from ragft.finetune.optimizers import check_possible

    device = devices.resolve(settings.device)
    check_possible(settings, device)
    return str(device)


def _tracker(name: str, key: str = "finetune.tracker") -> str:
    refuse_missing_tracker(name, key)
    return TRACKERS[name].title


@dataclass(frozen=True)
class _Counter:
    """Stands in for an engine, which would take a minute to start, where only the length of prompts is asked."""

    template: Template

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        return len(self.template.prompt(messages, tools))


def _template(app: Application, findings: Findings) -> str:
    """What the base model's chat template takes, and which examples it cannot teach."""
    from ragft.prompts import conversation, turn

    _, faults = app.template.learnable(
        (
            (
                f"Example {one.id!r}",
                conversation(
                    app.config.prompt.system, one.question, history=one.history,
                    following=[turn("assistant", one.answer)],
                ),
            )
            for one in app.examples
        ),
        lambda turns: app.template.training(turns, app.config.finetune.train_on),
    )  # fmt: skip
    if faults:
        findings.add(
            "warning", "chat template", f"{len(faults)} of {len(app.examples)} examples cannot be learnt. {faults[0]}"
        )
    return app.template.described()


def _five_questions(app: Application, findings: Findings) -> str:
    """Five questions through retrieval and prompt, over the live index or one of a few documents made for this."""
    from ragft.pipeline import Pipeline
    from ragft.setups import HYBRID

    config, questions = app.config, app.questions[:_SAMPLE]
    with tempfile.TemporaryDirectory() as folder:
        where = "the live index"
        try:
            snapshot = Snapshot.open(app.index_root)
        except NoSnapshot:
            refresh(app, root=Path(folder) / "index", documents=_some_documents(app, Path(folder) / "documents"))
            snapshot = Snapshot.open(Path(folder) / "index")
            where = "an index of a few documents (there is no live one yet)"
        retriever = app.retriever(snapshot)
        condense = config.serve.condense
        found = retriever.search([retriever.query(one.question, one.history, condense) for one in questions])
    counter = _Counter(app.template)
    pipeline = Pipeline(config, {HYBRID.model: cast("Engine", counter)}, None)
    prompts = [
        pipeline.render(HYBRID, one.question, hits, history=one.history)
        for one, hits in zip(questions, found, strict=True)
    ]
    lengths = [counter.prompt_length(prompt.messages) for prompt in prompts]
    if dropped := sum(bool(prompt.passages_dropped) for prompt in prompts):
        findings.add(
            "warning",
            "prompt",
            f"{dropped} of {len(prompts)} prompts lose passages that do not fit: raise engine.max_model_len = "
            f"{config.engine.max_model_len}, or lower index.search.top_k",
        )
    limit, answer = config.engine.max_model_len, config.engine.max_tokens
    if limit - max(lengths) < answer:
        raise RagftError(
            f"A prompt of {max(lengths)} tokens leaves {limit - max(lengths)} of engine.max_model_len = {limit} for an "
            f"answer, less than engine.max_tokens = {answer}: raise it, or shorten prompt.system."
        )
    return f"{len(questions)} over {where}; prompts of {min(lengths)} to {max(lengths)} tokens, answers fit"


def _long_answers(app: Application, findings: Findings) -> str:
    """Questions none of whose accepted answers can be given in full."""
    most = app.config.engine.max_tokens
    answers = [(question.id, text) for question in app.questions for text in question.answers]
    lengths = map(len, app.tokenizer([text for _, text in answers], add_special_tokens=False)["input_ids"])
    shortest: dict[str, int] = {}
    for (name, _), length in zip(answers, lengths, strict=True):
        shortest[name] = min(length, shortest.get(name, length))
    if too_long := [name for name, length in shortest.items() if length > most]:
        findings.add(
            "warning", "answers",
            f"{counted(len(too_long), 'question')} ({some(too_long)}) cannot be answered within engine.max_tokens = "
            f"{most}, so whatever is answered is cut off and wrong: raise it",
        )  # fmt: skip
    return f"the longest accepted answer has {max(shortest.values(), default=0)} tokens"


def _some_documents(app: Application, target: Path) -> Path:
    """The texts of a few documents, so that a dry run does not encode a large corpus."""
    target.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(app.documents[0][:_SAMPLE]):
        suffix = ".md" if document.is_markdown else ".txt"
        (target / f"{number}{suffix}").write_text(document.text, encoding="utf-8")
    return target


def _training(app: Application, findings: Findings) -> str:
    """What training will take, and which back end trains: the one that took the steps that were timed."""
    from ragft.finetune import base, devices
    from ragft.finetune.estimate import ModelSizes, quantising_saves
    from ragft.finetune.fast.decoder import compute_dtype
    from ragft.finetune.training import trainer_for
    from ragft.stages.estimates import estimate

    settings, found = app.config.finetune, estimate(app)
    trainer = trainer_for(settings)
    back_end = "TRL over PEFT" if "trl_backend" in trainer else "fast" if "finetune.fast" in trainer else "PEFT"
    if found.slower is not None:
        back_end = f"PEFT, which is slower ({found.slower})"
    device = devices.resolve(settings.device)
    stored, compute = (
        str(dtype).removeprefix("torch.") for dtype in (base.stored_dtype(app.base), compute_dtype(device))
    )
    text = f"{back_end}; the base is stored in {stored}, and so will be the merged model"
    if compute not in (stored, "float32"):
        text += f"; training rounds what it does not quantise to {compute}, which this machine multiplies"
    if METHODS[settings.method].quantisation is not None and not quantising_saves(ModelSizes.of(app.base), device):
        text += "; rounding a base this small to NF4 saves no memory, and finetune.method=lora trains without it"
    findings.add("ok", "training back end", text)
    return found.sentence()
