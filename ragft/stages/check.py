"""`ragft check`: a dry run of one application before hours are spent on it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from index.errors import IndexFault, NoSnapshot
from index.store.snapshot import Snapshot
from ragft.artifacts import artifacts_in
from ragft.config import FinetuneSection
from ragft.console import Findings
from ragft.data.audit import audit_data
from ragft.errors import RagftError
from ragft.finetune.methods import METHODS
from ragft.stages.adapter import why_not_served
from ragft.stages.application import Application
from ragft.stages.index import refresh
from ragft.stages.machine import look_at_hardware, memory_gib

if TYPE_CHECKING:
    from ragft.engine.base import Engine
    from ragft.prompts import Message

_SAMPLE = 5
_ACTIVATION_BYTES = 80
"""Training memory besides the weights: activations of a micro-batch, in bytes per token, layer and hidden unit. Fitted
to the peak of SmolLM2-135M (30 layers of 576) at a budget of 2,048 tokens: benchmarks/RESULTS.md."""


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
    _tried(findings, "model", lambda: f"{config.model.base} in {app.base}")
    _tried(findings, "encoder", lambda: f"{config.index.encoder.model}, {app.encoder.dimension} dimensions")
    if not findings.errors:
        _tried(findings, "questions through retrieval and prompt", lambda: _five_questions(app, findings))
        _tried(findings, "training back end", lambda: _training_back_end(app))
        _tried(findings, "training", lambda: _training_estimate(app))
    return findings


def _tried(findings: Findings, what: str, work: Callable[[], str]) -> None:
    try:
        findings.add("ok", what, work())
    except (RagftError, IndexFault) as error:
        findings.add("error", what, str(error))


@dataclass(frozen=True)
class _Counter:
    """Stands in for an engine, which would take a minute to start, where only the length of prompts is asked."""

    tokenizer: Any

    def prompt_length(self, messages: Sequence[Message], tools: Any = None) -> int:
        from ragft.prompts import render_prompt

        return len(render_prompt(self.tokenizer, messages, tools))


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
        found = app.retriever(snapshot).search([question.question for question in questions])
    counter = _Counter(app.tokenizer)
    pipeline = Pipeline(config, {HYBRID.model: cast("Engine", counter)}, None)
    prompts = [
        pipeline.render(HYBRID, question.question, hits) for question, hits in zip(questions, found, strict=True)
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


def _some_documents(app: Application, target: Path) -> Path:
    """The texts of a few documents, so that a dry run does not encode a large corpus."""
    target.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(app.documents[0][:_SAMPLE]):
        suffix = ".md" if document.is_markdown else ".txt"
        (target / f"{number}{suffix}").write_text(document.text, encoding="utf-8")
    return target


def _bytes_of_trained_weights(settings: FinetuneSection, parameters: float, model: Any) -> float:
    """Memory of weights that are trained themselves, in float32: they, their gradient, two moments and the best so far.

    All but the gradient exist a second time while a checkpoint is written.

    Args:
        parameters: number of the model's weights.
        model: its configuration.
    """
    if METHODS[settings.method].yields != "weights":
        return 0.0
    share = 1.0
    if settings.method == "layers":
        share = (len(settings.layers) or math.ceil(model.num_hidden_layers / 4)) / model.num_hidden_layers
    return 9 * 4 * share * parameters


def _training_back_end(app: Application) -> str:
    """Whether the base's files are complete, and the fast back end trains it exactly, tried on a few packed rows."""
    from ragft.finetune import base
    from ragft.finetune.fast.decoder import compute_dtype
    from ragft.finetune.fast.probe import NotFast, load_for_training
    from ragft.finetune.training import trainer_for
    from ragft.prompts import conversation, render_prompt

    settings, back_end = app.config.finetune, "PEFT"
    try:
        if "peft_backend" in trainer_for(settings):
            model = base.load(app.base)
        else:
            model, back_end = load_for_training(app.base, None, max_seq_length=settings.max_seq_length), "fast"
    except NotFast as reason:
        model, back_end = base.load(app.base), f"PEFT, which is slower ({reason})"
    questions = [conversation(app.config.prompt.system, example.question) for example in app.examples[:_SAMPLE]]
    base.check_ids(model, [render_prompt(app.tokenizer, turns) for turns in questions])
    stored, compute = (str(dtype).removeprefix("torch.") for dtype in (base.stored_dtype(app.base), compute_dtype()))
    text = f"{back_end}; the base is stored in {stored}, and so will be the merged model"
    if compute == stored or compute == "float32":
        return text
    return f"{text}; training rounds what it does not quantise to {compute}, which this machine multiplies"


def _training_estimate(app: Application) -> str:
    """Memory and time of training, from the sizes of model and data; time by what was measured here before."""
    from transformers import AutoConfig

    from ragft.prompts import conversation, render_prompt

    config = app.config
    model = AutoConfig.from_pretrained(app.base, local_files_only=True).get_text_config()
    parameters = sum(path.stat().st_size for path in app.base.glob("*.safetensors")) / 2
    activations = config.finetune.token_budget * model.num_hidden_layers * model.hidden_size * _ACTIVATION_BYTES
    peak = (3 * parameters + _bytes_of_trained_weights(config.finetune, parameters, model) + activations) / 2**30
    if peak > memory_gib():
        raise RagftError(
            f"Training would take about {peak:.1f} GiB and this machine has {memory_gib():.1f}: lower "
            "finetune.token_budget, or take a smaller model."
        )
    question = render_prompt(app.tokenizer, conversation(config.prompt.system, app.examples[0].question))
    window = min(app.encoder.max_tokens, config.index.chunking.max_tokens or app.encoder.max_tokens)
    longest = len(question) + config.data.mix.passages * window
    general_share = config.data.mix.general_share if config.data.mix.general else 0.0
    rows = round(len(app.examples) * config.data.mix.repeats / (1 - general_share))
    text = f"{rows} rows of at most about {longest} tokens, {peak:.1f} GiB at the peak"
    before = [artifact.figures for artifact in artifacts_in(app.workspace / "adapters")]
    if not before:
        return f"{text}; the first training here will tell how long it takes"
    seconds = rows * config.finetune.epochs * before[0]["tokens"] / before[0]["rows"] / before[0]["tokens_per_second"]
    return f"{text}; about {seconds / 60:.0f} minutes at the last {before[0]['tokens_per_second']:.0f} tokens/s"
