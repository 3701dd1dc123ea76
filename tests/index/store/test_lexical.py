"""BM25 compared with scores worked out by hand."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

from index.store.languages import code_of
from index.store.lexical import Bm25, Postings


def test_stop_words_are_asked_for_only_where_there_is_nothing_else() -> None:
    bm25 = Bm25([(Postings.build(["the who", "a dog", "the dog"]), np.ones(3, dtype=bool))])
    assert bm25.scores("the who").argmax() == 0
    assert bm25.scores("the dog").tolist() == bm25.scores("dog").tolist()


def test_words_of_a_text_come_with_the_rows_that_hold_them_and_function_words_do_not() -> None:
    passages = ["The dog sleeps.", "node.js 22 runs", "Ein Hund und der Kater schlafen, und das ist alles."]
    live = np.array([True, True, True])
    for bm25 in (
        Bm25([(Postings.build(passages, language="english"), live)]),
        Bm25([(Postings.build(passages[:1], language="english"), live[:1]),
              (Postings.build(passages[1:], language="english"), live[1:])]),
    ):  # fmt: skip
        found = bm25.words("And when does the Dog sleep? Node.js, then; js 22 node.ts unknown")
        assert [(word.text, word.rows.tolist()) for word in found] == [
            ("Dog", [0]), ("sleep", [0]), ("Node.js", [1]), ("js", [1]), ("22", [1]), ("node.ts", []), ("unknown", []),
        ]  # fmt: skip
        assert found[0].share == 1 / 3
    assert Bm25([]).words("Dog") == []
    # Removed rows hold nothing, and where words are not parted by spaces neighbouring characters are words.
    assert Bm25([(Postings.build(passages), np.array([False, True, True]))]).words("dog")[0].rows.tolist() == []
    chinese = Bm25([(Postings.build(["服务器于三月停止支持"]), np.ones(1, dtype=bool))])
    assert [word.text for word in chinese.words("服务器") if len(word.rows)] == ["服务", "务器"]


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
        for name in ("languages", "starts", "rows", "counts", "lengths"):
            assert getattr(found, name).tolist() == getattr(built, name).tolist()


GERMAN = "Die Öffnungszeiten der Bibliotheken und das, was für die Leser in den Sälen neu ist, stehen auf der Tafel."
ENGLISH = "The opening hours of the libraries and what is new for the readers are written on the board in the hall."


def test_each_document_is_found_by_the_words_of_its_own_language() -> None:
    postings = Postings.build([GERMAN, ENGLISH], ["de.md", "en.md"])
    assert postings.languages.tolist() == [code_of("german"), code_of("english")]
    bm25 = Bm25([(postings, np.ones(2, dtype=bool))])
    for query, best in (("Bibliothek", 0), ("Saal Säle", 0), ("library", 1), ("reader", 1)):
        scores = bm25.scores(query)
        assert scores[best] > 0 and scores[1 - best] == 0
    # `die` and `was` say nothing in German, and what they mean in English is still asked for.
    assert not bm25.scores("die Bibliotheken was")[1]
    assert bm25.scores("die").tolist()[0] > 0


def test_a_word_is_as_rare_as_its_forms_in_all_languages_together() -> None:
    # `Server` has one stem in both, so that each row counts one of two rows that hold it.
    texts = [f"{GERMAN} server", f"{ENGLISH} server", "fox"]
    bm25 = Bm25([(Postings.build(texts, ["a", "b", "c"]), np.ones(3, dtype=bool))])
    german, english, none = bm25.scores("server", k1=0)
    assert german == english == pytest.approx(log(1 + (3 - 2 + 0.5) / (2 + 0.5))) and none == 0


def test_the_language_of_a_document_is_that_of_all_its_passages() -> None:
    table = "Saal | Plätze"
    assert Postings.build([GERMAN, table], ["de.md", "de.md"]).languages.tolist() == [code_of("german")] * 2
    apart = Postings.build([GERMAN, table], ["de.md", "b.md"]).languages.tolist()
    assert apart == [code_of("german"), code_of("english")]
    assert Postings.build([GERMAN], ["de.md"], "none").languages.tolist() == [code_of("none")]
    assert "bibliotheken" in Postings.build([GERMAN], ["de.md"], "none").terms


def test_segments_of_several_languages_score_like_one_built_at_once() -> None:
    texts, ids = [GERMAN, "fox and hound", ENGLISH, "Fuchs und Hund"], ["a", "b", "c", "d"]
    whole = Postings.build(texts, ids)
    parts = [Postings.build(texts[:2], ids[:2]), Postings.build(texts[2:], ids[2:])]
    merged = Postings.merge([(parts[0], np.array([0, 1])), (parts[1], np.array([2, 3]))])
    both = np.ones(2, dtype=bool)
    for query in ("library Bibliothek fox", "die Hunde was", "opening Öffnungszeiten"):
        expected = Bm25([(whole, np.ones(4, dtype=bool))]).scores(query).tolist()
        assert Bm25([(part, both) for part in parts]).scores(query).tolist() == expected
        assert Bm25([(merged, np.ones(4, dtype=bool))]).scores(query).tolist() == expected
    # Only the live rows decide which languages a query is asked in.
    live = np.array([False, True, True, False])
    alone = Bm25([(Postings.build(texts[1:3], ids[1:3]), both)])
    for query in ("die library", "was fox"):
        assert Bm25([(whole, live)]).scores(query)[[1, 2]].tolist() == alone.scores(query).tolist()
