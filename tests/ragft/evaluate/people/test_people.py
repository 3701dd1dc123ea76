"""Blind sheets: nothing on them tells the setups apart, and what comes back is checked row by row."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.browsers import barriers_in_file
from support.judges import answered, asked, chance

from ragft.errors import UsageError
from ragft.evaluate.people.filled import Filled, read_sheets
from ragft.evaluate.people.page import sheet_page
from ragft.evaluate.people.sheets import Item, Key, make_sheet, sheet_csv
from ragft.evaluate.people.summary import label_rows, opinion

QUESTIONS = asked(60, documents=20)


Answer = Callable[[int], str | None]


def made(repeated: float = 0.2, seed: int = 0, **texts: Answer) -> tuple[Key, list[Item]]:
    """A sheet on 60 questions, and its key."""
    texts = texts or {"anna": lambda n: f"yes, {n}", "bert": lambda n: f"=no, {n}"}
    return make_sheet(
        QUESTIONS, answered(QUESTIONS, **texts), "anna", "bert", criterion="overall", asked="Which is better?",
        reference=True, repeated=repeated, seed=seed,
    )  # fmt: skip


def filled(path: Path, key: Key, items: Sequence[Item], choose: Callable[[str], str], person: str = "Ann") -> Path:
    """The sheet as somebody filled it; `choose` names a setup or `tie`, by the item."""
    rows = list(csv.DictReader(io.StringIO(sheet_csv(key, items).decode("utf-8-sig"), newline="")))
    for row, item in zip(rows, key.items, strict=True):
        said = choose(item.item)
        first = key.a if item.first == "a" else key.b
        row |= {"person": person, "choice": {first: "1", "tie": "TIE ", "": ""}.get(said, "2")}
    return write(path, rows)


def write(path: Path, rows: Sequence[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sheet_names_no_setup_and_the_key_tells_which_is_which() -> None:
    key, items = made()
    for shown in (sheet_csv(key, items).decode(), sheet_page(key, items)):
        assert "anna" not in shown and "bert" not in shown and key.sheet in shown
    for item, told in zip(items, key.items, strict=True):
        assert item.answer_1.startswith("yes" if told.first == "a" else "=no")
    firsts = [told.first for told in key.items if told.repeats is None]
    assert 15 < firsts.count("a") < 45


def test_sides_and_order_are_drawn_by_the_seed() -> None:
    assert made(seed=1) == made(seed=1)
    assert made(seed=1)[0].seal != made(seed=2)[0].seal


def test_repeated_pairs_come_later_with_the_sides_exchanged() -> None:
    key, items = made()
    again = [told for told in key.items if told.repeats is not None]
    assert len(again) == 12
    by_name = {item.item: item for item in items}
    for told in again:
        one, other = by_name[str(told.repeats)], by_name[told.item]
        assert (one.answer_1, one.answer_2) == (other.answer_2, other.answer_1)
        assert int(told.item) - int(str(told.repeats)) >= 3 or int(told.item) > 68


def test_pairs_that_need_no_opinion_are_settled_and_not_shown() -> None:
    key, items = made(
        repeated=0.0,
        anna=lambda n: None if n == 0 else f"same {n}" if n < 10 else f"yes {n}",
        bert=lambda n: f"same {n}" if n < 10 else f"no {n}",
    )
    assert len(items) == 50
    assert [(row.question_id, row.preference, row.why) for row in key.settled[:2]] == [
        ("q0", "b", "unanswered"), ("q1", "tie", "identical"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="alike"):
        made(anna=lambda n: "x", bert=lambda n: "x")


def test_the_page_is_one_file_that_loads_nothing_and_shows_texts_as_they_are() -> None:
    key, items = made(anna=lambda n: f"</script><script>alert({n})</script><b>", bert=lambda n: "العربية <img src=x>")
    page = sheet_page(key, items)
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|fetch\(|XMLHttp", page.split("<main>")[0])
    assert page.count("<script") == page.count("</script>") == 2
    assert "default-src 'none'" in page and page.count('dir="auto"') >= 4
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data and json.loads(data[1])["items"][0]["answer_1"] in {items[0].answer_1}
    assert key.seal in page


@pytest.mark.slow
def test_nothing_on_the_page_shuts_anyone_out(browser: Any, tmp_path: Path) -> None:
    assert barriers_in_file(browser, tmp_path, sheet_page(*made())) == []


def test_the_seal_is_the_hash_of_the_key_file() -> None:
    key, _ = made()
    assert hashlib.sha256(key.to_bytes()).hexdigest() == key.seal
    assert Key.from_bytes(key.to_bytes(), "key.json") == key
    with pytest.raises(UsageError, match="no key of a sheet"):
        Key.from_bytes(b'{"kind": "else"}', "key.json")


def test_filled_sheets_say_who_prefers_what(tmp_path: Path) -> None:
    key, items = made()
    questions = {told.item: told.question_id for told in key.items}
    likes = lambda item: "anna" if chance(questions[item]) < 0.8 else "bert"  # noqa: E731
    paths = [filled(tmp_path / f"{who}.csv", key, items, likes, who) for who in ("Ann", "Bo")]
    found = opinion(key, read_sheets(paths, key, partial=False), seed=0)
    share = sum(chance(f"q{n}") < 0.8 for n in range(60)) / 60
    assert found.rate.mean == pytest.approx(share) and found.rate.n == 60 and found.rate.clusters == 20
    assert found.p < 0.01
    assert [person.person for person in found.people] == ["Ann", "Bo"]
    assert found.people[0].wins + found.people[0].losses == 60
    assert found.itself.raw.mean == found.people[0].itself.mean == 1.0 and found.itself.raw.n == 24
    assert found.alpha is not None and found.alpha.coefficient == pytest.approx(1.0)
    assert found.kappa is not None and found.kappa.coefficient == pytest.approx(1.0)


@pytest.mark.medium
def test_people_who_toss_coins_agree_neither_with_others_nor_with_themselves(tmp_path: Path) -> None:
    key, items = made(repeated=1.0)
    paths = [
        filled(
            tmp_path / f"{who}.csv", key, items, lambda item, who=who: ["anna", "bert"][chance(who, item) < 0.5], who
        )
        for who in "ABC"
    ]
    found = opinion(key, read_sheets(paths, key, partial=False), seed=0)
    assert found.kappa is None and found.alpha is not None and found.alpha.coefficient is not None
    assert abs(found.alpha.coefficient) < 0.25
    assert found.itself.raw.mean is not None and 0.35 < found.itself.raw.mean < 0.65


@pytest.mark.medium
def test_somebody_who_always_takes_the_first_one_prefers_nothing(tmp_path: Path) -> None:
    key, items = made(repeated=1.0)
    rows = rows_of(filled(tmp_path / "a.csv", key, items, lambda item: "anna"))
    sheets = read_sheets([write(tmp_path / "b.csv", [{**row, "choice": "1"} for row in rows])], key, partial=False)
    found = opinion(key, sheets, seed=0)
    assert found.first.mean == 1.0 and found.itself.raw.mean == 0.0 and found.p > 0.05


def test_what_a_spreadsheet_does_to_a_sheet_is_no_edit(tmp_path: Path) -> None:
    key, items = made(anna=lambda n: f"Line {n}\nLine", bert=lambda n: f"-no, {n}")
    rows = rows_of(filled(tmp_path / "a.csv", key, items, lambda item: "anna"))
    assert any(row["answer_1"].startswith("'-no") for row in rows)
    saved = [
        {**row, "item": str(int(row["item"])), "answer_1": row["answer_1"].replace("\n", "\r\n").removeprefix("'")}
        for row in reversed(rows)
    ]
    (sheet,) = read_sheets([write(tmp_path / "b.csv", saved, ";")], key, partial=False)
    assert len(sheet.choices) == len(items)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[4].update(choice=""), "1 of 72 items have no choice, the first in row 6"),
        (lambda rows: rows.pop(4), "1 of 72 items have no choice, item 005"),
        (lambda rows: rows[4].update(choice="both"), "row 6: the choice is 'both'; write 1, 2 or tie"),
        (lambda rows: rows[4].update(answer_2="better"), "row 6: the texts of item 005 are not those of the sheet"),
        (lambda rows: rows[4].update(question="?"), "row 6: the texts of item 005"),
        (lambda rows: rows[4].update(sheet="0" * 16), "row 6: this is sheet '0000000000000000'"),
        (lambda rows: rows[4].update(item="900"), "row 6: the sheet has no item '900'"),
        (lambda rows: rows.append(rows[4]), "row 74: item 005 stands in row 6 already"),
        (lambda rows: rows[4].update(person="Bo"), "row 6: another person"),
        (lambda rows: [row.pop("choice") for row in rows], "row 2: the column 'choice' is missing"),
    ],
)
def test_a_sheet_that_is_half_filled_edited_or_wrong_is_said_with_its_row(
    tmp_path: Path, change: Callable[[list[dict[str, str]]], object], said: str
) -> None:
    key, items = made()
    rows = rows_of(filled(tmp_path / "sheet.csv", key, items, lambda item: "anna"))
    change(rows)
    with pytest.raises(UsageError) as refused:
        read_sheets([write(tmp_path / "ann.csv", rows)], key, partial=False)
    assert said in str(refused.value) and "ann.csv" in str(refused.value)


def test_a_half_filled_sheet_counts_as_far_as_it_goes_where_that_is_asked_for(tmp_path: Path) -> None:
    key, items = made(repeated=0.0)
    path = filled(tmp_path / "ann.csv", key, items, lambda item: "anna" if int(item) <= 20 else "", person="")
    (sheet,) = read_sheets([path], key, partial=True)
    found = opinion(key, [sheet], seed=0)
    assert sheet.person == "ann" and found.people[0].missing == found.unjudged == 40 and found.rate.n == 20


def test_two_sheets_of_one_person_are_refused(tmp_path: Path) -> None:
    key, items = made()
    paths = [filled(tmp_path / f"{n}.csv", key, items, lambda item: "tie") for n in (1, 2)]
    with pytest.raises(UsageError, match=r"2\.csv is of 'Ann', as another sheet is"):
        read_sheets(paths, key, partial=False)


def test_choices_become_labels_without_the_repeated_pairs() -> None:
    key, _ = made()
    rows = list(label_rows(key, [Filled("Ann", {told.item: "1" for told in key.items})]))
    assert len(rows) == 60
    assert {row["preference"] for row in rows} == {"a", "b"} and rows[0]["person"] == "Ann"
    firsts = {told.question_id: told.first for told in key.items if told.repeats is None}
    assert all(row["preference"] == firsts[row["question_id"]] for row in rows)
