"""Turns texts into vectors with a sentence-transformers model.

Knows one model and how to run it fast; nothing of documents or indexes. Whatever changes the vectors changes
the encoder's fingerprint, so that vectors of two encoders are never compared.

BERT models run through `index.encoders.bert` on a CPU, or through OpenVINO on request, after a proof at load that their
vectors are those of sentence-transformers. Everything else runs through sentence-transformers itself.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from index.encoders.batching import TOKENS_PER_BATCH, batches_of_equal_cost
from index.encoders.loading import file_hashes, load
from index.encoders.precision import native_format
from index.errors import IndexFault

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
# Measured on all-MiniLM-L6-v2: 0.99994 at least in bfloat16. Deeper models lose a little more; a wrong forward
# pass falls far below.
_PROOF_COSINE = {"float32": 0.99999, "bfloat16": 0.999}

_DOWNLOADED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_WITHOUT_EFFECT = frozenset({"config_sentence_transformers.json", "data_config.json", "README.txt", "LICENSE.txt"})


class TextEncoder(Protocol):
    """What the index needs of an encoder."""

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
        engine: What computes the vectors: `bert` (see `index.encoders.bert`), `openvino` or `sentence-transformers`.
        note: Why a CPU runs the model through sentence-transformers, in a sentence; else empty.
        fingerprint: blake3 over everything that decides about the vectors, but for rounding.
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
            source: A folder, or a model id of the Hugging Face hub. A folder touches no network.
            device: Where it runs, in torch's words.
            dtype: `auto` is bfloat16 where the processor multiplies it in hardware, else float32.
            query_prefix: Put before every query (E5 and BGE models want one).
            passage_prefix: Put before every passage.
            backend: `torch`, `openvino` (BERT models on a CPU), or `auto`, which is torch.
            cache: Folder where exported OpenVINO graphs are kept.

        Raises:
            IndexFault: the source is missing or not a sentence-transformers model in safetensors, or the
                options do not go together.
        """
        _check_options(device, dtype, backend)
        import torch

        folder = _resolve(str(source))
        self.source = str(source)
        self.device = device
        self.dtype = native_format(device) if dtype == "auto" else dtype
        self.backend = "torch" if backend == "auto" else backend
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        own = device == "cpu" and self.dtype in _PROOF_COSINE
        model = _load(folder, device, "float32" if own else self.dtype)
        # Every call switches the truncation of the model's own tokenizer on or off, which fast tokenizers
        # refuse while another thread encodes: hence the lock, a copy for those who only count tokens, and one
        # that always truncates.
        self._tokenizing = threading.Lock()
        self.tokenizer = copy.deepcopy(model.tokenizer)
        self._reader = copy.deepcopy(model.tokenizer)
        window = model.max_seq_length
        self._window = int(window) if window else int(self.tokenizer.model_max_length)
        self.dimension = int(model.get_embedding_dimension())
        self.fingerprint = self._fingerprint(folder)
        threads = torch.get_num_threads()
        self.note = ""
        self._run: Callable[[Sequence[Any]], Any] | None = None
        if own:
            self._run, self.note = self._own_forward(model, folder, threads, cache)
        self.engine = "sentence-transformers" if self._run is None else "bert"
        if self.backend == "openvino":
            if self._run is None:
                raise IndexFault(f"OpenVINO cannot run the encoder {source}: {self.note} Set index.backend to torch.")
            self.engine = "openvino"
        # The proven forward pass has all the weights that it needs; the model itself may go.
        self._model = model.to(getattr(torch, self.dtype)) if self._run is None else None
        # One thread per batch and several batches at once: the products of a small encoder are over before
        # the threads of one product find together (20 times slower on two busy cores).
        self._workers = ThreadPoolExecutor(threads, "encoder", torch.set_num_threads, (1,)) if device == "cpu" else None

    @property
    def max_tokens(self) -> int:
        """Longest passage that is read whole, special tokens included and the passage prefix taken off."""
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
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        ids = self._ids(texts)
        batches = batches_of_equal_cost(self.device, [len(text) for text in ids])
        done = 0

        def embed(rows: list[int]) -> Vectors:
            if self._run is not None:
                return self._unit(self._run([ids[row] for row in rows]))
            return self._forward([texts[row] for row in rows])

        run = self._workers.map if self._workers else map
        for rows, unit in zip(batches, run(embed, batches), strict=True):
            vectors[rows] = unit
            done += len(rows)
            if progress:
                progress(done, len(texts))
        if self._workers:
            # A worker's choice of one thread reaches a setting of MKL that the whole process shares.
            torch.set_num_threads(torch.get_num_threads())
        return vectors

    def _forward(self, texts: list[str]) -> Vectors:
        """One batch through sentence-transformers: (n, dimension) float32, rows of unit length."""
        import torch

        if self._model is None:
            raise RuntimeError("the model was given up for a forward pass of our own")
        with self._tokenizing:
            features = self._model.preprocess(texts)
        moved = {key: value.to(self.device) if hasattr(value, "to") else value for key, value in features.items()}
        with torch.inference_mode():
            return self._unit(self._model(moved)["sentence_embedding"].float().cpu().numpy())

    def _unit(self, pooled: Vectors) -> Vectors:
        """The leading dimensions that the model is read in, of unit length."""
        leading = pooled[:, : self.dimension]
        lengths = np.linalg.norm(leading, axis=1, keepdims=True)
        unit: Vectors = leading / np.maximum(lengths, 1e-12)
        return unit

    def _ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """Token ids of each text, special ones included, cut to the window."""
        ids: list[npt.NDArray[np.int32]] = []
        for first in range(0, len(texts), _TEXTS_PER_TOKENIZATION):
            part = list(texts[first : first + _TEXTS_PER_TOKENIZATION])
            encoded = self._reader(part, truncation=True, max_length=self._window, padding=False, verbose=False)
            ids.extend(np.array(text, dtype=np.int32) for text in encoded["input_ids"])
        return ids

    def _own_forward(
        self, model: Any, folder: Path, threads: int, cache: Path | None
    ) -> tuple[Callable[[Sequence[Any]], Any] | None, str]:
        """The fastest forward pass that gives the model's vectors; where there is none, a sentence that says why."""
        from index.encoders.bert import BertForward, uncovered, weights_of

        reason = uncovered(model)
        if reason:
            return None, f"The encoder runs through sentence-transformers: {reason}."
        weights = weights_of(model)
        run: Callable[[Sequence[Any]], Any]
        if self.backend == "openvino":
            from index.encoders.openvino_bert import OpenVinoBert

            run = OpenVinoBert(weights, self.dtype, threads, _content_hash(folder), cache)
        else:
            run = BertForward(weights, self.dtype, TOKENS_PER_BATCH["cpu"])
        flaw = self._flaw(run, model)
        return (None, f"The encoder runs through sentence-transformers: {flaw}.") if flaw else (run, "")

    def _flaw(self, run: Callable[[Sequence[Any]], Any], model: Any) -> str:
        """What a forward pass, or the tokenising before it, does otherwise than the model; empty if nothing."""
        import torch

        texts = [self.passage_prefix + text for text in _PROOF_TEXTS]
        to_cut = _PROOF_TEXT_TO_CUT * (self._window // 4)
        features = model.preprocess(texts)
        expected = [*_unpadded(features), *_unpadded(model.preprocess([to_cut]))]
        ids = self._ids([*texts, to_cut])
        if any(not np.array_equal(own, theirs) for own, theirs in zip(ids, expected, strict=True)):
            return "its texts are tokenised in a way of its own"
        with torch.inference_mode():
            theirs = self._unit(model(features)["sentence_embedding"].float().cpu().numpy())
        cosine = float((self._unit(run(ids[:-1])) * theirs).sum(axis=1).min())
        bound = _PROOF_COSINE[self.dtype]
        if not cosine >= bound:
            return f"the faster forward pass gave other vectors (cosine {cosine:.5f}, at least {bound} is asked)"
        return ""

    def _fingerprint(self, folder: Path) -> str:
        parts = {
            "files": _content_hash(folder),
            # The forward passes of one backend differ by rounding, which is proven at load; backends may differ
            # in more.
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
            "The encoder's dtype is int8, which found only 90 % of the ten nearest passages of float32 and is not "
            "offered; choose auto or bfloat16."
        )
    if dtype not in DTYPES:
        raise IndexFault(f"The encoder's dtype is {dtype!r}; choose one of {', '.join(DTYPES)}.")
    if dtype == "bfloat16" and device == "cpu" and native_format() != "bfloat16":
        raise IndexFault(
            "The encoder's dtype is bfloat16, which this processor only emulates, many times slower than float32; set "
            "index.encoder.dtype to auto or float32. An index that was built in bfloat16 must be rebuilt for it with "
            "`ragft index build --rebuild`."
        )
    if backend not in BACKENDS:
        raise IndexFault(f"The encoder's backend is {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if backend == "openvino" and (device != "cpu" or dtype == "float16"):
        raise IndexFault(
            f"OpenVINO runs the encoder on a CPU in float32 or bfloat16, not on {device} in {dtype}; set "
            "index.backend to torch."
        )


def _unpadded(features: dict[str, Any]) -> list[npt.NDArray[np.int32]]:
    rows = zip(features["input_ids"], features["attention_mask"], strict=True)
    return [ids[mask.bool()].numpy().astype(np.int32) for ids, mask in rows]


def _content_hash(folder: Path) -> str:
    """blake3 over the files that decide about the vectors, wherever the folder lies."""
    hashes = {name: hash_ for name, hash_ in file_hashes(folder).items() if Path(name).name not in _WITHOUT_EFFECT}
    return blake3(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _resolve(source: str) -> Path:
    """The folder of the model; a hub id is looked up in the local cache first, then fetched."""
    folder = Path(source)
    if not folder.is_dir():
        folder = _from_hub(source)
    if not (folder / "modules.json").is_file():
        raise IndexFault(
            f"The encoder {source} is not a sentence-transformers model (it has no modules.json); "
            "name one that is, such as sentence-transformers/all-MiniLM-L6-v2."
        )
    return folder


def _from_hub(source: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        try:
            return Path(snapshot_download(source, allow_patterns=_DOWNLOADED, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(source, allow_patterns=_DOWNLOADED))
    except (OSError, ValueError) as error:
        raise IndexFault(
            f"The encoder {source} is neither a folder nor a model that the Hugging Face hub gives out "
            f"({type(error).__name__}); check the name, or name the folder of a model."
        ) from error


def _load(folder: Path, device: str, dtype: str) -> Any:
    try:
        return load("SentenceTransformer", folder, device, dtype)
    except ValueError as error:
        raise IndexFault(
            f"The encoder in {folder} cannot be loaded ({error}); it must be a sentence-transformers model "
            "with weights in safetensors."
        ) from error
