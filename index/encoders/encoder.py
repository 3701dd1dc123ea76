"""Turns texts into vectors with a sentence-transformers model.

Knows one model and how to run it fast; nothing of documents or indexes. Whatever changes the vectors changes the
encoder's fingerprint, so that vectors of two encoders are never compared.

BERT models run through `index.encoders.bert` on a CPU, or through OpenVINO on request, once loading has proven that
this gives the vectors of sentence-transformers. All others run through sentence-transformers itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.encoders.batching import TOKENS_PER_BATCH, batches_of_equal_cost
from index.encoders.loading import file_hashes, from_hub, load
from index.encoders.parallel import OneThreadWorkers
from index.encoders.precision import native_format
from index.encoders.sentence_transformer import SentenceTransformerForward
from index.errors import IndexFault

if TYPE_CHECKING:
    from index.encoders.bert import Ids

    _Forward = Callable[[Sequence[str], Sequence[Ids]], "Vectors"]
    """From a batch of texts and their token ids to pooled vectors, (n, hidden) float32."""

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number in all."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
BACKENDS = ("auto", "torch", "openvino")

_TEXTS_PER_TOKENIZATION = 1024
"""The tokenizer's own results are hundreds of times larger than the ids that are kept of them."""

_PROOF_TEXTS = (
    "Café.",
    "Which release was the LAST one to be supported?",
    " ".join(f"{number}. The desk answers in writing, within {number} days; see § {number}." for number in range(6)),
)
_PROOF_TEXT_TO_CUT = "more words than any window holds "
# Measured on all-MiniLM-L6-v2: at least 0.99994 in bfloat16. Deeper models lose a little more; a wrong forward pass
# falls far below.
_PROOF_COSINE = {"float32": 0.99999, "bfloat16": 0.999}

_WITHOUT_EFFECT = frozenset({"config_sentence_transformers.json", "data_config.json", "README.txt", "LICENSE.txt"})


class TextEncoder(Protocol):
    """What the index needs from an encoder."""

    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def tokenizer(self) -> Any: ...
    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors: ...
    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...


class Encoder:
    """A sentence-transformers model, ready to encode; safe to call from several threads.

    Attributes:
        engine: what computes the vectors: `bert` (see `index.encoders.bert`), `openvino` or `sentence-transformers`.
        note: one sentence on why a CPU runs the model through sentence-transformers; else empty.
        fingerprint: blake3 over everything that affects the vectors by more than rounding.
    """

    def __init__(
        self,
        source: str | Path,
        device: str = "cpu",
        dtype: str = "auto",
        query_prefix: str = "",
        passage_prefix: str = "",
        backend: str = "auto",
        cache: Path | None = None,
    ) -> None:
        """Load the model.

        Args:
            source: a folder, or a model id of the Hugging Face hub; a folder needs no network.
            device: torch device that runs the model.
            dtype: one of `DTYPES`; `auto` is bfloat16 where the processor multiplies it in hardware, else float32.
            query_prefix: put before every query (E5 and BGE models need one).
            passage_prefix: put before every passage.
            backend: `torch`, `openvino` (BERT models on a CPU), or `auto`, which is torch.
            cache: folder where exported OpenVINO graphs are kept.

        Raises:
            IndexFault: the source is missing or not a sentence-transformers model in safetensors, or the
                options cannot be combined.
        """
        import torch

        _check_options(device, dtype, backend)
        self.source = str(source)
        self.device = device
        self.dtype = native_format(device) if dtype == "auto" else dtype
        self.backend = "torch" if backend == "auto" else backend
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        folder = _folder_of(self.source)
        # A faster forward pass takes its weights from a model in float32, and is proven against it.
        faster = device == "cpu" and self.dtype in _PROOF_COSINE
        model = _load(folder, device, "float32" if faster else self.dtype)
        # A fast tokenizer refuses to be switched between truncating and not while another thread uses it: one copy
        # for those who count tokens, one that always truncates, and the model keeps its own.
        self.tokenizer = copy.deepcopy(model.tokenizer)
        self._truncating_tokenizer = copy.deepcopy(model.tokenizer)
        self._window = int(model.max_seq_length or self.tokenizer.model_max_length)
        self.dimension = int(model.get_embedding_dimension())
        self.fingerprint = self._fingerprint(folder)
        chosen = self._proven_forward(model, folder, cache) if faster else self._library_forward(model)
        self.engine, self.note, self._forward = chosen
        self._workers = OneThreadWorkers(torch.get_num_threads() if device == "cpu" else 0)

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest passage that is read whole, special ones included, the passage prefix deducted."""
        if not self.passage_prefix:
            return self._window
        return self._window - len(self.tokenizer(self.passage_prefix, add_special_tokens=False)["input_ids"])

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Vectors of passages: (n, dimension) float32, rows of unit length."""
        return self._encode([self.passage_prefix + text for text in texts], progress)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries: (n, dimension) float32, rows of unit length."""
        return self._encode([self.query_prefix + text for text in texts], None)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        ids = self._token_ids(texts)
        batches = batches_of_equal_cost(self.device, [len(text) for text in ids])

        def embed(rows: list[int]) -> Vectors:
            return self._unit(self._forward([texts[row] for row in rows], [ids[row] for row in rows]))

        done = 0
        for rows, unit in zip(batches, self._workers.imap(embed, batches), strict=True):
            vectors[rows] = unit
            done += len(rows)
            if progress:
                progress(done, len(texts))
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text, special ones included, truncated to the window."""
        ids: list[Ids] = []
        for first in range(0, len(texts), _TEXTS_PER_TOKENIZATION):
            encoded = self._truncating_tokenizer(
                list(texts[first : first + _TEXTS_PER_TOKENIZATION]),
                truncation=True,
                max_length=self._window,
                padding=False,
                verbose=False,
            )
            ids.extend(np.array(text, dtype=np.int32) for text in encoded["input_ids"])
        return ids

    def _unit(self, pooled: Vectors) -> Vectors:
        """The leading dimensions that the model is configured to give, scaled to unit length."""
        leading = pooled[:, : self.dimension]
        unit: Vectors = leading / np.maximum(np.linalg.norm(leading, axis=1, keepdims=True), 1e-12)
        return unit

    def _proven_forward(self, model: Any, folder: Path, cache: Path | None) -> tuple[str, str, _Forward]:
        """A faster forward pass if the model is covered and the proof succeeds, else the library's."""
        from index.encoders.bert import uncovered

        flaw = uncovered(model)
        if not flaw:
            run = self._faster_forward(model, folder, cache)
            flaw = self._disagreement(run, SentenceTransformerForward(model, self.device))
            if not flaw:
                return "openvino" if self.backend == "openvino" else "bert", "", lambda _, ids: run(ids)
        if self.backend == "openvino":
            raise IndexFault(
                f"OpenVINO cannot run the encoder {self.source}: {flaw}; set index.encoder.backend to torch."
            )
        return self._library_forward(model, f"The encoder runs through sentence-transformers: {flaw}.")

    def _library_forward(self, model: Any, note: str = "") -> tuple[str, str, _Forward]:
        import torch

        forward = SentenceTransformerForward(model.to(getattr(torch, self.dtype)), self.device)
        return "sentence-transformers", note, lambda texts, _: forward(texts)

    def _faster_forward(self, model: Any, folder: Path, cache: Path | None) -> Callable[[Sequence[Ids]], Vectors]:
        """The forward pass of the chosen backend, with weights of its own: the model need not be kept."""
        import torch

        from index.encoders.bert import BertForward, weights_of

        weights = weights_of(model)
        if self.backend == "openvino":
            from index.encoders.openvino_bert import OpenVinoBert

            return OpenVinoBert(weights, self.dtype, torch.get_num_threads(), _content_hash(folder), cache)
        return BertForward(weights, self.dtype, TOKENS_PER_BATCH["cpu"])

    def _disagreement(self, run: Callable[[Sequence[Ids]], Vectors], library: SentenceTransformerForward) -> str:
        """Where a forward pass or our tokenisation departs from the library's, as a clause; empty if nowhere."""
        texts = [self.passage_prefix + text for text in _PROOF_TEXTS]
        to_cut = _PROOF_TEXT_TO_CUT * (self._window // 4)
        ids = self._token_ids([*texts, to_cut])
        expected = [*library.token_ids(texts), *library.token_ids([to_cut])]
        if any(not np.array_equal(own, theirs) for own, theirs in zip(ids, expected, strict=True)):
            return "sentence-transformers tokenises its texts differently"
        cosine = float((self._unit(run(ids[:-1])) * self._unit(library(texts))).sum(axis=1).min())
        required = _PROOF_COSINE[self.dtype]
        if not cosine >= required:  # NaN fails, too
            return f"the faster forward pass gave other vectors (cosine {cosine:.5f}, required {required})"
        return ""

    def _fingerprint(self, folder: Path) -> str:
        parts = {
            "files": _content_hash(folder),
            # The forward passes of one backend are proven to differ by rounding only; two backends may differ in more.
            "backend": self.backend,
            "dtype": self.dtype,
            "window": self._window,
            "dimension": self.dimension,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
        }
        return blake3(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_options(device: str, dtype: str, backend: str) -> None:
    if dtype == "int8":
        raise IndexFault(
            "The encoder's dtype int8 found only 90 % of the ten nearest passages of float32 and is not offered; "
            "choose auto or bfloat16."
        )
    if dtype not in DTYPES:
        raise IndexFault(f"The encoder's dtype is {dtype!r}; choose one of {', '.join(DTYPES)}.")
    if dtype == "bfloat16" and device == "cpu" and native_format() != "bfloat16":
        raise IndexFault(
            "The encoder's dtype is bfloat16, which this processor only emulates, many times slower than float32; set "
            "index.encoder.dtype to auto or float32, and rebuild an index that was built in bfloat16 with "
            "`ragft index build --rebuild`."
        )
    if backend not in BACKENDS:
        raise IndexFault(f"The encoder's backend is {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if backend == "openvino" and (device != "cpu" or dtype == "float16"):
        raise IndexFault(
            f"OpenVINO runs the encoder on a CPU in float32 or bfloat16, not on {device} in {dtype}; set "
            "index.encoder.backend to torch."
        )


def _content_hash(folder: Path) -> str:
    """blake3 over the files that affect the vectors, wherever the folder lies."""
    hashes = {name: hash_ for name, hash_ in file_hashes(folder).items() if Path(name).name not in _WITHOUT_EFFECT}
    return blake3(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _folder_of(source: str) -> Path:
    """The folder of a model that is given as a folder or as a hub id."""
    folder = Path(source)
    if not folder.is_dir():
        try:
            folder = from_hub(source)
        except ValueError as error:
            raise IndexFault(
                f"The encoder {source} is neither a folder nor a model that the Hugging Face hub gives out "
                f"({error}); check the name, or name the folder of a model."
            ) from error
    if not (folder / "modules.json").is_file():
        raise IndexFault(
            f"The encoder {source} is not a sentence-transformers model (it has no modules.json); "
            "name one that is, such as sentence-transformers/all-MiniLM-L6-v2."
        )
    return folder


def _load(folder: Path, device: str, dtype: str) -> Any:
    try:
        return load("SentenceTransformer", folder, device, dtype)
    except ValueError as error:
        raise IndexFault(
            f"The encoder in {folder} cannot be loaded ({error}); it must be a sentence-transformers model "
            "with weights in safetensors."
        ) from error
