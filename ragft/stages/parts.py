"""What a configuration names and several stages use: base model, encoder, reranker, tokenizer; loaded on demand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.config import Config, workspace_of
from ragft.console import Reporter
from ragft.models import load_encoder, resolve_encoder, resolve_model, resolve_reranker

if TYPE_CHECKING:
    from index.encoders.encoder import Encoder
    from index.encoders.reranker import Reranker


class Parts:
    """The parts that one configuration names."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        self.workspace = workspace_of(config)

    @cached_property
    def base(self) -> Path:
        """Folder of the base model."""
        return resolve_model(self.config.model.base, self.reporter.say)

    @cached_property
    def encoder(self) -> Encoder:
        """The index's encoder, loaded."""
        return self.load_encoder(self.encoder_folder)

    @cached_property
    def encoder_folder(self) -> Path:
        """Folder of the index's encoder."""
        return resolve_encoder(self.config.index.encoder, self.reporter.say)

    def load_encoder(self, folder: Path) -> Encoder:
        """Any encoder, as this configuration runs it."""
        encoder = load_encoder(self.config.index.model_copy(update={"encoder": str(folder)}), self.reporter.say)
        if encoder.note:
            self.reporter.say(encoder.note)
        return encoder

    @cached_property
    def reranker(self) -> Reranker | None:
        """The index's cross-encoder, loaded; None where the configuration names none."""
        name = self.config.index.rerank
        if name is None:
            return None
        from index.encoders.reranker import CrossEncoderReranker

        return CrossEncoderReranker(resolve_reranker(name, self.reporter.say), dtype=self.encoder.dtype)

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.base, local_files_only=True)
