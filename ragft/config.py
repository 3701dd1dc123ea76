"""The whole application as one typed file: source of defaults, of `--set` keys and of the JSON Schema.

Paths in the file are relative to the file. Unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ragft.errors import UsageError
from ragft.setups import SETUPS

SetupName = Literal["prompt-only", "rag-only", "fine-tuned", "hybrid"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """Which language model is tuned and served."""

    base: str = Field("smollm2-135m-instruct", description="Hub id, local folder, or name of a packaged model.")


class PromptSection(Section):
    """What every setup is told, and what an answer must look like."""

    system: str = Field(
        "You answer questions about the documents of this domain. If you do not know, say so.",
        description="The system prompt that all four setups share: describe the house format in full.",
    )
    refusal: str = Field(
        "I do not know.", description="The answer to give, word for word, when the passages do not hold one."
    )
    format: str | None = Field(
        None,
        description="Regular expression that a whole answer in the house format matches; none: not scored.",
    )
    value: str | None = Field(
        None,
        description="Regular expression whose first group is the exact value in an answer; none: the whole answer.",
    )

    @field_validator("format", "value")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        import re

        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
        return pattern

    @field_validator("value")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        import re

        if pattern is not None and re.compile(pattern).groups < 1:
            raise ValueError("has no group: put parentheses around the exact value")
        return pattern


class GateSection(Section):
    """Golden questions that a new snapshot must still find the sources of before it goes live."""

    questions: Path | None = Field(
        None, description="JSONL of questions with `sources`; none: every snapshot goes live unasked."
    )
    k: int | None = Field(None, ge=1, le=100, description="Passages within which the sources must be; none: `top_k`.")
    max_lost: int = Field(0, ge=0, description="Questions that may lose a source which the live snapshot finds.")
    min_recall: Share = Field(
        0.0, description="Share of the questions that must find all sources, whatever the live snapshot finds."
    )


class FieldsSection(Section):
    """Which field of a JSONL object, or column of a CSV file, means what."""

    text: str = Field("text", description="The text; a row without it is skipped.")
    title: str = Field("title", description="The title; where a row has none, `path#ID`.")
    id: str = Field("id", description="Names the row in its file; where a row has none, its number.")
    labels: str = Field("labels", description="Who may see the row: a list, or names separated by `;` or `,`.")
    metadata: tuple[str, ...] = Field((), description="Fields to keep as metadata.")


class LimitsSection(Section):
    """What one file may cost; a file beyond any of these is named and skipped."""

    file_mb: float = Field(64, gt=0, description="Size of the file, in MiB.")
    pages: int = Field(5_000, ge=1, description="Pages of a PDF.")
    characters: int = Field(50_000_000, ge=1, description="Text extracted from the file.")
    depth: int = Field(1_000, ge=1, description="How deep the elements of an HTML file may be nested.")
    expanded_mb: float = Field(512, gt=0, description="Size of all parts of a zipped format (DOCX), unpacked, in MiB.")
    expansion_ratio: float = Field(
        200, gt=1, description="Unpacked over packed size of a zipped format, where that is more than 1 MiB."
    )
    seconds: float = Field(20, gt=0, description="Processor time of the reader of an HTML, PDF or DOCX file.")
    memory_mb: float = Field(2_048, ge=64, description="What that reader may allocate, in MiB.")


class EncoderTrainingSection(Section):
    """How `ragft index train-encoder` trains the encoder on the domain."""

    epochs: float = Field(1.0, gt=0, description="Passes over the questions, each with all of its negatives.")
    batch_size: int = Field(
        16, ge=2, description="Rows per step; each row's passages are negatives of all others in its batch."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate of AdamW; it falls linearly.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Share of the steps over which it rises.")
    negatives: int = Field(2, ge=1, le=20, description="Hard negatives per source of a question, one a row.")
    validation_share: Annotated[float, Field(gt=0, lt=0.9)] = Field(
        0.2, description="Share of the questions, by group, that old and new encoder are compared on."
    )


class IndexSection(Section):
    """Which documents are searched, and how."""

    # These decide how the index is kept, not which passages a question finds: a change makes no other work stale.
    # How files are read shows in the documents' hashes.
    UPKEEP: ClassVar[frozenset[str]] = frozenset(
        {
            "documents", "include", "exclude", "fields", "limits",
            "allow_removal", "gate", "keep_snapshots", "verify_on_open", "training", "cache_mib",
        }
    )  # fmt: skip

    documents: Path = Field(Path("documents"), description="Folder of the domain's documents.")
    include: tuple[str, ...] = Field(
        (), description="Patterns as in a .gitignore, of the files to read; none: every file of a known format."
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of files to pass over, beside those in `.ragftignore`.")
    fields: FieldsSection = FieldsSection()
    limits: LimitsSection = LimitsSection()
    duplicates: Literal["report", "collapse"] = Field(
        "report", description="report: passages that repeat others are counted; collapse: a search shows one of each."
    )
    encoder: str = Field("all-minilm-l6-v2", description="Hub id, local folder, or name of a packaged encoder.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the encoder; auto: bfloat16 where the processor has it."
    )
    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="What runs the encoder; auto: torch; openvino: a faster CPU path for BERT models, an extra."
    )
    device: str = Field("cpu", description="Where the encoder runs, in torch's words: cpu, cuda, cuda:1.")
    query_prefix: str = Field("", description="Put before every query; E5 and BGE encoders want one.")
    passage_prefix: str = Field("", description="Put before every passage; E5 encoders want one.")
    cache_mib: int = Field(
        512,
        ge=0,
        description="Most MiB of vectors kept from older snapshots and interrupted builds; 0: none.",
    )
    chunk_tokens: int | None = Field(
        None, ge=32, description="Longest chunk in encoder tokens; none: the encoder's window."
    )
    overlap: int = Field(0, ge=0, description="Tokens that neighbouring chunks of one section share.")
    kind: Literal["auto", "flat", "flat-fp16", "hnsw", "ivf"] = Field(
        "auto",
        description="How vectors are kept: flat and flat-fp16 are exact, hnsw and ivf approximate; "
        "auto: flat-fp16, and hnsw for segments of 200,000 passages or more.",
    )
    approximate_rows: int | None = Field(
        None, ge=1, description="Segments of fewer passages are exact; none: 200,000 for auto, 10,000 for hnsw and ivf."
    )
    recall: float = Field(
        0.98, gt=0, le=1, description="Share of the true ten nearest that an approximate segment must find."
    )
    mode: Literal["hybrid", "dense", "lexical"] = Field("hybrid", description="How passages are searched.")
    dense_weight: float = Field(1.0, ge=0, description="Weight of the dense ranking in the fusion.")
    lexical_weight: float = Field(1.0, ge=0, description="Weight of the lexical (BM25) ranking in the fusion.")
    bm25_k1: float = Field(0.9, ge=0, le=10, description="How much a repeated word adds in BM25: 0 for nothing.")
    bm25_b: Share = Field(0.4, description="How much BM25 holds long passages back: 0 for not at all.")
    top_k: int = Field(4, ge=1, le=100, description="Passages that a question is answered from.")
    allow_removal: Share = Field(
        0.5,
        description="Share of the indexed documents that may vanish in one refresh; moved ones do not count.",
    )
    gate: GateSection = GateSection()
    rrf_k: int = Field(60, ge=0, description="Constant of the fusion: the larger, the less the first ranks stand out.")
    depth: int = Field(50, ge=1, description="How far down each ranking is read for the fusion.")
    rerank: str | None = Field(
        None, description="Cross-encoder that orders the best passages anew, a hub id or local folder; none: no such."
    )
    rerank_depth: int = Field(20, ge=1, description="Passages that the cross-encoder reads for a question.")
    filter: dict[str, Any] | None = Field(
        None, description="Filter that every passage must pass, as in {year: {gte: 2024}}; none: all passages do."
    )

    @field_validator("filter")
    @classmethod
    def _understood(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            from index.filters import FilterError, parse_filter

            try:
                parse_filter(value)
            except FilterError as error:
                raise ValueError(f"cannot be understood: {error}") from None
        return value

    keep_snapshots: int = Field(
        10, ge=1, description="Newest snapshots that a refresh leaves; the live one and the one before it always stay."
    )
    verify_on_open: Literal["auto", "always"] = Field(
        "auto",
        description="What is compared with its checksum when the index is opened: all files below 256 MiB, or all.",
    )
    training: EncoderTrainingSection = EncoderTrainingSection()


class MixSection(Section):
    """How training examples are mixed with passages of the deployed index."""

    passages: int = Field(4, ge=1, description="Passages in a training prompt, as many as at serving time.")
    gold_share: Share = Field(0.85, description="Share of rows with passages whose passages hold the answer.")
    closed_book_share: Share = Field(
        0.1,
        description="Share of all rows without passages, so that the fine-tuned setup is not asked blindly.",
    )
    repeats: int = Field(1, ge=1, description="How often each example is mixed, each time with other passages.")
    general: Path | None = Field(
        None,
        description="JSONL of general instructions that are mixed in against forgetting; none: no such rows.",
    )
    general_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of all rows that come from `general`."
    )


class DataSection(Section):
    """The examples that teach style and format, and the questions that measure."""

    examples: Path = Field(Path("examples.jsonl"), description="Training examples, one JSON object a line.")
    questions: Path = Field(Path("questions.jsonl"), description="Evaluation questions, one JSON object a line.")
    documents: Path | None = Field(
        None,
        description="Folder of the documents that the examples were written from; none: what the index holds.",
    )
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="Share of the examples, by group, that validates."
    )
    mix: MixSection = MixSection()


class FinetuneSection(Section):
    """How the adapter is trained."""

    method: Literal["qlora", "lora"] = Field(
        "qlora", description="qlora: NF4 base, double-quantised; lora: 16-bit base."
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters.")
    alpha: float | None = Field(None, gt=0, description="Scale of the adapters; none: twice the rank.")
    epochs: float = Field(1.0, gt=0, description="Passes over the mixed training rows.")
    batch_size: int = Field(8, ge=1, description="Rows per optimiser step.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    warmup: Share = Field(0.05, description="Share of the steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="How the rate falls after warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay on the adapters.")
    clip: float = Field(1.0, gt=0, description="Largest norm of a step's gradient.")
    max_length: int = Field(1024, ge=32, description="Longest row in tokens; longer ones are counted out, never cut.")
    token_budget: int = Field(2048, ge=128, description="Tokens per micro-batch; a shared prefix counts once.")
    evaluations: int = Field(4, ge=1, description="Validation losses per run, evenly spaced, one at the end.")
    patience: int = Field(2, ge=1, description="Validations without a better loss before training stops early.")
    threads: int | None = Field(None, ge=1, description="CPU threads; none: as many as torch would take.")


class MergeSection(Section):
    """How the adapter becomes a model, and what proves it."""

    onto: Literal["trained", "original"] = Field(
        "trained",
        description="trained: the (dequantised) weights that the adapter saw; original: the 16-bit base.",
    )
    prompts: int = Field(50, ge=1, description="Held-out prompts of the proof.")
    max_divergence: float = Field(
        0.02,
        gt=0,
        description="Largest mean KL divergence (nats per token) of the merged from the live model.",
    )
    max_form_loss: Share = Field(0.02, description="Largest loss of format validity, as a share of the prompts.")


class EngineSection(Section):
    """How text is generated."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("bfloat16", description="Number format in vLLM.")
    max_length: int = Field(2048, ge=64, description="Longest prompt plus answer in tokens.")
    max_tokens: int = Field(96, ge=1, description="Longest answer in tokens, unless a request says otherwise.")
    max_sequences: int = Field(32, ge=1, description="Requests that are generated together.")
    kv_cache_mib: int = Field(512, ge=32, description="Memory for the attention cache on a CPU, in MiB.")
    eager: bool = Field(True, description="Skip torch.compile: starts a minute sooner, answers a little slower.")


class EvaluateSection(Section):
    """What is compared, and how surely."""

    setups: tuple[SetupName, ...] = Field(tuple(SETUPS), description="Setups to compare.")  # type: ignore[arg-type]
    limit: int | None = Field(None, ge=1, description="Seeded subset of so many questions; none: all of them.")
    resamples: int = Field(10_000, ge=200, description="Bootstrap resamples and permutations.")
    max_failed: Share = Field(0.01, description="Largest share of records that may fail before the run is refused.")
    labels: tuple[str, ...] | None = Field(
        None, description="Access labels of the caller that the evaluation stands for; none: all of them."
    )


class ServeSection(Section):
    """The endpoint."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback an API key is needed.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    setups: tuple[SetupName, ...] = Field(("hybrid", "fine-tuned"), description="Setups to deploy, the default first.")
    keys: Path | None = Field(
        None,
        description="File of API keys as `scope[,scope] sha256-hex [labels=label[,label]]` lines; RAGFT_API_KEY works "
        "without one.",
    )
    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    body_timeout: float = Field(10.0, gt=0, description="Seconds within which a request's body must have arrived.")
    drain_seconds: float = Field(20.0, ge=0, description="Seconds that running answers get after SIGTERM.")
    max_queued: int = Field(64, ge=1, description="Requests that may wait before new ones are answered with 503.")


class Config(Section):
    """One application: a domain, its model, its index, its data and its endpoint."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the domain: lower case, digits, - _ .")
    workspace: Path | None = Field(None, description="Folder of all outputs; none: workspace/NAME where ragft runs.")
    seed: int = Field(0, ge=0, description="Seed of every split, mix, initialisation and resample.")
    model: ModelSection = ModelSection()
    prompt: PromptSection = PromptSection()
    index: IndexSection = IndexSection()
    data: DataSection = DataSection()
    finetune: FinetuneSection = FinetuneSection()
    merge: MergeSection = MergeSection()
    engine: EngineSection = EngineSection()
    evaluate: EvaluateSection = EvaluateSection()
    serve: ServeSection = ServeSection()

    @model_validator(mode="after")
    def _shares_fit(self) -> Config:
        mix = self.data.mix
        if mix.general_share > 0 and mix.general is None:
            raise ValueError("data.mix.general_share is above 0 but data.mix.general names no file")
        if mix.closed_book_share + mix.general_share > 1:
            raise ValueError("data.mix.closed_book_share and general_share add up to more than 1")
        return self


_PATH_KEYS = (
    ("workspace",),
    ("index", "documents"),
    ("index", "gate", "questions"),
    ("data", "examples"),
    ("data", "questions"),
    ("data", "documents"),
    ("data", "mix", "general"),
    ("serve", "keys"),
)


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Reads a configuration file; `--set` overrides win over `RAGFT__SECTION__KEY` variables, which win over the file.

    Args:
        path: a YAML file.
        overrides: `section.key=value` strings; values are read as YAML.

    Raises:
        UsageError: the file is missing or no YAML mapping, a key is unknown (the nearest known one is suggested), or
            a value does not fit.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no configuration {str(path)!r}: name one with -c FILE, or make one with `ragft new NAME`."
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} does not hold `key: value` lines; `ragft new NAME` makes one to start from.")
    _resolve_paths(values, path.resolve().parent)
    # Overrides are given by the person who types them, so their paths are relative to where that person stands.
    for key, value in _environment_overrides():
        _assign(values, key, value, f"environment variable {'RAGFT__' + '__'.join(key).upper()}")
    for text in overrides or []:
        key_text, equals, value_text = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} has no '=': write --set section.key=value.")
        _assign(values, tuple(key_text.strip().split(".")), _scalar(value_text), f"--set {text}")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explain(error)}") from None
    if config.workspace is None:
        config = config.model_copy(update={"workspace": Path("workspace") / config.name})
    return config


def workspace_of(config: Config) -> Path:
    """The folder that holds all outputs of this configuration."""
    return config.workspace if config.workspace is not None else Path("workspace") / config.name


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    """Makes the paths of a file, and those that it leaves to their defaults, relative to the file, in place."""
    for keys in _PATH_KEYS:
        section: Any = values
        model: Any = Config
        for key in keys[:-1]:
            section = section.setdefault(key, {}) if isinstance(section, dict) else None
            model = model.model_fields[key].annotation
        if isinstance(section, dict):
            path = section.get(keys[-1], model.model_fields[keys[-1]].default)
            if isinstance(path, str | Path):
                section[keys[-1]] = str(folder / path)
    for section_name, key in (("model", "base"), ("index", "encoder"), ("index", "rerank")):
        section = values.get(section_name)
        # A model may be a hub id or a packaged name: only what is marked as a path is one.
        if isinstance(section, dict) and str(section.get(key, "")).startswith(("./", "../")):
            section[key] = str(folder / section[key])


def _environment_overrides() -> list[tuple[tuple[str, ...], Any]]:
    prefix = "RAGFT__"
    return [
        (tuple(name[len(prefix) :].lower().split("__")), _scalar(value))
        for name, value in sorted(os.environ.items())
        if name.startswith(prefix)
    ]


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assign(values: dict[str, Any], keys: tuple[str, ...], value: Any, source: str) -> None:
    section = values
    for key in keys[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise UsageError(f"{source}: {key!r} is not a section.")
    section[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """All faults of a configuration in one sentence each."""
    sentences = []
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        where = ".".join(location) or "the file"
        if fault["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}."
            sentences.append(f"unknown key {where!r}: {hint}")
        elif fault["type"] == "missing":
            sentences.append(f"key {where!r} is missing.")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
            sentences.append(f"{where}: {message}{given}.")
    return " ".join(sentences)


def _known_keys(path: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in path:
        annotation = section.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return sorted(section.model_fields)
