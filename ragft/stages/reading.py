"""Reads files as the index would, without an index: what a document says, how it is cut, and what was skipped."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.errors import UsageError
from ragft.stages.application import Application
from ragft.stages.recognition import recognising

if TYPE_CHECKING:
    from index.documents.chunking import Chunk, Chunker
    from index.documents.document import Document, Skipped


@dataclass(frozen=True)
class Passage:
    """A chunk, and its size in tokens of the encoder (special ones included) and of the model (None without it)."""

    chunk: Chunk
    encoder_tokens: int
    model_tokens: int | None


@dataclass(frozen=True)
class ReadDocument:
    """A document and its passages, in the text's order."""

    document: Document
    passages: list[Passage]

    def to_json(self) -> dict[str, Any]:
        document = asdict(self.document)
        chunks = [
            {
                "id": passage.chunk.id, "heading_path": passage.chunk.heading_path, "start": passage.chunk.start,
                "end": passage.chunk.end, "page": passage.chunk.page, "passage": passage.chunk.passage,
                "encoder_tokens": passage.encoder_tokens, "model_tokens": passage.model_tokens,
            }
            for passage in self.passages
        ]  # fmt: skip
        return {**{key: document[key] for key in ("id", "title", "labels", "metadata", "text")}, "chunks": chunks}


@dataclass(frozen=True)
class Reading:
    """What was read from some files, and what was skipped."""

    documents: list[ReadDocument]
    skipped: list[Skipped]

    def to_json(self) -> dict[str, Any]:
        return {
            "documents": [document.to_json() for document in self.documents],
            "skipped": [asdict(item) for item in self.skipped],
        }


def read(app: Application, paths: Sequence[Path]) -> Reading:
    """Reads files and folders with the configuration.

    A path inside `index.documents.folder` is read as a document of that folder: with its id, its patterns and its side
    files. Of another one, the folder named, or that of the file, takes its place.

    Raises:
        UsageError: a path does not exist.
    """
    from index.documents.chunking import Chunker
    from index.documents.folder import read_files

    for path in paths:
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"{path} does not exist; name files or folders of documents.")
    section = app.config.index.documents
    settings = section.settings()
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for folder, names in _by_folder(paths, section.folder).items():
        with recognising(app.index_root, settings, app.reporter) as scans:
            found = read_files(folder, names, settings, scans=scans)
        documents += found.documents
        skipped += found.skipped
    index = app.config.index.refresh_settings(app.config.seed, model=app.model_tokenizer)
    chunker = Chunker(app.encoder.tokenizer, index.chunking(app.encoder), index.model)
    return Reading([ReadDocument(document, _passages(chunker, document)) for document in documents], skipped)


def _by_folder(paths: Sequence[Path], configured: Path) -> dict[Path, list[str]]:
    """The names below each folder that is to be read."""
    found: dict[Path, list[str]] = defaultdict(list)
    for path in paths:
        name = name_below(path, configured)
        if name is not None:
            found[configured].append(name)
        elif path.is_dir():
            found[path].append("")
        else:
            found[path.parent].append(path.name)
    return found


def name_below(path: Path, folder: Path) -> str | None:
    """What a file or folder is called among documents: its path below their folder; empty for the folder itself, None
    for what is not in it."""
    place, root = (Path(os.path.abspath(item)) for item in (path, folder))  # noqa: PTH100, `resolve` would follow a link
    if not place.is_relative_to(root):
        return None
    name = place.relative_to(root).as_posix()
    return "" if name == "." else name


def _passages(chunker: Chunker, document: Document) -> list[Passage]:
    from index.documents.lengths import EncoderTokens, ModelTokens

    chunks, limit = chunker.cut(document).chunks, chunker.settings.max_tokens
    texts = [chunk.passage for chunk in chunks]
    encoder = EncoderTokens(chunker.tokenizer, limit).count(texts)
    model = ModelTokens(chunker.model, limit).count(texts) if chunker.model else [None] * len(texts)
    return [Passage(*sizes) for sizes in zip(chunks, encoder, model, strict=True)]
