"""Terms of a text, and BM25 compared with scores worked out by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path

import numpy as np
import pytest

from index.store.lexical import Bm25, Postings, query_terms, tokenize


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Node.js 4.2", ["node.js", "node", "js", "4.2"]),
        ("MySQL 8.0.36, C++ and C#.", ["mysql", "8.0.36", "c++", "and", "c#"]),
        ("v1.2 of x86_64", ["v1.2", "1.2", "of", "x86_64", "x86", "64"]),
        ("Größe", ["größe"]),
        ("?! …", []),
    ],
)
def test_names_and_versions_stay_whole(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Releases released", ["releas", "releas"]),
        ("key-value read/write", ["key", "valu", "read", "write"]),
        ("the vendor's and vendor’s", ["the", "vendor", "and", "vendor"]),
        ("IL-6 dependent", ["il-6", "il", "6", "depend"]),
    ],
)
def test_words_are_counted_apart_and_by_their_stem(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


def test_stop_words_are_asked_for_only_where_there_is_nothing_else() -> None:
    assert query_terms("When does the support of the Node end?") == ["end", "node", "support"]
    assert query_terms("Who are the who?") == ["are", "the", "who"]
    bm25 = Bm25([(Postings.build(["the who", "a dog", "the dog"]), np.ones(3, dtype=bool))])
    assert bm25.scores("the who").argmax() == 0
    assert bm25.scores("the dog").tolist() == bm25.scores("dog").tolist()


def test_every_thread_stems_alike() -> None:
    words = ["releases", "released", "generously", "dogs", "running"] * 50
    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(found) for found in pool.map(tokenize, [" ".join(words)] * 64)}) == 1


def test_headings_count_more_than_the_text_below() -> None:
    bm25 = Bm25([(Postings.build(["dog\nfox cat", "fox\ndog cat", "cow"]), np.ones(3, dtype=bool))])
    in_heading, in_text, _ = bm25.scores("dog")
    assert in_heading > in_text > 0


def test_scores_equal_those_worked_out_by_hand() -> None:
    # Three passages of 2, 3 and 1 terms: 2 on average. Two of them hold `dog`, the second one twice.
    bm25 = Bm25([(Postings.build(["red dog", "lazy dog dog", "fox"]), np.ones(3, dtype=bool))])
    idf = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    for k1, b in ((0.9, 0.4), (1.2, 0.75)):
        first = idf * 1 * (k1 + 1) / (1 + k1 * (1 - b + b * 2 / 2))
        second = idf * 2 * (k1 + 1) / (2 + k1 * (1 - b + b * 3 / 2))
        assert bm25.scores("dog", k1, b).tolist() == pytest.approx([first, second, 0])
    assert bm25.scores("dog").tolist() == bm25.scores("dog", 0.9, 0.4).tolist()
    assert bm25.scores("dog dog").tolist() == bm25.scores("dog").tolist()
    assert not bm25.scores("unknown").any()


def test_segments_with_removed_rows_score_like_one_built_at_once() -> None:
    first, second = Postings.build(["red dog", "gone dog gone"]), Postings.build(["lazy dog dog", "fox"])
    history = Bm25([(first, np.array([True, False])), (second, np.ones(2, dtype=bool))])
    built = Bm25([(Postings.build(["red dog", "lazy dog dog", "fox"]), np.ones(3, dtype=bool))])
    assert history.scores("red dog fox")[[0, 2, 3]].tolist() == built.scores("red dog fox").tolist()
    assert not history.scores("gone").any()


def test_merged_postings_equal_built_ones_and_survive_the_disk(tmp_path: Path) -> None:
    first, second = Postings.build(["b b a", "gone"]), Postings.build(["c a", "b"])
    merged = Postings.merge([(first, np.array([1, -1])), (second, np.array([0, 2]))])
    merged.write(tmp_path / "postings.arrow")
    for found in (merged, Postings.read(tmp_path / "postings.arrow")):
        built = Postings.build(["c a", "b b a", "b"])
        assert found.terms == built.terms == ["a", "b", "c"]
        for name in ("starts", "rows", "counts", "lengths"):
            assert getattr(found, name).tolist() == getattr(built, name).tolist()
