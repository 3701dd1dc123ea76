"""Stages of the data: examples parted, mixed with passages, and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.durable import write_file
from ragft.artifacts import Artifact, build, hash_file
from ragft.config import IndexSection
from ragft.data.examples import Example, read_examples
from ragft.data.jsonl import read_objects, to_lines
from ragft.data.split import split
from ragft.errors import UsageError
from ragft.prompts import Rendered, render_training
from ragft.stages.index import IndexStages

if TYPE_CHECKING:
    from ragft.data.mix import Row

# Distractors are mined this many times deeper than a prompt is long, so that gold passages leave enough of them.
MINING_DEPTH = 4


class DataStages(IndexStages):
    """The stages that end with training rows."""

    def split(self) -> Artifact:
        """Training and validation examples."""
        config = self.config
        inputs = {
            "examples": _hash_input(config.data.examples, "data.examples"),
            "validation_share": config.data.validation_share,
            "seed": config.seed,
        }

        def work(folder: Path) -> dict[str, Any]:
            examples = read_examples(config.data.examples)
            parts = split(examples, config.data.validation_share, config.seed)
            for name, part in zip(("train", "validation"), parts, strict=True):
                write_file(folder / f"{name}.jsonl", to_lines(example.to_json() for example in part))
            return {"train": len(parts[0]), "validation": len(parts[1])}

        return build(self.workspace / "data", "split", inputs, work)[0]

    def mix(self) -> Artifact:
        """Training and validation rows with passages.

        New documents alone make no new mix: the passages of a training row are a sample of what retrieval looks like,
        the facts are the index's business. That is what lets an index be refreshed without retraining.
        """
        config, parts = self.config, self.split()
        mixing = config.data.mix
        inputs = {
            "split": parts.fingerprint,
            "mix": mixing.model_dump(mode="json", exclude={"general"}),
            "general": _hash_input(mixing.general, "data.mix.general") if mixing.general else None,
            "documents": _hash_documents(config.data.documents, config.index) if config.data.documents else None,
            "search": config.index.model_dump(mode="json", exclude={"top_k", *IndexSection.UPKEEP}),
            "prompt": [config.prompt.system, config.prompt.refusal],
            "seed": config.seed,
        }

        def work(folder: Path) -> dict[str, Any]:
            from ragft.data.mix import mix
            from ragft.pipeline import Retriever

            snapshot = self.training_snapshot()
            retriever = Retriever(snapshot, self.encoder, config, self.reranker)

            def search(questions: Sequence[str]) -> list[Any]:
                return [found.hits for found in retriever.search(questions, MINING_DEPTH * mixing.passages)]

            figures: dict[str, Any] = {"snapshot": snapshot.id}
            general = self._general()
            # Repeats are practice; a validation loss gains nothing from them.
            for name, settings in (("train", mixing), ("validation", mixing.model_copy(update={"repeats": 1}))):
                examples = [Example.from_json(row) for _, row in read_objects(parts.folder / f"{name}.jsonl", name, "")]
                rows = mix(
                    examples, general[name], snapshot, search, settings,
                    system=config.prompt.system, refusal=config.prompt.refusal, seed=config.seed,
                )  # fmt: skip
                write_file(folder / f"{name}.jsonl", to_lines(row.to_json() for row in rows))
                kinds = [row.kind for row in rows]
                figures[name] = {
                    "rows": len(rows),
                    **{kind: kinds.count(kind) for kind in sorted(set(kinds))},
                }
            return figures

        return build(self.workspace / "data", "mix", inputs, work, {"split": parts.fingerprint})[0]

    def _general(self) -> dict[str, tuple[Example, ...]]:
        """General instructions by part: parted as the examples are, so that none that validates is trained."""
        path, share = self.config.data.mix.general, self.config.data.mix.general_share
        if path is None or share == 0:
            return {"train": (), "validation": ()}
        general = read_examples(path, "data.mix.general")
        train, validation = split(general, self.config.data.validation_share, self.config.seed)
        return {"train": train, "validation": validation}

    def rows(self, part: str) -> list[Row]:
        """The mixed rows of a part: `train` or `validation`."""
        from ragft.data.mix import Row

        path = self.mix().folder / f"{part}.jsonl"
        return [Row.from_json(values) for _, values in read_objects(path, "rows", "")]

    def rendered(self, part: str) -> list[Rendered]:
        """The rows of a part as token ids."""
        return [render_training(self.tokenizer, row.messages) for row in self.rows(part)]


def _hash_input(path: Path, key: str) -> str:
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r}: set {key} to one.")
    return hash_file(path)


def _hash_documents(folder: Path, section: IndexSection) -> list[tuple[str, str]]:
    """Ids and content hashes of the documents in a folder."""
    from index.documents.folder import read_documents
    from ragft.indexing import read_settings

    return [(document.id, document.hash) for document in read_documents(folder, read_settings(section))[0]]
