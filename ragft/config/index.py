"""`index`: which documents are indexed, how they are cut, encoded and searched, and how the index is kept."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from ragft.config.section import FilePath, ModelName, Section, Share

if TYPE_CHECKING:
    from index.documents.formats.settings import Fields, ReadSettings
    from index.documents.lengths import ModelTokenizer
    from index.refresh.refresh import RefreshSettings
    from index.search.settings import SearchSettings
    from index.store.kinds import VectorSettings


class FieldMapSection(Section):
    """Which column of a table, or field of a JSONL object, holds what."""

    text: str = Field(
        "text",
        description="The text. Rows without it are skipped; a file without it is served as `column: value` lines. "
        "Here and below, a nested field of JSONL is named by its path: `meta.title`.",
    )
    title: str = Field("title", description="The title. Rows without it are titled `path#ID`, or as their table.")
    id: str = Field("id", description="Identifies the row within its file. Rows without it are numbered.")
    labels: str = Field("labels", description="Who may see the row: a list, or names separated by `;` or `,`.")
    metadata: tuple[str, ...] | None = Field(
        None, description="Fields to keep as metadata. Unset: all others whose value has at most 256 characters."
    )

    def fields(self) -> Fields:
        """This map as the index takes it."""
        from index.documents.formats.settings import Fields

        return Fields(self.text, self.title, self.id, self.labels, self.metadata)


class FileFieldsSection(FieldMapSection):
    """The same for the files that match a pattern."""

    files: str = Field(description="Pattern, as in a .gitignore, of the files.")

    @field_validator("files")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        from index.documents.formats.settings import Fields, FileFields

        try:
            FileFields(value, Fields()).applies_to("a.csv")
        except ValueError as error:
            raise ValueError(f"is not a pattern as in a .gitignore: {error}") from None
        return value


class FieldsSection(FieldMapSection):
    """Which column of a table (CSV, TSV, XLSX), or field of a JSONL object, holds what."""

    by_file: tuple[FileFieldsSection, ...] = Field(
        (),
        description="Other maps for certain files, each with `files`, a pattern as in a .gitignore; the first that "
        "matches a file applies to it as a whole. `fields` may also be just this list.",
    )


class LimitsSection(Section):
    """How much one file may cost. A file beyond any of these limits is named and skipped."""

    file_mb: float = Field(64, gt=0, description="Largest file, in MiB.")
    pages: int = Field(5_000, ge=1, description="Most pages of a PDF.")
    characters: int = Field(50_000_000, ge=1, description="Most characters extracted from a file.")
    depth: int = Field(1_000, ge=1, description="Deepest nesting of elements in an HTML file.")
    expanded_mb: float = Field(
        512, gt=0, description="Largest unpacked size of an archive (DOCX, PPTX, XLSX, EPUB), in MiB."
    )
    expansion_ratio: float = Field(
        200, gt=1, description="Largest ratio of unpacked to packed size of an archive, above 1 MiB unpacked."
    )
    seconds: float = Field(
        20,
        gt=0,
        description="Most processor time for reading a file of a rich format: all but text, Markdown, CSV and JSONL.",
    )
    memory_mb: float = Field(2_048, ge=64, description="Most memory that reading such a file may allocate, in MiB.")


class OcrSection(Section):
    """Character recognition of the scanned pages of PDFs: those that show something, but have no legible text."""

    enabled: bool = Field(
        False,
        description="Read them. It takes seconds a page, and needs the extra `ocr` and the program tesseract.",
    )
    languages: tuple[str, ...] = Field(
        ("eng",), min_length=1, description="Languages of the text, by tesseract's names: eng, deu, chi_sim."
    )
    min_confidence: Share = Field(
        0.6, description="Mean confidence of its words below which a page is named and left out."
    )
    seconds_per_page: float = Field(
        120, gt=0, description="Longest time for a page; one that takes longer is named and left out."
    )

    @field_validator("languages")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"\w+(/\w+)*", name):
                raise ValueError(f"{name!r} is not one of tesseract's names of languages, such as eng")
        return value


class DocumentsSection(Section):
    """Which documents are indexed, and how their files are read."""

    folder: FilePath = Field(Path("documents"), description="Folder of the domain's documents.")
    include: tuple[str, ...] = Field(
        (), description="Patterns, as in a .gitignore, of files to read. Empty: every file of a supported format."
    )
    exclude: tuple[str, ...] = Field((), description="Patterns of files to ignore, in addition to `.ragftignore`.")
    fields: FieldsSection = FieldsSection()
    limits: LimitsSection = LimitsSection()
    ocr: OcrSection = OcrSection()
    default_labels: tuple[str, ...] = Field(
        (), description="Access labels of documents that name none themselves. Empty: everybody may see those."
    )
    require_labels: bool = Field(
        False, description="Leave out every document without access labels, instead of opening it to everybody."
    )

    @field_validator("default_labels")
    @classmethod
    def _are_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from index.documents.formats.labels import labels_of
        from index.documents.formats.settings import Unreadable

        try:
            return labels_of(list(value), "the key")
        except Unreadable as error:
            raise ValueError(str(error)) from None

    @field_validator("fields", mode="before")
    @classmethod
    def _may_be_a_list_of_maps(cls, value: object) -> object:
        return {"by_file": value} if isinstance(value, list) else value

    def settings(self) -> ReadSettings:
        """These settings as the index takes them, sizes in bytes."""
        from index.documents.formats.settings import FileFields, Limits, OcrSettings, ReadSettings

        limits, counts = self.limits, self.limits.model_dump(exclude={"file_mb", "expanded_mb", "memory_mb"})
        mib = {"file_bytes": limits.file_mb, "expanded_bytes": limits.expanded_mb, "memory_bytes": limits.memory_mb}
        sizes = {name: int(size * 2**20) for name, size in mib.items()}
        by_file = tuple(FileFields(item.files, item.fields()) for item in self.fields.by_file)
        return ReadSettings(
            self.include, self.exclude, self.fields.fields(), Limits(**counts, **sizes), by_file, self.default_labels,
            self.require_labels, OcrSettings(**self.ocr.model_dump()),
        )  # fmt: skip


class ChunkingSection(Section):
    """How documents are cut into passages."""

    max_tokens: int | None = Field(
        None, ge=32, description="Longest passage in encoder tokens. Unset: as many as the encoder reads."
    )
    overlap: int = Field(0, ge=0, description="Tokens that consecutive passages of a section share.")
    max_characters: int | None = Field(
        None, ge=32, description="Longest passage in characters. Unset: 16 for each of max_tokens; words take about 5."
    )
    max_model_tokens: int | None = Field(
        None, ge=32, description="Longest passage in tokens of model.base, which reads it. Unset: twice max_tokens."
    )


class EncoderTrainingSection(Section):
    """How `ragft index train-encoder` trains the encoder on the domain."""

    epochs: float = Field(
        1.0, gt=0, description="Passes over the rows; there is one row for each source of a question."
    )
    batch_size: int = Field(
        16, ge=2, description="Rows per step. The passages of the other rows in a batch serve as negatives."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate of AdamW; it decays linearly.")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Share of the steps that warm up.")
    negatives: int = Field(2, ge=1, le=20, description="Hard negatives in each row.")
    validation_share: Annotated[float, Field(gt=0, lt=0.9)] = Field(
        0.2, description="Share of the questions, by group, on which the old and the new encoder are compared."
    )


class EncoderSection(Section):
    """The model that turns passages and questions into vectors."""

    model: ModelName = Field("all-minilm-l6-v2", description="Hub id, local folder, or name of a packaged encoder.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format. auto: bfloat16 where the processor multiplies it in hardware, else float32."
    )
    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="What runs the encoder. auto: torch; openvino: faster for BERT models on CPUs, an extra."
    )
    device: str = Field("cpu", description="Device that runs the encoder: cpu, cuda, cuda:1.")
    query_prefix: str = Field("", description="Put before every query; E5 and BGE encoders need one.")
    passage_prefix: str = Field("", description="Put before every passage; E5 encoders need one.")
    training: EncoderTrainingSection = EncoderTrainingSection()


class VectorsSection(Section):
    """How vectors are stored and searched."""

    kind: Literal["auto", "flat", "flat-fp16", "hnsw", "ivf"] = Field(
        "auto",
        description="FAISS index of each segment. flat and flat-fp16 are exact, hnsw and ivf approximate; auto: "
        "flat-fp16, and hnsw for segments of 200,000 passages or more.",
    )
    min_rows_for_ann: int | None = Field(
        None,
        ge=1,
        description="Segments with fewer passages are searched exactly. Unset: 200,000 for auto, 10,000 for hnsw and "
        "ivf.",
    )
    target_recall: float = Field(
        0.98, gt=0, le=1, description="Recall@10 that the search of an approximate segment is tuned to."
    )

    def settings(self, seed: int) -> VectorSettings:
        """These settings as the index takes them."""
        from index.store.kinds import VectorSettings

        return VectorSettings(self.kind, self.min_rows_for_ann, self.target_recall, seed)


Language = Literal[
    "auto", "none", "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "english", "esperanto",
    "estonian", "finnish", "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian",
    "lithuanian", "nepali", "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "serbian", "sesotho",
    "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip


class SearchSection(Section):
    """How passages are searched: for a question of a user, of the evaluation, and of a training example alike."""

    mode: Literal["hybrid", "dense", "lexical"] = Field(
        "hybrid", description="dense: by vectors; lexical: by BM25; hybrid: both, fused by reciprocal rank."
    )
    top_k: int = Field(4, ge=1, le=100, description="Passages that a question is answered from.")
    candidates: int = Field(50, ge=1, description="Passages of each ranking that are fused.")
    dense_weight: float = Field(1.0, ge=0, description="Weight of the dense ranking in the fusion.")
    lexical_weight: float = Field(1.0, ge=0, description="Weight of the lexical ranking in the fusion.")
    rrf_k: int = Field(
        60, ge=0, description="Constant of reciprocal rank fusion; larger values flatten the advantage of top ranks."
    )
    bm25_k1: float = Field(0.9, ge=0, le=10, description="BM25's term saturation; 0 ignores how often a term occurs.")
    bm25_b: Share = Field(0.4, description="BM25's length normalisation; 0 ignores the length of a passage.")
    reranker: ModelName | None = Field(
        None, description="Cross-encoder that reranks the top passages, a hub id or local folder. Unset: no reranking."
    )
    rerank_candidates: int = Field(20, ge=1, description="Passages that the cross-encoder reads for a question.")
    filter: dict[str, Any] | None = Field(
        None, description="Filter that every passage must pass, such as {year: {gte: 2024}}. Unset: none."
    )
    expand: Literal["none", "neighbours", "section"] = Field(
        "none",
        description="What a prompt shows around a passage, as far as it has room: neighbours: the passages before and "
        "after; section: those under the same headings. Passages that touch are joined.",
    )
    duplicates: Literal["report", "collapse"] = Field(
        "report", description="report: counts passages that repeat others; collapse: returns only one of each."
    )
    language: Language = Field(
        "auto",
        description="Language whose word forms BM25 treats as one word (releases, released), by its name in Snowball. "
        "auto: told for each document; none: words are compared as they are. A refresh writes BM25's part anew.",
    )

    @field_validator("filter")
    @classmethod
    def _is_understood(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        from index.store.filters import FilterError, parse_filter

        written = _dates_as_text(value)
        try:
            parse_filter(written)
        except FilterError as error:
            raise ValueError(f"cannot be understood: {error}") from None
        return dict(written)

    def settings(self) -> SearchSettings:
        """These settings as the index takes them."""
        from index.search.settings import SearchSettings
        from index.store.filters import parse_filter

        return SearchSettings(
            k=self.top_k, mode=self.mode, candidates=self.candidates, weights=(self.dense_weight, self.lexical_weight),
            rrf_k=self.rrf_k, bm25=(self.bm25_k1, self.bm25_b), rerank_candidates=self.rerank_candidates,
            collapse=self.duplicates == "collapse", filter=None if self.filter is None else parse_filter(self.filter),
            expand=self.expand,
        )  # fmt: skip


def _dates_as_text(value: Any) -> Any:
    """A value of YAML with its dates as filters compare them: `{date: {gte: 2024-05-01}}` needs no quotes."""
    if isinstance(value, dict):
        return {key: _dates_as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


class GateSection(Section):
    """Golden questions whose sources a new snapshot must still find before it goes live."""

    questions: FilePath | None = Field(
        None, description="JSONL of questions with `sources`. Unset: every snapshot goes live unchecked."
    )
    k: int | None = Field(None, ge=1, le=100, description="Passages among which the sources must be. Unset: top_k.")
    max_lost: int = Field(0, ge=0, description="Questions that may lose a source which the live snapshot finds.")
    min_recall: Share = Field(
        0.0, description="Share of the questions that must find all sources, whatever the live snapshot finds."
    )


class RefreshSection(Section):
    """How the index is kept up to date."""

    allow_removal: Share = Field(
        0.5, description="Share of the indexed documents that may vanish in one refresh; moved ones do not count."
    )
    gate: GateSection = GateSection()
    keep_snapshots: int = Field(
        10, ge=1, description="Newest snapshots that a refresh keeps, besides the live one and the one before it."
    )
    cache_mib: int = Field(
        512, ge=0, description="Most MiB of vectors kept from older snapshots and interrupted builds. 0: none."
    )
    verify_on_open: Literal["auto", "always"] = Field(
        "auto", description="Files whose checksums are verified when the index is opened: those below 256 MiB, or all."
    )


class IndexSection(Section):
    """The index of the domain's documents."""

    documents: DocumentsSection = DocumentsSection()
    chunking: ChunkingSection = ChunkingSection()
    encoder: EncoderSection = EncoderSection()
    vectors: VectorsSection = VectorsSection()
    search: SearchSection = SearchSection()
    refresh: RefreshSection = RefreshSection()

    def refresh_settings(
        self, seed: int, *, allow_removal: float | None = None, model: ModelTokenizer | None = None
    ) -> RefreshSettings:
        """What an index is to be like, whoever refreshes it.

        Args:
            seed: of everything random in the vectors' index.
            allow_removal: share of the documents that may vanish, instead of the configured one.
            model: the tokenizer of the model that reads the passages; None: its tokens are not counted.
        """
        from index.refresh.refresh import RefreshSettings

        return RefreshSettings(
            **self.chunking.model_dump(), model=model, reading=self.documents.settings(),
            vectors=self.vectors.settings(seed), cache_mib=self.refresh.cache_mib,
            allow_removal=self.refresh.allow_removal if allow_removal is None else allow_removal,
            keep_snapshots=self.refresh.keep_snapshots, language=self.search.language,
        )  # fmt: skip
