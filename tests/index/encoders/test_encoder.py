"""The encoder: unit vectors, the vectors of sentence-transformers, and a fingerprint of all that affects them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from support.bert_models import WINDOW, save_bert
from support.precision import Bfloat16

from index.encoders.encoder import Encoder, Vectors
from index.errors import IndexFault


def test_rows_are_of_unit_length_and_in_the_order_of_the_texts(encoder: Encoder) -> None:
    texts = ["a cat", "a much longer sentence about release dates of operating systems", "a cat"]
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode_passages(texts, lambda done, total: seen.append((done, total)))
    assert vectors.shape == (3, encoder.dimension) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[2] > 0.999 > vectors[0] @ vectors[1]
    assert seen[-1] == (3, 3)
    assert encoder.encode_queries([]).shape == (0, encoder.dimension)


def test_vectors_equal_those_of_sentence_transformers(encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["Support for Node.js 22 ends in 2027.", "A kitten purrs."]
    expected = SentenceTransformer(encoder.source, device="cpu", local_files_only=True).encode(texts)
    assert (encoder.encode_passages(texts) * expected).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-3)


@pytest.mark.medium
def test_threads_may_encode_while_others_count_tokens(encoder: Encoder) -> None:
    def work(number: int) -> int:
        encoder.encode_queries([f"query {number}"])
        return len(encoder.tokenizer("a b c")["input_ids"])

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(24))) == {5}


@pytest.mark.medium
def test_fingerprint_depends_on_content_not_on_the_folder(
    encoder: Encoder, tmp_path: Path, bfloat16_is: Bfloat16
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(encoder.source, moved)
    assert Encoder(moved).fingerprint == encoder.fingerprint
    other_dtype = "float32" if encoder.dtype != "float32" else "bfloat16"
    bfloat16_is("native")
    others = [Encoder(moved, dtype=encoder.dtype, query_prefix="query: "), Encoder(moved, dtype=other_dtype)]
    pooling = moved / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text() + "\n")
    others.append(Encoder(moved, dtype=encoder.dtype))
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_passage_prefix_is_deducted_from_the_window(encoder: Encoder) -> None:
    assert encoder.max_tokens == 256
    assert Encoder(encoder.source, passage_prefix="passage: ").max_tokens == 254


def test_folder_without_a_sentence_transformers_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFault, match=r"no modules\.json"):
        Encoder(tmp_path)
    with pytest.raises(IndexFault, match="choose one of auto"):
        Encoder(tmp_path, dtype="int4")


def test_hub_id_that_cannot_be_fetched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        asked.append((name, local_files_only))
        raise FileNotFoundError if local_files_only else ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(IndexFault, match=r"owner/name is neither a folder nor .*\(ConnectionError\)"):
        Encoder("owner/name")
    assert asked == [("owner/name", True), ("owner/name", False)]  # the local cache first


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import index, sys; print({'torch', 'faiss', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


TEXTS = [
    "a",
    "Release 22 of Node-JS, long ago?",
    "abc def ghi jkl mno pqr stu vwx yz0 123 456 789 far beyond the window of this encoder",
    "",
    "a kitten purrs.",
    "a puppy barks -",
    "one two three",
]
"""Some of equal length, one longer than the window, one empty."""


def theirs(folder: Path, texts: list[str]) -> Vectors:
    """The vectors of sentence-transformers in float32, of unit length."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode(texts, normalize_embeddings=True)


@pytest.mark.medium
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_own_forward_pass_of_a_bert_model_gives_the_vectors_of_sentence_transformers(
    tmp_path: Path, bfloat16_is: Bfloat16, pooling: str, normalise: bool
) -> None:
    bfloat16_is("native")
    folder = save_bert(tmp_path / "bert", pooling, normalise)
    expected = theirs(folder, ["passage - " + text for text in TEXTS])
    exact = Encoder(folder, dtype="float32", passage_prefix="passage - ")
    assert (exact.engine, exact.note, exact.max_tokens) == ("bert", "", WINDOW - 8)
    assert exact.encode_passages(TEXTS) == pytest.approx(expected, abs=1e-5)
    rounded = Encoder(folder, dtype="bfloat16", passage_prefix="passage - ")
    assert rounded.engine == "bert"
    assert (rounded.encode_passages(TEXTS) * expected).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-3)


@pytest.mark.parametrize(
    ("pooling", "activation", "reason"), [("max", "gelu", "pooling is max"), ("mean", "relu", "activation is relu")]
)
def test_model_that_is_not_covered_runs_through_sentence_transformers_and_says_why(
    tmp_path: Path, pooling: str, activation: str, reason: str
) -> None:
    folder = save_bert(tmp_path / "bert", pooling, activation=activation)
    encoder = Encoder(folder, dtype="float32")
    assert encoder.engine == "sentence-transformers" and reason in encoder.note
    assert encoder.encode_queries(TEXTS) == pytest.approx(theirs(folder, TEXTS), abs=1e-5)


def test_forward_pass_that_gives_other_vectors_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_bert(tmp_path / "bert")
    monkeypatch.setattr("index.encoders.bert._attention", lambda query, key, value: value)
    encoder = Encoder(folder, dtype="float32")
    assert encoder.engine == "sentence-transformers" and "other vectors" in encoder.note
    assert encoder.encode_queries(TEXTS) == pytest.approx(theirs(folder, TEXTS), abs=1e-5)


def test_model_that_pads_on_the_left_keeps_its_own_tokenisation(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"truncation_side": "left", "padding_side": "left"}))
    encoder = Encoder(folder, dtype="float32")
    assert encoder.engine == "sentence-transformers" and "pads on the left" in encoder.note
    assert encoder.encode_queries(TEXTS) == pytest.approx(theirs(folder, TEXTS), abs=1e-5)


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vector_of_a_text_depends_neither_on_its_neighbours_nor_on_their_order(
    tmp_path: Path, bfloat16_is: Bfloat16, dtype: str
) -> None:
    bfloat16_is("native")
    encoder = Encoder(save_bert(tmp_path / "bert"), dtype=dtype)
    many = [f"{text} {number}" for number in range(60) for text in TEXTS]
    together = encoder.encode_passages(many)
    assert encoder.encode_passages(many[::-1])[::-1] == pytest.approx(together, abs=1e-6)
    for row in range(0, len(many), 37):
        assert encoder.encode_passages([many[row]])[0] == pytest.approx(together[row], abs=1e-6)


def test_threads_that_encode_together_get_their_own_vectors(tmp_path: Path) -> None:
    encoder = Encoder(save_bert(tmp_path / "bert"))
    expected = [encoder.encode_queries([text])[0] for text in TEXTS]

    def work(number: int) -> bool:
        row = number % len(TEXTS)
        return bool(np.allclose(encoder.encode_passages([TEXTS[row], "b"])[0], expected[row], atol=1e-6))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(48)))


def test_fingerprint_covers_the_backend_but_not_what_differs_by_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_bert(tmp_path / "bert")
    fast = Encoder(folder, dtype="float32")
    assert Encoder(folder, dtype="float32", backend="torch").fingerprint == fast.fingerprint
    monkeypatch.setattr("index.encoders.bert.uncovered", lambda model: "this test asks for it")
    plain = Encoder(folder, dtype="float32")
    assert plain.engine == "sentence-transformers" and plain.fingerprint == fast.fingerprint
    assert plain.encode_queries(TEXTS) == pytest.approx(fast.encode_queries(TEXTS), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dtype": "int8"}, "not offered; choose auto"),
        ({"backend": "onnx"}, "choose one of auto, torch, openvino"),
        ({"backend": "openvino", "device": "cuda"}, "not on cuda"),
        ({"backend": "openvino", "dtype": "float16"}, "in float16"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(tmp_path: Path, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(IndexFault, match=complaint):
        Encoder(tmp_path, **options)


def test_missing_openvino_is_refused_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_bert(tmp_path / "bert")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(IndexFault, match=r"pip install ragft\[openvino\]"):
        Encoder(folder, backend="openvino")


def test_openvino_gives_the_same_vectors_and_keeps_its_graph(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    folder, cache = save_bert(tmp_path / "bert", "cls"), tmp_path / "cache"
    encoder = Encoder(folder, dtype="float32", backend="openvino", cache=cache)
    assert encoder.engine == "openvino"
    assert encoder.encode_passages(TEXTS) == pytest.approx(theirs(folder, TEXTS), abs=1e-4)
    assert encoder.fingerprint != Encoder(folder, dtype="float32").fingerprint
    (graph,) = (cache / "openvino").iterdir()
    before = (graph / "graph.xml").stat()
    again = Encoder(folder, dtype="float32", backend="openvino", cache=cache)
    assert np.array_equal(again.encode_passages(TEXTS), encoder.encode_passages(TEXTS))
    assert (graph / "graph.xml").stat() == before
    with pytest.raises(IndexFault, match="pooling is max"):
        Encoder(save_bert(tmp_path / "other", "max"), backend="openvino")


def test_vectors_do_not_depend_on_how_many_texts_are_attended_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(save_bert(tmp_path / "bert"), dtype="float32")
    many = TEXTS * 5
    expected = encoder.encode_passages(many)
    for scores in (1, 300):
        monkeypatch.setattr("index.encoders.bert._SCORES_AT_ONCE", scores)
        assert encoder.encode_passages(many) == pytest.approx(expected, abs=1e-6)
