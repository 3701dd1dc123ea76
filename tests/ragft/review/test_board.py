"""Conflicts, what settles them, published examples of agreement, and what becomes of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.reviews import ROWS, reviewing, say, write_rows

from ragft.data.examples import read_examples
from ragft.errors import UsageError
from ragft.review.board import agreements
from ragft.review.items import read_rows
from ragft.stages.review import apply


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "examples.jsonl")


def test_reviewers_conflict_where_they_want_different_rows(file: Path) -> None:
    with reviewing(file) as (review, _):
        for name in ("Anna", "Ben"):
            say(review, name, 0, "edit", fields={"answer": "13 euros [1]"})
        say(review, "Anna", 1, "accept")
        say(review, "Ben", 1, "edit", fields={"answer": "At ten [1]"})
        say(review, "Anna", 2, "reject")
        say(review, "Ben", 2, "reject", reason="another reason")
        assert [one.state() for one in review.standings()] == ["edit", "conflict", "reject", "undecided"]
        say(review, "Cleo", 1, "edit", fields={"answer": "At ten [1]"})
        standing = review.standings()[1]
        assert (standing.state(), standing.state("majority")) == ("conflict", "edit")
        say(review, "Dora", 1, "accept")
        assert review.standings()[1].state("majority") == "conflict"
        say(review, "Cleo", 1, "reject", settles=True)
        assert review.standings()[1].state() == "reject"
        review.store.undo("Cleo")
        assert review.standings()[1].state() == "conflict"


def coded(tmp_path: Path, by_reviewer: dict[str, str]) -> float | None:
    """Alpha of what reviewers said of rows in turn: a letter of a verdict, or a dot for nothing."""
    count = len(next(iter(by_reviewer.values())))
    rows = [{"question": f"Is {number} right?", "answer": "Yes."} for number in range(count)]
    with reviewing(write_rows(tmp_path / "rows.jsonl", rows)) as (review, _):
        verdicts: dict[str, Any] = {"a": "accept", "e": "edit", "r": "reject"}
        review.store.add(
            review.decision(
                review.items[place], name, verdicts[letter], reason="wrong",
                fields={"answer": "No."} if letter == "e" else None,
            )
            for name, letters in by_reviewer.items()
            for place, letter in enumerate(letters)
            if letter != "."
        )  # fmt: skip
        told = agreements(review.standings())
    coefficients = [one.coefficient for one in told.kappa.values()]
    return told.alpha.coefficient if len(coefficients) != 1 else coefficients[0]


def test_kappa_of_a_published_example(tmp_path: Path) -> None:
    """Cohen (1960): 200 cases and three categories, 0.70 agreement where 0.41 is expected by chance."""
    table = {"aa": 88, "ae": 14, "ar": 18, "ea": 10, "ee": 40, "er": 10, "ra": 2, "re": 6, "rr": 12}
    anna, ben = ("".join(pair[side] * count for pair, count in table.items()) for side in (0, 1))
    assert coded(tmp_path, {"Anna": anna, "Ben": ben}) == pytest.approx(0.492, abs=0.0005)


def test_alpha_of_a_published_example(tmp_path: Path) -> None:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section B: two observers, nominal, two values;
    a third reviewer who says nothing of what the others do is missing everywhere."""
    alpha = coded(tmp_path, {"Meg": "araaaaaara.", "Owen": "rrraaraaaa.", "Cleo": "..........a"})
    assert alpha == pytest.approx(0.095, abs=0.0005)


def test_what_was_accepted_or_edited_is_written_and_the_rest_told(file: Path, tmp_path: Path) -> None:
    before, out = file.read_bytes(), tmp_path / "reviewed.jsonl"
    with reviewing(file) as (review, rows):
        for name in ("Anna", "Ben"):
            say(review, name, 0, "accept")
        say(review, "Anna", 1, "reject", reason="It opens at ten.")
        say(review, "Anna", 2, "edit", fields={"answer": "Nobody knows.", "sources": "hours.md#Sundays"})
        applied, log = apply(review, rows, out, None)
        assert [row.get("id") for row in applied.rows] == ["e1", "e3"]
        with pytest.raises(UsageError, match="exists already: name another with --apply"):
            apply(review, rows, out, None)
    first, third = (json.loads(line) for line in out.read_text().splitlines())
    assert first == {**ROWS[0], "reviewed_by": ["Anna", "Ben"]}
    assert third["messages"][-1] == {"role": "assistant", "content": "Nobody knows."}
    assert (third["sources"], third["reviewed_by"]) == (["hours.md#Sundays"], ["Anna"])
    rejected, undecided = (json.loads(line) for line in log.read_text().splitlines())
    assert (rejected["line"], rejected["why"], rejected["row"]) == ("line 2", "rejected", ROWS[1])
    assert rejected["decisions"] == [{"reviewer": "Anna", "verdict": "reject", "reason": "It opens at ten."}]
    assert (undecided["why"], undecided["row"]) == ("undecided", ROWS[3])
    assert file.read_bytes() == before
    told: list[str] = []
    assert len(read_examples(out, told=told.append)) == 2 and told == []  # what ragft writes is no stranger's field


def test_nothing_is_written_where_nothing_was_accepted(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "reviewed.jsonl"
    with reviewing(file) as (review, rows):
        say(review, "Anna", 0, "reject", reason="Nobody asks that.")
        with pytest.raises(UsageError, match=f"None of the {len(rows.lines)} rows was accepted or edited"):
            apply(review, rows, out, None)
    assert list(tmp_path.glob("reviewed*")) == []


def test_questions_may_lose_and_gain_their_answers(file: Path) -> None:
    with reviewing(file) as (review, _):
        item = review.items[3]
        assert item.fields["answers"] == "yes\nDogs may travel"
        refused = item.made({**item.fields, "answers": ""})
        assert (refused["answers"], refused["answerable"]) == ([], False)
        assert item.made({**item.fields, "answers": "no\n\n in a bag "})["answers"] == ["no", "in a bag"]


def test_rows_of_one_content_are_decided_once_and_those_that_do_not_count_are_passed_over(tmp_path: Path) -> None:
    row = {"question": "Who?", "answer": "Nobody."}
    rows = read_rows(write_rows(tmp_path / "a.jsonl", [row, {**row, "weight": 0}, row]), "FILE")
    assert (len(rows.items), rows.lines, rows.idle) == (1, (0, 0), 1)
    with pytest.raises(UsageError, match="line 2: duplicate id 'x'"):
        read_rows(write_rows(tmp_path / "a.jsonl", [{"id": "x", **row}, {"id": "x", **row, "answer": "I."}]), "")


def test_the_sentence_that_supports_an_answer_is_marked(file: Path) -> None:
    with reviewing(file) as (review, _):
        supports = [review.passages.of(item) for item in review.items]
    (passage,) = supports[0].passages
    assert (passage.source, passage.evidence, supports[0].remark) == (
        "tickets.md#Prices",
        "A ticket costs 12 euros.",
        "",
    )
    assert "".join(text for text, _ in passage.pieces).startswith("Trains > Prices\nTickets are sold")
    assert supports[1].remark.startswith("Words alone cannot tell whether they support the answer: ")
    assert supports[2].passages == () and supports[2].remark == "It names no source."
    assert supports[3].remark == "The index does not hold 'gone.md'."
