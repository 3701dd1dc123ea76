"""A query of any length is read to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.indexes import HashEncoder, WordTokenizer, Write

from index.encoders.encoder import Encoder
from index.refresh.refresh import refresh
from index.search.long_queries import encode_queries, note_on_length, parts_of_query
from index.search.search import search
from index.search.settings import MODES, SearchSettings
from index.store.snapshot import Snapshot

PREAMBLE = "The weather was mild and the train was late, as it often is in spring. " * 60


@pytest.mark.medium
def test_the_end_of_a_query_beyond_the_window_counts(tmp_path: Path, write: Write, encoder: Encoder) -> None:
    pets = "# Cats\n\nA kitten purrs when it is content.\n"
    refresh(tmp_path / "index", write({"cats.md": pets, "tax.md": "# Tax\n\nIncome is taxed each year.\n"}), encoder)
    snapshot = Snapshot.open(tmp_path / "index")
    without, with_end = PREAMBLE, f"{PREAMBLE} Why does a kitten purr?"
    for mode in MODES:
        (hits,) = search(snapshot, encoder, [with_end], SearchSettings(mode=mode, k=1))
        assert [hit.document_id for hit in hits] == ["cats.md"]
    vectors = encode_queries(encoder, [without, with_end, "Why does a kitten purr?"])
    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2] + 0.02
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_query_that_fits_is_encoded_as_ever(encoder: Encoder) -> None:
    queries = ["When does support end?", "Größe " * 60, "?"]
    assert encode_queries(encoder, queries).tolist() == encoder.encode_queries(queries).tolist()
    assert [note_on_length(encoder, query) for query in queries] == [None] * 3


def test_every_part_fits_and_together_they_are_the_query(encoder: Encoder) -> None:
    for query in (PREAMBLE, "日曜日に開いています。" * 100, f"Intro. {'x' * 90} " * 40):
        parts = parts_of_query(encoder, query)
        assert "".join(parts) == query and len(parts) > 1
        for part in parts:
            assert len(encoder.tokenizer(part)["input_ids"]) <= encoder.max_tokens
    assert {word for part in parts_of_query(encoder, PREAMBLE) for word in part.split()} == set(PREAMBLE.split())


def test_a_query_beyond_the_window_is_said(encoder: Encoder) -> None:
    note, parts = note_on_length(encoder, PREAMBLE), len(parts_of_query(encoder, PREAMBLE))
    assert note is not None and "longer than the 256 tokens" in note and f"in {parts} parts" in note


def test_of_an_endless_query_both_ends_are_encoded(words: HashEncoder) -> None:
    parts = parts_of_query(words, f"kitten {'word ' * 100_000} owl")
    assert parts[0].startswith("kitten ") and parts[-1].endswith(" owl") and sum(map(len, parts)) < 20_100


@given(st.text(max_size=600))
def test_no_text_is_cut_in_more_or_less_than_itself(query: str) -> None:
    encoder = HashEncoder(WordTokenizer())
    parts = parts_of_query(encoder, query)
    assert "".join(parts) == query
    assert all(len(encoder.tokenizer(part)["input_ids"]) <= encoder.max_tokens for part in parts)
