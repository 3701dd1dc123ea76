from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score
from support.evaluation import RULES, passage, question, record, value

from ragft.citations import parse_citations
from ragft.evaluate.metrics import METRICS, Metric, Rules, Score, metric
from ragft.evaluate.metrics.facts import f1_of, freshness, longest_common_subsequence
from ragft.evaluate.metrics.text import is_refusal
from ragft.tokens import contains_tokens, tokens

FREE = Rules()
words = st.text(alphabet="ab1.2 -[]", max_size=20)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-04-30.", "2026-04-30"),
        ("The 30th of April 2026", "2026-04-30"),
        ("Apr. 30, 2026", "2026-04-30"),
        ("2026-4-30", "2026/04/30"),
        ("v4.2", "4.2"),
        ("1,000 users", "1000 Users"),
        ("“Long-term  support”", "long term support"),
        ("I don't know", "I do not know."),
        ("5 %", "5%"),
        ("**4.2.1**", "4.2.1"),
        ("A", "a"),
    ],
)
def test_texts_that_say_the_same_have_equal_tokens(one: str, other: str) -> None:
    assert tokens(one) == tokens(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-04-30", "2026-04-3"),
        ("2026-04-30", "20260430"),
        ("4.2", "4.2.1"),
        ("4.2", "42"),
        ("4.2", "4.2-rc1"),
        ("4.2", "4.20"),
        ("5 %", "5"),
        ("-5", "5"),
        ("C++", "C"),
        ("1,000", "1"),
        ("04/05/2026", "2026-04-05"),
    ],
)
def test_texts_that_differ_in_fact_have_different_tokens(one: str, other: str) -> None:
    assert tokens(one) != tokens(other)


def test_exact_match_looks_at_the_value_that_the_rules_cut_out() -> None:
    assert value("exact_match", question(), record("Answer: 2026-04-30 · Source: [1]")) == 1
    assert value("exact_match", question(), record("Answer: 2026-04-3 · Source: [1]")) == 0
    assert value("exact_match", question(), record("2026-04-30 [1].")) == 1
    assert value("exact_match", question(), record("")) == 0


def test_yes_and_no_are_tokens_and_never_substrings() -> None:
    for answer in ("unknown", "not sure", "nothing", "none"):
        assert value("exact_match", question("no"), record(answer)) == 0
        assert value("contains", question("no"), record(answer)) == 0
    assert value("contains", question("yes"), record("It ended yesterday.")) == 0
    assert value("contains", question("yes"), record("Yes, since 4.2.")) == 1


def test_contains_is_lenient_about_form_but_not_about_versions() -> None:
    assert value("contains", question("4.2"), record("The version you want is 4.2, I think.")) == 1
    assert value("contains", question("4.2"), record("The version you want is 4.2.1.")) == 0
    assert value("contains", question("1"), record("See the passage [1].")) == 0


def test_f1_and_rouge_of_a_worked_example() -> None:
    # said: ended in april (3), gold: ended late in april (4): 3 in common, in order.
    asked, said = question("ended late in April"), record("Ended in April")
    assert value("token_f1", asked, said) == pytest.approx(2 * 1.0 * 0.75 / 1.75)
    assert value("rouge_l", asked, said) == pytest.approx(6 / 7)
    # April in ended: all three are shared, only two in order.
    assert value("rouge_l", asked, record("in ended April")) == pytest.approx(2 * 2 / 7)
    assert value("token_f1", asked, record("never")) == 0


def test_a_question_without_an_answer_is_right_when_refused() -> None:
    asked, refused = question(None), record("Answer: unknown · Source: none")
    for name in ("exact_match", "token_f1", "contains", "abstention"):
        assert value(name, asked, refused) == 1
        assert value(name, asked, record("Answer: 2026-04-30 · Source: [1]")) == 0
    assert value("false_refusal", asked, refused) is None
    assert value("false_refusal", question(), refused) == 1
    assert value("abstention", question(), refused) is None
    assert value("rouge_l", asked, refused) is None


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I do not know.", True),
        ("i don't know, sorry", True),
        ("I do not know. The passages are about 4.1.", True),
        ("I do not know about 4.1, but 4.2 ends in 2026", False),
        ("Nobody knows. I do not know.", True),
        ("unknown", True),
        ("I do not", False),
        ("", False),
    ],
)
def test_a_refusal_is_read_in_whatever_words(answer: str, refused: bool) -> None:
    assert is_refusal(answer, FREE, asked="") is refused


def test_a_refusal_in_another_wording_of_the_form_is_one() -> None:
    assert is_refusal("Answer: Unknown. · Source: [2]", RULES, asked="")
    assert not is_refusal("Answer: unknown date · Source: [2]", RULES, asked="")


def test_format_is_about_the_whole_answer() -> None:
    right = "Answer: 2026-04-30 · Source: [1]"
    assert value("format_validity", question(), record(f" {right}\n")) == 1
    assert value("format_validity", question(), record(f"{right} Hope it helps!")) == 0
    assert value("format_validity", question("never"), record(right)) == 1, "form does not ask for facts"
    assert value("format_validity", question(format="free"), record("Anything")) is None
    assert value("format_validity", question(), record(right), FREE) is None
    assert value("format_validity", question(), record("I do not know."), Rules(format=RULES.format)) == 1
    assert value("length", question(), record("three words here")) == 3


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("x [2]", (2,)),
        ("x [1][3]", (1, 3)),
        ("x [1, 3]; y [3]", (1, 3)),
        ("2026-04-30[1].", (1,)),
        ("in [2026]", ()),
        ("[1](page.md) ![2] [3]: http", ()),
        ("[a] [] [1.2] (4)", ()),
    ],
)
def test_citations_are_numbers_in_square_brackets(answer: str, numbers: tuple[int, ...]) -> None:
    assert parse_citations(answer) == numbers


def test_citation_precision_and_recall_of_a_worked_example() -> None:
    asked = question(sources=("django.md#4.2", "django.md#4.1"))
    passages = (passage("Django 4.2"), passage("Django 3.2"), passage("4.1"))

    def scores(answer: str) -> tuple[float | None, float | None]:
        given = record(answer, passages=passages)
        return value("citation_precision", asked, given), value("citation_recall", asked, given)

    assert scores("x [1][3]") == (1, 1)
    assert scores("x [1][2]") == (0.5, 0.5)
    assert scores("x [1][9]") == (0.5, 0.5), "a passage that does not exist is a wrong citation"
    assert scores("x") == (0, 0)


def test_citations_do_not_count_where_there_was_nothing_right_to_cite() -> None:
    elsewhere = (passage("Django 3.2"),)
    assert value("citation_precision", question(), record("x", passages=elsewhere)) is None
    assert value("citation_precision", question(), record("x [1]", passages=elsewhere)) == 0
    assert value("citation_recall", question(), record("x [1]", passages=elsewhere)) is None
    assert value("citation_precision", question(), record("x [1]")) is None
    assert value("citation_precision", question(None), record("x [1]", passages=elsewhere)) is None


def test_a_joined_passage_counts_for_every_section_that_it_covers_and_for_no_other() -> None:
    joined = replace(passage("Django"), sections=("Django 4.2", "Django 4.1"))
    asked = question(sources=("django.md#4.2", "django.md#4.1"))
    given = record("x [2]", passages=(passage("Django 3.2"), joined))
    assert value("citation_precision", asked, given) == value("citation_recall", asked, given) == 1
    assert value("retrieval_hit", asked, given) == 1
    assert value("retrieval_ndcg", asked, given) == pytest.approx(1 / math.log2(3))
    assert value("retrieval_any", question(sources=("django.md#Django",)), given) == 0


def test_retrieval_is_scored_for_the_setups_that_search() -> None:
    asked = question(sources=("django.md#4.2", "django.md#4.1"))
    one = record("", passages=(passage("3.2"), passage("4.2")))
    assert value("retrieval_hit", asked, one) == 0
    assert value("retrieval_any", asked, one) == 1
    assert value("retrieval_ndcg", asked, one) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    for name in ("retrieval_hit", "retrieval_any", "retrieval_ndcg"):
        assert value(name, asked, record("")) == 0, "a search that finds nothing is a miss"
        assert value(name, asked, record("", setup="fine-tuned")) is None
        assert value(name, question(None), one) is None


def test_ndcg_does_not_reward_two_chunks_of_one_section() -> None:
    twice = record("", passages=(passage("4.2"), passage("4.2")))
    assert value("retrieval_ndcg", question(), twice) == 1


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.integers(0, 3))
def test_ndcg_agrees_with_scikit_learn(relevant: list[bool], missed: int) -> None:
    total = sum(relevant) + missed
    if total == 0:
        return
    headings = [f"section {at}" if good else f"elsewhere {at}" for at, good in enumerate(relevant)]
    sources = [f"django.md#section {at}" for at, good in enumerate(relevant) if good]
    sources += [f"django.md#missed {at}" for at in range(missed)]
    found = record("", passages=tuple(passage(heading) for heading in headings))
    depth = len(relevant)
    truth = np.array([[*map(float, relevant), *[1.0] * missed]])
    ranks = np.arange(len(truth[0]), 0, -1)[None, :]
    expected = ndcg_score(truth, ranks, k=depth)
    assert value("retrieval_ndcg", question(sources=tuple(sources)), found) == pytest.approx(expected)


def test_freshness_tells_right_from_stale_from_other() -> None:
    asked = question("2026-04-30", stale_answers=("2025-12-01",))
    answers = {"right": "2026-04-30", "stale": "December 1, 2025", "other": "2020-01-01"}
    for kind, answer in answers.items():
        assert freshness(asked, record(answer), RULES) == kind
        assert value("fresh", asked, record(answer)) == (kind == "right")
        assert value("stale", asked, record(answer)) == (kind == "stale")
    assert freshness(question(), record("2026-04-30"), RULES) is None
    assert value("fresh", question(), record("2026-04-30")) is None


def test_cost_is_what_the_record_says() -> None:
    given = record("x", ttft_ms=None)
    names = ("latency_ms", "ttft_ms", "search_cost_ms", "prompt_tokens", "answer_tokens")
    assert [value(name, question(), given) for name in names] == [200, None, 5, 100, 10]


def test_a_metric_that_is_not_a_number_is_an_error_and_no_score() -> None:
    broken = Metric("x", "x", "facts", "share", "higher", lambda *_: True, lambda *_: Score(math.nan))
    with pytest.raises(ValueError, match="x is nan"):
        broken.score(question(), record("x"), RULES)


def test_two_metrics_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="already is a metric 'exact_match'"):
        metric("exact_match", axis="facts")(METRICS["length"].scorer)


@given(words, words)
def test_f1_is_symmetric_and_a_share(one: str, other: str) -> None:
    f1 = f1_of(tokens(one), tokens(other))
    assert 0 <= f1 <= 1
    assert f1 == f1_of(tokens(other), tokens(one))


@given(words, words.filter(str.strip))
def test_an_exact_match_has_full_f1_and_rouge_and_contains_the_answer(answer: str, gold: str) -> None:
    asked, said = question(gold), record(answer)
    if value("exact_match", asked, said) == 1:
        assert value("token_f1", asked, said) == value("rouge_l", asked, said) == 1
        assert value("contains", asked, said) == 1


@given(st.lists(st.sampled_from("abcd"), max_size=9), st.lists(st.sampled_from("abcd"), max_size=9))
def test_longest_common_subsequence_agrees_with_the_table(one: list[str], other: list[str]) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(one, other) == table[-1][-1]


@given(st.lists(st.integers(0, 6), max_size=5), st.lists(st.booleans(), min_size=1, max_size=4))
def test_citation_scores_are_shares(cited: list[int], gold: list[bool]) -> None:
    passages = tuple(passage("4.2" if good else "3.2") for good in gold)
    given_record = record("x", passages=passages, citations=tuple(cited))
    for name in ("citation_precision", "citation_recall"):
        score = value(name, question(), given_record)
        assert score is None or 0 <= score <= 1


@given(words)
def test_every_text_contains_its_own_tokens(text: str) -> None:
    assert contains_tokens(tokens(text), tokens(text)) is bool(tokens(text))
    assert tokens(" ".join(tokens(text))) == tokens(text) or "[" in text or "]" in text
