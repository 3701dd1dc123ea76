"""Whether answers stand on the passages that they cite."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.config import AnswerSection
from ragft.evaluate.metrics import Rules
from ragft.evaluate.metrics.grounding import ground

RULES = Rules.of(AnswerSection(value="(?m)^Answer: (.+)$", refusal="Answer: unknown"))
FREE = replace(RULES, value=None, refusal="I do not know.")
PASSAGES = ["Files > 4.2\n- release: 2022-10-01\n- end of life: 2024-04-30", "Files > 4.1\n- end of life: 2023-01-31"]
QUESTION = "When does Files 4.2 end?"


@pytest.mark.parametrize(
    ("answer", "grounded", "passage", "reason"),
    [
        ("Source: [1]\nAnswer: 2024-04-30", "true", 1, "A passage that it cites says so."),
        ("Answer: 30 April 2024 [1]", "true", 1, "A passage that it cites says so."),
        ("Answer: 2024-04-30", "true", 1, "A passage that it cites says so."),
        ("Source: [2]\nAnswer: 2024-04-30", "unsure", 1, "2024-04-30 is not in what it cites, but in [1]."),
        ("Source: [1]\nAnswer: 2024-05-30", "false", 1, "2024-05-30 is in no passage that it cites."),
        ("Source: [7]\nAnswer: 2024-04-30", "false", None, "It cites [7], which there is not."),
        ("Source: [1] 4.2 end of life: 2024-04-30\nAnswer: yes", "unsure", 1, "yes is a conclusion; its figures"),
        ("[1] 2024-04-30, months 04 and 10\nAnswer: yes", "unsure", 1, "yes is a conclusion; its figures"),
        ("[1] end of life: 2024-04-30, year 2025\nAnswer: yes", "false", 1, "2025 is in no passage"),
        ("Source: [1]\nAnswer: yes", "unsure", 1, "yes is a conclusion; no figure"),
        ("Source: [1]\nAnswer: Files", "unsure", 1, "files is a conclusion"),
        ("Source: [1]\nAnswer: a purple elephant", "false", 1, "What it cites says other words."),
    ],
)
def test_a_value_is_looked_up_in_what_is_cited(answer: str, grounded: str, passage: int | None, reason: str) -> None:
    found = ground(answer, QUESTION, PASSAGES, RULES)
    assert found is not None
    assert (found.grounded, found.passage) == (grounded, passage)
    assert found.reason.startswith(reason)


def test_the_sentence_that_supports_an_answer_is_that_of_its_value() -> None:
    found = ground("Answer: 2024-04-30 [1]", QUESTION, PASSAGES, RULES)
    assert found is not None and found.sentence == "- end of life: 2024-04-30"


def test_a_free_answer_needs_its_figures_and_most_of_its_words() -> None:
    text = ["The bridge was built in 1911 and rebuilt after the flood of 1954."]
    asked = "When was it built?"
    told = {
        answer: getattr(ground(answer, asked, text, FREE), "grounded", None)
        for answer in (
            "The bridge was rebuilt after the flood [1].",
            "It was built in 1912 [1].",
            "Hungry crocodiles prefer marmalade sandwiches [1].",
            "Rebuilt 1954, by hungry crocodiles that prefer marmalade [1].",
        )
    }
    assert list(told.values()) == ["true", "false", "false", "unsure"]


PRICES = ["Prices\nA ticket costs 12 euros. Dogs travel free."]


@pytest.mark.parametrize(
    ("question", "answer", "grounded"),
    [
        ("Does a ticket cost 99 euros?", "A ticket costs 99 euros [1].", "unsure"),
        ("Does a ticket cost 99 euros?", "A ticket costs 12 euros, not 99 [1].", "unsure"),
        ("Does a ticket of 12 euros cost more?", "A ticket costs 12 euros [1].", "true"),
        ("What did a ticket cost in 2025?", "In 2025 a ticket costs 13 euros [1].", "false"),
    ],
)
def test_a_figure_of_the_question_that_is_not_in_what_is_cited_makes_no_answer_grounded(
    question: str, answer: str, grounded: str
) -> None:
    found = ground(answer, question, PRICES, FREE)
    assert found is not None and found.grounded == grounded


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Do dogs travel free?", "Yes [1]."),
        ("Do dogs travel free?", "Dogs travel free [1]."),
        ("Do dogs travel free?", "Dogs do travel free [1]."),
        ("Who travels free, dogs or cats?", "Dogs [1]."),
        ("Is it 12 or 15 euros for a ticket?", "12 [1]."),
    ],
)
def test_a_yes_or_no_and_what_the_question_says_cannot_be_decided_where_no_value_is_read(
    question: str, answer: str
) -> None:
    found = ground(answer, question, PRICES, FREE)
    assert found is not None and found.grounded == "unsure"


@pytest.mark.parametrize("answer", ["Answer: unknown", "The passages do not say.", "", "  \n"])
def test_a_refusal_stands_on_nothing(answer: str) -> None:
    assert ground(answer, QUESTION, PASSAGES, RULES) is None


def test_without_passages_there_is_nothing_to_look_up() -> None:
    assert ground("Answer: 2024-04-30", QUESTION, [], RULES) is None


@given(figure=st.integers(10_000, 10**9), at=st.integers(0, 3))
def test_a_figure_is_grounded_exactly_where_a_cited_passage_has_it(figure: int, at: int) -> None:
    passages = [f"The total of part {part} is {'none' if part != at else figure}." for part in range(3)]
    for number in (1, 2, 3):
        found = ground(f"Answer: {figure} [{number}]", "What is the total?", passages, RULES)
        assert found is not None
        expected = "true" if number == at + 1 else "unsure" if at < 3 else "false"
        assert found.grounded == expected


@given(st.text(max_size=200), st.lists(st.text(max_size=80), max_size=3))
def test_any_answer_gets_a_verdict_and_the_sentence_is_of_its_passage(answer: str, passages: list[str]) -> None:
    for rules in (RULES, FREE):
        found = ground(answer, "What?", passages, rules)
        if found is not None and found.passage is not None:
            assert found.sentence is not None and found.sentence in passages[found.passage - 1]
