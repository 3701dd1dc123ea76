"""Follow-ups as queries of their own, over small indexes; and how much of a history a prompt keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.store.lexical import Bm25, Postings
from ragft.conversation import newest_turns, standalone
from ragft.messages import Message, turn

CYCLES = [("React", "19", "2024"), ("React", "18", "2022"), ("Angular", "17", "2023"), ("Angular", "18", "2021")]
PASSAGES = [
    *(f"{name} > {name} {cycle}\n{cycle} released: {year}-05-0{n}\n{cycle} end of life: {year}-12-0{n}"
      for n, (name, cycle, year) in enumerate(CYCLES, start=1)),
    *(f"Other{n} > Other{n} {n}\n{n} released: 20{n}-01-01\n{n} end of life: 20{n}-02-02" for n in range(30, 66)),
    "Updates\nEvery update is tested at night.",
    "Holidays\nEmployees who work part-time have twelve days of vacation a year.",
    "Holidays\nEmployees who work full-time have thirty days of vacation a year.",
    "Sickness\nReport sickness to the office.",
    "Urlaub\nWer in Teilzeit arbeitet, der hat im Jahr zwölf Tage Urlaub, und das ist nicht wenig.",
    "Kündigung\nDie Frist für eine Kündigung beträgt drei Monate, wenn es nicht anders vereinbart ist.",
]  # fmt: skip
WORDS = Bm25([(Postings.build(PASSAGES), np.ones(len(PASSAGES), dtype=bool))]).words


def talk(*questions: str) -> list[Message]:
    return [one for text in questions for one in (said("user", text), said("assistant", "It is so [1]."))]


def said(role: str, text: str) -> Message:
    return turn("user" if role == "user" else "assistant", text)


END = "When does React 19 reach end of life?"


@pytest.mark.parametrize(
    ("earlier", "question", "query"),
    [
        ([], "And by when?", "And by when?"),
        ([END], "And when was it released?", "React 19 And when was it released?"),
        # Words that are known and say nothing of the topic do not hide it.
        ([END], "Which update should I install?", "React 19 Which update should I install?"),
        # A number takes the place of the one before, a day does not.
        ([END], "And 18?", "React And 18?"),
        ([END], "Is it still supported on 2027-01-01?", "React 19 Is it still supported on 2027-01-01?"),
        ([END, "And 18?"], "By when?", "React 18 By when?"),
        ([END, "And 18?", "By when?"], "Since when?", "React 18 Since when?"),
        # Another topic, named or told, is asked about alone.
        ([END], "And Angular?", "And Angular?"),
        ([END, "And Angular 17?"], "By when?", "Angular 17 By when?"),
        ([END], "How do I report sickness?", "How do I report sickness?"),
        (["How do I report sickness?"], END, END),
        # Of the same one, words are added that stand with its own.
        (
            ["How many days of vacation have part-time employees?"],
            "And full-time?",
            "days vacation part-time employees And full-time?",
        ),
        # No rule of English decides.
        (["Wie viel Urlaub gibt es in Teilzeit?"], "Und ab wann?", "Urlaub Teilzeit Und ab wann?"),
        (["Wie viel Urlaub gibt es in Teilzeit?"], "Und die Kündigung?", "Und die Kündigung?"),
        # Small talk has no topic.
        (["Hello", "Thank you!"], "And by when?", "And by when?"),
    ],
)
def test_a_follow_up_is_searched_with_what_it_is_about(earlier: list[str], question: str, query: str) -> None:
    assert standalone(question, talk(*earlier), WORDS) == query


def test_the_last_answer_tells_the_topic_where_no_question_does() -> None:
    history = [said("user", "Hello, what is new?"), said("assistant", "Angular has a new version [1].")]
    assert standalone("And by when?", history, WORDS) == "Angular And by when?"
    assert standalone("And by when?", [{"role": "system", "content": "About React."}], WORDS) == "And by when?"


@given(st.lists(st.text(max_size=40), max_size=5), st.text(max_size=40))
def test_whatever_is_said_the_question_stays_whole_at_the_end(earlier: list[str], question: str) -> None:
    query = standalone(question, talk(*earlier), WORDS)
    assert query.endswith(question) and len(query) <= len(question) + sum(map(len, earlier)) + 50
    assert query == standalone(question, talk(*earlier), WORDS)


ROLES = st.sampled_from(["user", "assistant", "tool"])


@given(st.lists(st.tuples(ROLES, st.integers(1, 5)), max_size=12), st.integers(0, 30))
def test_the_oldest_turns_go_first_and_answers_go_with_their_questions(turns: list[tuple[str, int]], room: int) -> None:
    history: list[Message] = [{"role": role, "content": "word " * size} for role, size in turns]  # type: ignore[misc, typeddict-item]

    def size(kept: Sequence[Message]) -> int:
        return sum(len(one["content"].split()) for one in kept)

    kept = newest_turns(history, lambda kept: size(kept) <= room)
    assert size(kept) <= room and kept == history[len(history) - len(kept) :]
    starts = [place for place, one in enumerate(history) if one["role"] == "user" or not place]
    assert not kept or len(history) - len(kept) in starts
    longer = [place for place in starts if len(history) - place > len(kept)]
    assert not longer or size(history[longer[-1] :]) > room
