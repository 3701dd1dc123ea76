"""Questions that were asked before are found, however they are written; questions of one pattern are kept apart."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragft.data.copies import copied, repeated, trained
from ragft.data.examples import Example
from ragft.data.questions import Question

ASKED = "When does support for Café Server 22 end?"
OTHERS = [f"What does the {name} office say about {thing}?" for name in ("Rome", "Oslo") for thing in ("tea", "ink")]


def question(text: str, *answers: str, name: str = "q") -> Question:
    return Question(name, text, answers or ("2027-04-30",), (), True)


def examples(text: str, answer: str) -> list[Example]:
    return [Example("e", text, answer), *(Example(other, other, "none") for other in OTHERS)]


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (ASKED, "same"),
        (f"  {ASKED.upper()} ", "same"),
        ("“When does support for Café Server 22 end”", "same"),
        (unicodedata.normalize("NFD", ASKED), "same"),
        ("For Café Server 22, when does support end?", "reordered"),
        ("When does support for Café Server 22 end, please?", "longer"),
        ("When does the official support for Café Server 22 end?", "longer"),
        ("When does support for Café Server 22 come to an end?", "longer"),
        ("When does support Café Server 22 end?", "longer"),
    ],
)
def test_a_copy_of_a_question_in_the_training_file_is_a_leak(copy: str, kind: str) -> None:
    (found,) = trained(examples(copy, "Answer: 2027-04-30 [1]"), [question(ASKED)])
    assert (found.question, found.of, found.kind, found.is_leak) == ("q", "e", kind, True)


@pytest.mark.parametrize(
    "other",
    [
        "When does support for Café Server 24 end?",
        "When does support for Bistro Desktop 22 end?",
        "Who wrote the first release of Café Server?",
    ],
)
def test_another_question_of_the_pattern_is_none(other: str) -> None:
    assert trained(examples(other, "2027-04-30"), [question(ASKED)]) == []


@pytest.mark.parametrize(
    ("asked", "copy", "answers", "said"),
    [
        ("Is Python supported by us?", "Is Micro Python supported by us?", "yes", "yes"),
        ("Who leads the Rome office?", "Who leads the new Rome office?", "Ann Lee", "Bob Ray"),
        ("Is Ann older than Bob?", "Is Bob older than Ann?", "yes", "no"),
    ],
)
def test_a_near_copy_whose_answer_tells_nothing_is_found_but_no_leak(
    asked: str, copy: str, answers: str, said: str
) -> None:
    (found,) = trained(examples(copy, said), [question(asked, answers)])
    assert not found.is_leak


def test_the_one_that_leaks_is_named_before_one_that_comes_nearer() -> None:
    known = [Example("other", f"{ASKED[:-1]}, then?", "never"), Example("leak", f"Well, {ASKED}", "2027-04-30")]
    (found,) = trained(known, [question(ASKED)])
    assert found.of == "leak"


def test_every_wording_that_a_question_declares_is_compared() -> None:
    taught = [Example("e", ASKED, "2027-04-30")]
    turns = ({"role": "user", "content": "Tell me of Café Server."}, {"role": "assistant", "content": "Gladly."})
    follow_up = Question("f", "And when does it end?", ("2027-04-30",), (), True, history=turns, standalone=ASKED)  # type: ignore[arg-type]
    reworded = Question("p", "What is the last day of it?", ("2027-04-30",), (), True, paraphrases=("Hm?", ASKED))
    assert [(copy.question, copy.kind, copy.is_leak) for copy in trained(taught, [follow_up, reworded])] == [
        ("f", "same", True), ("p", "same", True),
    ]  # fmt: skip
    ((place, copies),) = copied(taught, [follow_up, reworded])
    assert place == 0 and {copy.question for copy in copies} == {"f", "p"}


def test_a_question_under_two_ids_is_named_with_the_first_one() -> None:
    asked = [question(ASKED, name="a"), question(ASKED.lower(), name="b"), question("Who?", name="c")]
    assert [(copy.question, copy.of, copy.kind) for copy in repeated(asked)] == [("b", "a", "same")]


NAMES = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll")
WORDS = st.lists(st.sampled_from(NAMES), min_size=4)


@given(WORDS.filter(lambda words: len(set(words)) >= 4), st.randoms(), st.sampled_from(["", "please", "exactly"]))
def test_order_case_and_one_more_word_never_hide_a_copy(words: list[str], draw: random.Random, more: str) -> None:
    copy = [*words, *([more] if more else [])]
    draw.shuffle(copy)
    (found,) = trained(examples(" ".join(copy).upper() + "!", "on 2027-04-30"), [question(" ".join(words))])
    assert found.is_leak
