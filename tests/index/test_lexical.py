"""BM25 by hand, by history, and the words it knows."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

from index.lexical import Bm25, Postings, tokenize


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Node.js 4.2", ["node.js", "node", "js", "4.2"]),
        ("MySQL 8.0.36, C++ and C#.", ["mysql", "8.0.36", "c++", "and", "c#"]),
        ("spring-boot", ["spring-boot", "spring", "boot"]),
        ("v1.2", ["v1.2", "1.2"]),
        ("Größe naïve", ["größe", "naïve"]),
        ("?! …", []),
    ],
)
def test_names_and_versions_stay_whole(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


def test_scores_equal_those_worked_out_by_hand() -> None:
    # Three passages of 2, 3 and 1 terms: 2 on average. `dog` stands in two of them, twice in the second.
    bm25 = Bm25([(Postings.build(["red dog", "lazy dog dog", "fox"]), np.ones(3, dtype=bool))])
    idf = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    first = idf * 1 * 2.2 / (1 + 1.2 * (1 - 0.75 + 0.75 * 2 / 2))
    second = idf * 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / 2))
    assert bm25.scores("dog").tolist() == pytest.approx([first, second, 0])
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
