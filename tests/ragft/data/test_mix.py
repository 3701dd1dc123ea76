"""Training rows look like what retrieval shows: shares, places, gold and refusals are what was declared."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeSnapshot

from index.search.search import Hit
from ragft.citations import parse_citations
from ragft.config import MixSection
from ragft.data.examples import Example
from ragft.data.gold import gold_passages
from ragft.data.jsonl import LinesOf, to_lines
from ragft.data.mix import Mixed, mix
from ragft.data.rows import Row
from ragft.data.sources import Source
from ragft.errors import UsageError
from ragft.patterns import SlowPattern

REFUSAL = "Source: none\nAnswer: unknown"
SECTIONS = 40
SNAPSHOT = FakeSnapshot([(f"doc{n}.md", f"Section {n}", f"Fact {n}.") for n in range(SECTIONS)])
IDS = [chunk.id for chunk in SNAPSHOT.chunks()]


def example(number: int, *sources: int, **given_: Any) -> Example:
    """An example that is answered by these sections, and cites them in order."""
    marks = "".join(f"[{place}]" for place in range(1, len(sources) + 1))
    values: dict[str, Any] = {
        "id": f"e{number}",
        "question": f"Question {number}?",
        "answer": f"Source: {marks} Section\nAnswer: {number}" if sources else REFUSAL,
        "sources": tuple(Source(f"doc{source}.md#Section {source}") for source in sources),
        "group": str(number),
    }
    return Example(**{**values, **given_})


def search(questions: Sequence[str]) -> list[list[Hit]]:
    """Hits that depend on the question, so that the gold passage stands anywhere among them, or nowhere."""
    hits = SNAPSHOT.hits()
    return [hits[start:] + hits[:start] for start in (len(question) * 7 % SECTIONS for question in questions)]


def mixed(
    examples: Sequence[Example], seed: int = 0, general: Sequence[Example] = (), value: str | None = None,
    **values: Any,
) -> list[Row]:  # fmt: skip
    section = MixSection(**{"passages": 4, "gold_share": 0.8, "closed_book_share": 0.1, **values})
    snapshot: Any = SNAPSHOT
    rows = mix(examples, general, snapshot, search, section, system="Style.", refusal=REFUSAL, seed=seed, value=value)
    return list(rows.rows)


def kinds(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row.kind for row in rows)


def shown(row: Row) -> list[str]:
    """The passages in the prompt, by number, as the model reads them."""
    passages = row.messages[-2]["content"].removeprefix("Passages:\n").rpartition("\n\nQuestion: ")[0]
    return [part.partition("] ")[2] for part in passages.split("\n\n")]


ONE_SOURCE = [example(number, number % SECTIONS) for number in range(100)]
SHARES = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(gold=SHARES, closed=SHARES, rows=st.integers(1, 40), seed=st.integers(0, 5))
def test_shares_are_exact(gold: float, closed: float, rows: int, seed: int) -> None:
    counted = kinds(mixed(ONE_SOURCE[:rows], seed, gold_share=gold, closed_book_share=closed))
    with_passages = rows - round(closed * rows)
    assert counted["closed-book"] == round(closed * rows)
    assert counted["refusal"] == round((1 - gold) * with_passages)
    assert counted["gold"] == with_passages - counted["refusal"]


def test_gold_share_is_not_inverted() -> None:
    assert kinds(mixed(ONE_SOURCE, gold_share=0.9, closed_book_share=0)) == {"gold": 90, "refusal": 10}
    assert kinds(mixed(ONE_SOURCE, gold_share=1.0, closed_book_share=0)) == {"gold": 100}


@settings(max_examples=60, deadline=None)
@given(
    sources=st.lists(st.lists(st.integers(0, SECTIONS - 1), max_size=3, unique=True), min_size=1, max_size=12),
    passages=st.integers(3, 8),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_passages_hold_the_answer_exactly_where_they_should(
    sources: list[list[int]], passages: int, repeats: int, seed: int
) -> None:
    examples = {f"e{n}": example(n, *named) for n, named in enumerate(sources)}
    for row in mixed(list(examples.values()), seed, passages=passages, repeats=repeats):
        gold = [IDS[int(source.rpartition(" ")[2])] for source in examples[row.example_id].sources]
        assert len(set(row.passages)) == len(row.passages) == (0 if row.kind == "closed-book" else passages)
        answer = row.messages[-1]["content"]
        if row.kind == "gold":
            assert [row.passages[place - 1] for place in row.gold] == gold
            assert parse_citations(answer) == row.gold
        elif row.kind == "refusal":
            assert not gold or not set(gold) <= set(row.passages)
            assert len(gold) != 1 or gold[0] not in row.passages
            assert (answer, row.gold) == (REFUSAL, ())
        else:
            assert parse_citations(answer) == ()
            assert "Passages:" not in row.messages[-2]["content"]


def test_prompt_shows_the_passages_that_the_row_names() -> None:
    texts = {chunk.id: chunk.passage for chunk in SNAPSHOT.chunks()}
    for row in mixed(ONE_SOURCE):
        if row.kind != "closed-book":
            assert shown(row) == [texts[name] for name in row.passages]
            assert row.messages[0] == {"role": "system", "content": "Style."}


def test_gold_stands_at_every_place_about_as_often() -> None:
    places = Counter(
        row.gold[0] for seed in range(20) for row in mixed(ONE_SOURCE, seed, gold_share=1, closed_book_share=0)
    )
    # 2,000 rows over 4 places: 500 each, and 100 away from it is more than five standard deviations.
    assert set(places) == {1, 2, 3, 4}
    assert all(abs(count - 500) < 100 for count in places.values())


def test_gold_is_shown_even_where_search_never_finds_it() -> None:
    def blind(questions: Sequence[str]) -> list[list[Hit]]:
        return [SNAPSHOT.hits()[20:] for _ in questions]

    settings_ = MixSection(passages=4, gold_share=1, closed_book_share=0)
    rows = mix(ONE_SOURCE[:10], (), SNAPSHOT, blind, settings_, system="", refusal=REFUSAL, seed=0).rows  # type: ignore[arg-type]
    assert all(row.passages[row.gold[0] - 1] == IDS[int(row.example_id[1:])] for row in rows)


def test_comparison_cites_both_sources_at_their_places() -> None:
    rows = mixed([example(n, n, n + 1) for n in range(30)], gold_share=1, closed_book_share=0)
    for row in rows:
        first = int(row.example_id[1:])
        assert [row.passages[place - 1] for place in row.gold] == [IDS[first], IDS[first + 1]]
        assert row.messages[-1]["content"].startswith(f"Source: [{row.gold[0]}][{row.gold[1]}] Section")


def test_question_over_two_passages_is_refused_where_only_one_was_found() -> None:
    rows = mixed([example(n, n, n + 1) for n in range(30)], gold_share=0, closed_book_share=0)
    found = Counter(
        len({IDS[int(row.example_id[1:])], IDS[int(row.example_id[1:]) + 1]} & set(row.passages)) for row in rows
    )
    assert set(found) == {0, 1} and min(found.values()) >= 5


def test_half_an_answer_is_never_a_whole_one() -> None:
    # The document as a source, and a section of it: one passage holds both.
    both = example(1, 3, sources=(Source("doc3.md"), Source("doc3.md#Section 3")))
    for seed in range(10):
        (row,) = mixed([both], seed, gold_share=0, closed_book_share=0)
        assert row.kind == "refusal" and IDS[3] not in row.passages


def test_a_long_section_is_gold_by_any_of_its_passages() -> None:
    snapshot = FakeSnapshot(
        [("a.md", "Long", f"part {n}") for n in range(3)] + [("b.md", f"{n}", "") for n in range(9)]
    )
    long = [Example("e", "q", "Answer [1]", sources=(Source("a.md#Long"),))]
    seen = set()
    for seed in range(20):
        for share in (0.0, 1.0):
            settings_ = MixSection(passages=3, gold_share=share, closed_book_share=0)
            (row,) = mix(
                long, (), snapshot, lambda _: [snapshot.hits()], settings_, system="", refusal=REFUSAL, seed=seed
            ).rows  # type: ignore[arg-type]
            parts = [name for name in row.passages if name.startswith("a.md")]
            assert len(parts) == share
            seen.update(parts)
    assert len(seen) == 3


def test_closed_book_rows_keep_the_form_and_lose_the_marks() -> None:
    (row,) = mixed([example(7, 1, 2)], closed_book_share=1)
    assert row.messages[-1]["content"] == "Source: Section\nAnswer: 7"
    assert row.messages[-2]["content"] == "Question: Question 7?"


def test_example_without_sources_is_a_refusal_in_its_own_words() -> None:
    (row,) = mixed([example(1, answer="Nobody knows that.")], gold_share=1, closed_book_share=0)
    assert (row.kind, row.messages[-1]["content"], len(row.passages)) == ("refusal", "Nobody knows that.", 4)


def test_marks_that_name_no_source_are_left_alone() -> None:
    (row,) = mixed([example(1, 5, answer="Since [2026], see [1; 1] and [9]")], gold_share=1, closed_book_share=0)
    place = row.gold[0]
    assert row.messages[-1]["content"] == f"Since [2026], see [{place}; {place}] and [9]"


def test_repeats_show_an_example_with_other_passages() -> None:
    rows = mixed(ONE_SOURCE[:1], repeats=4, gold_share=1, closed_book_share=0)
    distractors = [frozenset(row.passages) - {IDS[0]} for row in rows]
    assert len(rows) == 4
    assert len(set().union(*distractors)) == 12  # three others in each, and none twice


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), fewest=st.integers(1, 6))
def test_rows_hold_a_random_number_of_passages_from_the_fewest_on(seed: int, fewest: int) -> None:
    rows = mixed([example(n, n, n + 1) for n in range(38)] + ONE_SOURCE, seed, fewest_passages=fewest)
    with_passages = [row for row in rows if row.kind != "closed-book"]
    counts = {len(row.passages) for row in with_passages}
    assert counts <= set(range(min(fewest, 4), 5))
    if fewest < 4:
        assert {max(fewest, 2), 4} <= counts
    assert all(len(set(row.gold)) in (1, 2) for row in with_passages if row.kind == "gold")


def test_seed_decides_all() -> None:
    assert mixed(ONE_SOURCE, seed=3) == mixed(ONE_SOURCE, seed=3)
    assert mixed(ONE_SOURCE, seed=3) != mixed(ONE_SOURCE, seed=4)


def test_unknown_source_is_refused_with_its_example() -> None:
    lost = [example(1, 1), example(2, sources=(Source("doc1.md#No such section"),))]
    with pytest.raises(UsageError, match=r"Example 'e2' names the source 'doc1\.md#No such section'"):
        mixed(lost)


def test_more_sources_than_passages_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Example 'e1' names 3 sources, .*data\.mix\.passages = 2"):
        mixed([example(1, 1, 2, 3)], passages=2)


def test_document_names_may_hold_a_hash() -> None:
    snapshot = FakeSnapshot([("c#.md", "Generics", "Text."), ("c.md", "Pointers", "Text.")])
    examples = [Example("e", "q", "a [1]", sources=(Source("c#.md#Generics"),))]
    settings_ = MixSection(passages=1, gold_share=1, closed_book_share=0)
    (row,) = mix(examples, (), snapshot, lambda _: [[]], settings_, system="", refusal="", seed=0).rows  # type: ignore[arg-type]
    assert row.passages == (snapshot.chunks()[0].id,)


@pytest.mark.medium
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 0.9), closed=st.floats(0, 0.1), count=st.integers(1, 30))
def test_general_rows_make_up_their_share(share: float, closed: float, count: int) -> None:
    general = [Example(f"g{n}", f"General {n}", "Hello [1]") for n in range(count)]
    rows = mixed(ONE_SOURCE, general=general, general_share=share, closed_book_share=closed)
    counted = kinds(rows)
    assert counted["general"] == round(100 * share / (1 - share))
    assert abs(counted["closed-book"] - closed * len(rows)) <= 1
    # No instruction is drawn again before all were drawn, and none is rewritten.
    drawn = Counter(row.example_id for row in rows if row.kind == "general")
    assert max(drawn.values(), default=0) - min((drawn[item.id] for item in general), default=0) <= 1
    for row in rows:
        if row.kind == "general":
            assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
            assert row.messages[-1]["content"] == "Hello [1]"


def test_earlier_turns_and_an_own_system_prompt_are_kept() -> None:
    system = {"role": "system", "content": "Mine."}
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    own, shared = (
        mixed([example(1, 1, history=history)], gold_share=1, closed_book_share=0)[0].messages
        for history in ((system, *turns), turns)
    )
    assert own[:3] == (system, *turns)
    assert shared[:3] == ({"role": "system", "content": "Style."}, *turns)


def test_row_survives_writing_and_reading() -> None:
    for row in mixed(ONE_SOURCE[:20]):
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), passages=st.integers(2, 6))
def test_a_worse_answer_cites_the_sources_as_the_answer_does_and_beyond_them_a_passage_without_it(
    seed: int, passages: int
) -> None:
    worse = example(3, 3, rejected="Maybe [1], or [2], or [9].")
    (row,) = mixed([worse], seed, gold_share=1, closed_book_share=0, passages=passages)
    right, wrong, nowhere = parse_citations(row.rejected)
    assert right == row.gold[0] and row.passages[right - 1] == IDS[3]
    assert 1 <= wrong <= passages and row.passages[wrong - 1] != IDS[3]
    assert nowhere == 9


def test_a_worse_answer_without_passages_has_no_citations_either() -> None:
    (row,) = mixed([example(7, 1, rejected="Source: [1] Section\nAnswer: 8")], closed_book_share=1)
    assert row.rejected == "Source: Section\nAnswer: 8"


def test_a_worse_answer_that_becomes_the_answer_is_none() -> None:
    # It differs in its citation alone, which closed-book rows have not; in gold rows it is another passage's.
    cites_another = example(7, 1, answer="Eight [1]", rejected="Eight [2]")
    (closed,) = mixed([cites_another], closed_book_share=1)
    (gold,) = mixed([cites_another], gold_share=1, closed_book_share=0)
    assert (closed.rejected, gold.rejected != "") == ("", True)
    for share in (0.0, 1.0):
        (row,) = mixed([example(1, answer=REFUSAL, rejected=f" {REFUSAL}\n")], gold_share=share, closed_book_share=0)
        assert (row.kind, row.rejected) == ("refusal", "")


def test_where_refusing_is_right_answering_is_worse() -> None:
    answers = example(3, 3, rejected="Source: [1] Section\nAnswer: 99")
    (row,) = mixed([answers], gold_share=0, closed_book_share=0)
    assert (row.messages[-1]["content"], row.rejected) == (REFUSAL, "Source: [1] Section\nAnswer: 99")
    # Where the worse answer is the refusal itself, which is right here, the answer from nowhere is worse.
    refuses = example(3, 3, rejected=REFUSAL)
    (row,) = mixed([refuses], gold_share=0, closed_book_share=0)
    assert (row.messages[-1]["content"], row.rejected) == (REFUSAL, refuses.answer)
    (row,) = mixed([refuses], gold_share=1, closed_book_share=0)
    assert row.rejected == REFUSAL


def test_general_rows_keep_their_worse_answer_as_it_is() -> None:
    general = [Example("g", "Hello", "Hello [1]", rejected="No [2]")]
    rows = mixed(ONE_SOURCE[:9], general=general, general_share=0.1, closed_book_share=0)
    assert [row.rejected for row in rows if row.kind == "general"] == ["No [2]"]


VALUE = r"(?m)^Answer: (.+)$"
PARTS = [("rest.md", "Limits", f"Part {letter} says nothing.") for letter in "abcde"]
PAGES = FakeSnapshot(
    [
        *PARTS,
        ("rest.md", "Limits", "Alpha ends on 30 April 2026."),
        ("faq.md", "Questions", "Alpha ends on 2026-04-30, as the limits say."),
        ("other.md", "Beta", "Beta ends on 2026-04-30."),
        *((f"o{n}.md", "Else", f"Something else {n}, version 14.25.") for n in range(9)),
    ]
)
LIMIT = Example("e", "When does alpha end?", "Source: [1]\nAnswer: 2026-04-30", sources=(Source("rest.md#Limits"),))


def mixed_pages(share: float, seed: int, example: Example = LIMIT, **values: Any) -> Mixed:
    section = MixSection(**{"passages": 4, "gold_share": share, "closed_book_share": 0, **values})
    return mix(
        [example], (), PAGES, lambda asked: [PAGES.hits() for _ in asked], section, system="", refusal=REFUSAL,
        seed=seed, value=VALUE,
    )  # type: ignore[arg-type]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), passages=st.integers(1, 8))
def test_a_refusal_never_holds_the_answer_and_a_gold_row_cites_the_passage_that_does(seed: int, passages: int) -> None:
    (refusal,) = mixed_pages(0, seed, passages=passages).rows
    assert "2026" not in refusal.messages[-2]["content"]
    (gold,) = mixed_pages(1, seed, passages=passages).rows
    (cited,) = parse_citations(gold.messages[-1]["content"])
    assert cited == gold.gold[0] and "30 April 2026" in shown(gold)[cited - 1]
    # The same sentence elsewhere counts as gold, the same day of something else does not.
    told = {place for place, text in enumerate(shown(gold), start=1) if "Alpha ends on" in text}
    assert set(gold.gold) == told


def test_what_cannot_be_decided_is_counted_and_kept_or_dropped() -> None:
    unheard = Example("u", "Which?", "Source: [1]\nAnswer: 4.2", sources=(Source("o1.md"),))
    kept = mixed_pages(1, 0, unheard)
    assert (kept.undecided, len(kept.rows)) == (("u",), 1)
    with pytest.raises(UsageError, match="None of the 1 examples has a passage that holds its answer"):
        mixed_pages(1, 0, unheard, undecided="drop")


def test_a_section_that_stands_twice_is_refused_with_the_candidates() -> None:
    snapshot = FakeSnapshot([("node.md", "x", "2027"), ("node.md", "x", "2028"), *PARTS])
    paths = iter((("Node", "Node 22", "Support"), ("Node", "Node 24", "Support"), *((p[1],) for p in PARTS)))
    snapshot._chunks = [replace(chunk, heading_path=path) for chunk, path in zip(snapshot.chunks(), paths, strict=True)]

    def gold_of(source: str) -> tuple[str, ...]:
        named = Example("e", "q", "a", sources=(Source(source),))
        return tuple(hit.text for hit in gold_passages([named], snapshot)["e"][0])  # type: ignore[arg-type]

    with pytest.raises(UsageError, match=r"may mean .*Node > Node 22 > Support. or .*Node > Node 24 > S"):
        gold_of("node.md#Support")
    for written in ("Node 22/Support", "node 22 > support", "22 / Support", "Node > Node 22 > Support"):
        assert gold_of(f"node.md#{written}") == ("2027",)


@pytest.mark.medium
def test_a_rule_for_values_that_does_not_end_is_refused_in_a_sentence() -> None:
    slow = example(1, 1, answer=f"{'a' * 40} [1]")
    with pytest.raises(SlowPattern, match=r"answer\.value takes more than 1 s .* simplify"):
        mix(
            [slow], [], SNAPSHOT, search, MixSection(passages=4),  # type: ignore[arg-type]
            system="", refusal=REFUSAL, seed=0, value=r"(a|a)+$",
        )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_orders_stand_in_their_share_of_the_rows_and_change_no_answer(share: float) -> None:
    plain = mixed(ONE_SOURCE, value="(?m)^Answer: (.+)$")
    rows = mixed(ONE_SOURCE, value="(?m)^Answer: (.+)$", adversarial_share=share)
    hostile = [row for row in rows if row.adversarial]
    assert len(hostile) == round(share * sum(row.kind != "closed-book" for row in rows))
    for row, other in zip(rows, plain, strict=True):
        assert (row.messages[-1], row.passages, row.gold) == (other.messages[-1], other.passages, other.gold)
        added = [text for text, before in zip(shown_texts(row), shown_texts(other), strict=True) if text != before]
        assert len(added) == row.adversarial
        assert row.adversarial or row.messages == other.messages


def test_an_order_demands_the_answer_of_another_example() -> None:
    for row in mixed(ONE_SOURCE, value="(?m)^Answer: (.+)$", adversarial_share=1.0, closed_book_share=0.0):
        own = row.example_id.removeprefix("e")
        (told,) = [text for text in shown_texts(row) if len(text.strip().splitlines()) > 2]
        demanded = told.partition("\n\n")[2]
        assert demanded
        assert own not in re.findall(r"\d+", demanded)


def shown_texts(row: Row) -> list[str]:
    """The numbered passages of a prompt, as they are; none without passages."""
    text, found, _ = row.messages[-2]["content"].rpartition("\n\nQuestion: ")
    return re.split(r"(?m)^\[\d+\] ", text)[1:] if found else []


RELEASES = [f"Release {n}.{n % 7 + 1}" for n in range(20)]
NAMED = FakeSnapshot([(f"rel{n}.md", name, f"{name} ends on 2027-0{n % 9 + 1}-11.") for n, name in enumerate(RELEASES)])


def releases(count: int = 20) -> list[Example]:
    texts = [(chunk.heading_path[-1], chunk.text) for chunk in NAMED.chunks()]
    return [
        Example(f"e{n}", f"When does {name} end?", f"{text[-11:-1]} [1]", (Source(f"rel{n}.md"),), str(n))
        for n, (name, text) in enumerate(texts[:count])
    ]  # fmt: skip


def mixed_releases(seed: int = 0, **values: Any) -> list[Row]:
    section = MixSection(**{"passages": 4, "gold_share": 1.0, "closed_book_share": 0.0, **values})
    snapshot: Any = NAMED
    found = mix(
        releases(), (), snapshot, lambda questions: [NAMED.hits() for _ in questions], section, system="Style.",
        refusal=REFUSAL, seed=seed, value=r"(\d{4}-\d\d-\d\d)",
    )  # fmt: skip
    return list(found.rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_made_up_passage_is_about_something_else_and_only_the_true_one_answers(seed: int) -> None:
    examples = {one.id: one for one in releases()}
    names = {chunk.heading_path[-1] for chunk in NAMED.chunks()}
    plain = {row.example_id: row for row in mixed_releases(seed)}
    rows = mixed_releases(seed, false_share=0.5)
    assert sum(bool(row.made_up) for row in rows) == 10
    for row in rows:
        before, value = plain[row.example_id], examples[row.example_id].answer.split()[0]
        name = examples[row.example_id].question.removeprefix("When does ").removesuffix(" end?")
        told, was = shown(row), shown(before)
        assert (row.gold, row.messages[-1], len(told)) == (before.gold, before.messages[-1], len(was))
        changed = tuple(place for place, (one, other) in enumerate(zip(told, was, strict=True), 1) if one != other)
        assert changed == row.made_up and not set(row.made_up) & set(row.gold)
        for place in row.made_up:
            made = told[place - 1]
            assert not re.search(rf"\b{re.escape(name)}\b", made) and value not in made
            other = re.search(r"(Release \d+\.\d+) ends on \d{4}-\d\d-\d\d\.", made)
            assert (other and other[1] not in names and f"> {other[1]}" in made) or other[1] in made.split("\n")[0]
            assert row.passages[place - 1].endswith("(made up)")


def test_nothing_is_made_up_where_a_passage_has_no_name_or_no_room() -> None:
    assert not any(row.made_up for row in mixed(ONE_SOURCE, false_share=1.0))
    assert not any(row.made_up for row in mixed_releases(passages=1, false_share=1.0))


def test_a_row_without_the_key_of_made_up_passages_is_read() -> None:
    values = {key: value for key, value in mixed(ONE_SOURCE)[0].to_json().items() if key != "made_up"}
    assert Row.from_json(values).made_up == ()


TAGGED = [example(n, n % SECTIONS, tags=("often",) if n < 81 else ("rare",) if n < 97 else ()) for n in range(100)]


def test_temperature_evens_out_the_tags_and_keeps_the_number_of_rows() -> None:
    def counted(temperature: float) -> list[int]:
        of = {one.id: next(iter(one.tags), "") for one in TAGGED}
        tags = Counter(of[row.example_id] for row in mixed(TAGGED, temperature=temperature))
        return [tags["often"], tags["rare"], tags[""]]

    assert counted(1.0) == [81, 16, 3]
    # 9 : 4 : sqrt(3), of 100 rows.
    assert counted(2.0) == [61, 27, 12]
    assert counted(1e9) == [34, 33, 33]


def test_examples_of_a_rare_tag_are_used_about_equally_often_each_time_with_other_passages() -> None:
    rows = mixed(TAGGED, temperature=1e9, gold_share=1.0, closed_book_share=0.0)
    times = Counter(row.example_id for row in rows)
    rare = [times[one.id] for one in TAGGED if one.tags == ("rare",)]
    assert set(rare) == {2, 3}
    again = [set(row.passages) for row in rows if row.example_id == "e97"]
    assert len(again) == 11 and len({frozenset(one) for one in again}) > 5


def test_rows_that_wait_in_a_file_are_those_that_wait_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(to_lines(one.to_json() for one in TAGGED))
    # Few at a time, so that searches come in batches and nothing is kept from one to the next.
    monkeypatch.setattr("ragft.data.mix._AT_ONCE", 7)
    for values in ({}, {"repeats": 2, "adversarial_share": 0.3}, {"temperature": 3.0, "false_share": 0.5}):
        section = MixSection(passages=3, gold_share=0.8, closed_book_share=0.1, **values)  # type: ignore[arg-type]
        found = mix(
            LinesOf(path, Example.from_json), (), SNAPSHOT, search, section, system="Style.", refusal=REFUSAL, seed=4,  # type: ignore[arg-type]
            waiting=tmp_path / "waiting.jsonl",
        )  # fmt: skip
        assert list(found.rows) == mixed(TAGGED, 4, passages=3, **values)
        assert found.rows[3] == list(found.rows)[3] == found.rows[-len(found.rows) + 3]
