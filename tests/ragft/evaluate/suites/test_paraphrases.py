"""A question in other words asks the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evaluation import question

from ragft.evaluate.suites.paraphrases import FRAMES, SYNONYMS, paraphrase


@pytest.mark.parametrize(
    ("asked", "reworded"),
    [
        ("What is the latest version of Django?", "Give me the newest version of Django."),
        ("Give me the newest version of Django.", "Could you give me the latest version of Django?"),
        ("Which release of Django is the newest?", "Which release of Django is the latest?"),
        ("Is the latest-build licence mandatory?", "Is the latest-build licence compulsory?"),
        ("We run Django. Is 4.2 the newest one?", "We run Django. Is 4.2 the latest one?"),
        ("Wann endet Django 4.2?", None),
        ("Was ist die neueste Version von Django?", None),
    ],
)
def test_a_rule_changes_the_words_and_keeps_the_meaning(asked: str, reworded: str | None) -> None:
    assert paraphrase(question(question=asked), 0) == reworded


def test_what_its_author_gives_is_asked() -> None:
    given = ("The end of Django 4.2?", "Wann endet Django 4.2?")
    assert {paraphrase(question(question="Ende?", paraphrases=given), seed) for seed in range(20)} == set(given)


def test_a_word_of_the_answer_stays() -> None:
    asked = question("latest", question="Which tag is the latest?")
    assert paraphrase(asked, 0) in [frame.format(asked.question) for frame in FRAMES]


@settings(max_examples=25)
@given(st.sampled_from([word for pair in SYNONYMS for word in pair]), st.integers(0, 999))
def test_rewording_twice_gives_the_question_again(word: str, seed: int) -> None:
    asked = f"Which of them is the {word} one?"
    once = paraphrase(question(question=asked), seed)
    assert once is not None and once != asked
    assert paraphrase(question(question=once), seed) == asked
