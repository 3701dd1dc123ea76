"""Sections on the index: documents, encoder, search, golden questions, and the encoder's own training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ragft.config.section import Section, Share


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

    epochs: float = Field(1.0, gt=0, description="Passes over the rows, one for each source of a question.")
    batch_size: int = Field(
        16, ge=2, description="Rows per step; each row's passages are negatives of all others in its batch."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate of AdamW; it falls linearly.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Share of the steps over which it rises.")
    negatives: int = Field(2, ge=1, le=20, description="Hard negatives in each row.")
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
            from index.store.filters import FilterError, parse_filter

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
