"""Pairs that the numbers of many rows find are those that comparing each question with each other finds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragft.data import near
from ragft.data.answers import text_of
from ragft.data.duplicates import ALIKE, FURTHER, TELLING, normal, same_figures
from ragft.data.near import Asked, clusters

WORDS = ["when", "does", "the", "lease", "of", "oslo", "rome", "end", "24", "22", "for", "us", "now", "C++", "C"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join), min_size=1, max_size=14)


def by_hand(texts: list[str], answers: list[str]) -> list[int]:
    """What `Asked.clusters` promises, each text compared with each other."""
    first: dict[str, int] = {}
    root = [first.setdefault(normal(text), place) for place, text in enumerate(texts)]
    places = sorted(set(root))
    words = {place: text_of(texts[place]).words for place in places}
    times = Counter(word for place in places for word in words[place])
    weigh = lambda some: sum(math.log(len(places) / times[word]) for word in some)  # noqa: E731
    for one, other in itertools.combinations(places, 2):
        shorter, longer = sorted((words[one], words[other]), key=len)
        union = weigh(shorter | longer)
        alike = union > 0 and weigh(shorter & longer) >= ALIKE * union - 1e-9
        within = shorter <= longer and len(shorter) >= TELLING
        within = within and len(longer) - len(shorter) <= max(1, FURTHER * len(shorter))
        said = bool(answers[one]) and answers[one] == answers[other]
        if same_figures(shorter, longer) and (alike or (within and said)):
            low, high = sorted((root[one], root[other]))
            root = [low if place == high else place for place in root]
    return root


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, answers=st.lists(st.sampled_from(["", "a", "b"]), min_size=14, max_size=14), in_file=st.booleans())
def test_clusters_are_those_of_comparing_each_with_each(
    texts: list[str], answers: list[str], in_file: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked = Asked(tmp_path_factory.mktemp("words") / "words.bin" if in_file else None)
    for text, answer in zip(texts, answers, strict=False):
        asked.add(text, answer)
    assert asked.clusters().tolist() == by_hand(texts, answers)


def test_a_question_with_little_more_words_is_the_same_where_the_answer_is() -> None:
    others = [(f"How do I {verb} {thing}?", verb) for verb in ("mend", "sell", "lend") for thing in ("cars", "pens")]

    def joined(answer: str) -> bool:
        asked = Asked()
        for text, said in [("How do I reset my code", "Ask Ann"), ("Please, how do I reset my code", answer), *others]:
            asked.add(text, said)
        return asked.clusters()[1] == 0

    assert joined("Ask Ann") and not joined("Ask Bob")


def test_where_too_many_share_a_rare_word_time_stays_linear_and_what_was_found_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = [f"zeta {chr(97 + a)}{chr(97 + b)}x {chr(97 + b)}{chr(97 + a)}y" for a in range(8) for b in range(8)]
    compared = 0
    plain = near.Near._compared

    def counting(self: near.Near, rows: near.Numbers, others: near.Numbers, longer: object) -> near.Mask:
        nonlocal compared
        compared += len(rows)
        return plain(self, rows, others, longer)  # type: ignore[arg-type]

    monkeypatch.setattr(near.Near, "_compared", counting)
    monkeypatch.setattr(near, "_FEWEST_PAIRS", 0)
    monkeypatch.setattr(near, "MOST_PAIRS", 1)
    assert clusters([*texts, texts[3] + "?"])[-1] == 3
    assert compared <= len(texts) + 1
