"""`ragft data augment`: shares, what stays, evaluation questions left alone, and a model that words questions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain
from support.judges import Judge, serving

from ragft.data.examples import read_examples
from ragft.data.split import split
from ragft.errors import MissingDependency, RagftError, UsageError
from ragft.stages.augmenting import Augmenting

OFF = dict.fromkeys(("typos", "keyboard", "case"), 0.0)


@pytest.fixture
def desk(domain: Domain) -> Domain:
    """Twenty examples of twenty subjects, one of which asks what a question asks."""
    subjects = (
        "ink paper glue tape wood iron salt sugar flour cloth rope soap lamp chair table clock brush nail paint wire"
    )
    rows: list[dict[str, Any]] = [
        {"question": f"Which shelf holds {subject} that was ordered last week?", "answer": f"Shelf {number} [1]",
         "sources": ["node.md"], "tags": ["shelf"], "note": number}
        for number, subject in enumerate(subjects.split())
    ]  # fmt: skip
    rows[3]["group"] = "sticky"
    rows.append({"question": "Left out of training here?", "answer": "Yes", "weight": 0})
    domain.lines("examples.jsonl", rows)
    domain.lines("questions.jsonl", [
        {"id": "q", "question": "Which shelf holds wood that was ordered last week?", "answers": ["Shelf 4"]}
    ])  # fmt: skip
    return domain


def configured(desk: Domain, **augment: Any) -> Domain:
    desk.configure(data={"augment": {**OFF, **augment}})
    return desk


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_further_rows_stay_with_their_example_and_change_its_question_alone(
    desk: Domain, ragft: Callable[..., Ended]
) -> None:
    out, before = desk.folder / "more.jsonl", (desk.folder / "examples.jsonl").read_bytes()
    configured(desk, typos=0.5, case=0.25, deletion=1.0)
    ended = ragft("data", "augment", "-c", desk.config, "--out", out)
    assert ended.status == 0 and "typos (10 of 10), case (5 of 5), deletion (19 of 19)" in ended.out
    assert "Not augmented, because they ask what data.questions asks: 1 example: line-5" in ended.out
    rows, own = read(out), read(desk.folder / "examples.jsonl")
    assert [{key: row[key] for key in values} for row, values in zip(rows, own, strict=False)] == own
    examples = {one.id: one for one in read_examples(out)}
    assert len(rows) == 21 + 34 and len(examples) == 20 + 34
    for row in rows[21:]:
        kind, of = re.fullmatch(r"augment (\w+) of (.*)", row["origin"]).groups()  # type: ignore[union-attr]
        one, first = examples[row["id"]], examples[of]
        assert (one.answer, one.sources, one.group, one.tags) == (first.answer, first.sources, first.group, first.tags)
        assert one.question != first.question and row["id"] == f"{of}~{kind}" and of != "line-5"
    assert examples["line-4"].group == "sticky"
    train, validation = split(tuple(examples.values()), 0.2, 0)
    assert {one.group for one in train}.isdisjoint(one.group for one in validation)
    assert (desk.folder / "examples.jsonl").read_bytes() == before
    again = ragft("data", "augment", "-c", desk.config, "--out", out)
    assert again.status == 2 and "exists already" in again.err
    desk.configure(data={"augment": {**OFF, "typos": 0.5, "case": 0.25, "deletion": 1.0}, "examples": "more.jsonl"})
    twice = Augmenting(desk.application(), desk.folder / "twice.jsonl")
    assert [plan.wanted for plan in twice.plans] == [10, 5, 19], "augmented rows are not augmented again"


def test_the_same_seed_makes_the_same_rows_and_a_share_does_not_move_another(desk: Domain) -> None:
    made = []
    for number, shares in enumerate(({"typos": 0.5}, {"typos": 0.5}, {"typos": 0.5, "keyboard": 0.3})):
        out = desk.folder / f"{number}.jsonl"
        Augmenting(configured(desk, **shares).application(), out).write()
        made.append([row for row in read(out) if "typos" in row.get("origin", "")])
    assert made[0] == made[1] == made[2] and len(made[0]) == 10


def words(shown: str) -> str:
    """A model that rewords well, but for two subjects."""
    question = shown.rpartition("Question: ")[2]
    if "into French" in shown:
        return question.replace("Which shelf", "Quel shelf")
    if "from French into English" in shown:
        return question.replace("Quel shelf", "What shelf")
    subject = question.split("holds ")[1].split()[0]
    told = {"glue": "I have 3 glues for you.", "tape": "Which shelf holds wood that was ordered last week?"}
    return told.get(subject, f"On which shelf is {subject} kept, given the order of last week?")


@pytest.mark.medium
def test_a_model_words_questions_which_are_verified_and_what_it_said_is_kept(desk: Domain) -> None:
    shares = {"paraphrase": 1.0, "back_translation": 0.25, "pivots": ["French"]}
    with serving(Judge(says=words, fails_after=4)) as server:
        generate = {"server": {"url": server.url, "model": "m"}, "retries": 0}
        desk.configure(data={"augment": {**OFF, **shares}, "generate": generate})

        def augmenting(name: str) -> Augmenting:
            return Augmenting(desk.application(), desk.folder / name)

        assert augmenting("a.jsonl").estimate()["requests"] == 19 + 2 * 5
        with pytest.raises(RagftError, match="4 replies are kept, and the same command goes on from there"):
            augmenting("a.jsonl").write()
        assert not (desk.folder / "a.jsonl").exists()
        server.fails_after = None
        told = augmenting("b.jsonl").write()
        assert told.requests == 29 - 4, "what was said before is not asked for again"
        count = len(server.requests)
        assert augmenting("c.jsonl").write().requests == 0 and len(server.requests) == count
    assert read(desk.folder / "b.jsonl") == read(desk.folder / "c.jsonl")
    assert told.made == {"paraphrase": 17, "back_translation": 5}
    assert told.faults == {"another example asks the same": 1, "the new wording lacks 'shelf'": 1}
    rows = [row for row in read(desk.folder / "b.jsonl") if "paraphrase" in row.get("origin", "")]
    assert not {"line-3", "line-4", "line-5"} & {row["origin"].rpartition(" ")[2] for row in rows}


@pytest.mark.medium
def test_a_wording_that_an_evaluation_question_has_does_not_count(desk: Domain) -> None:
    asked = {
        "id": "r",
        "question": "On which shelf is salt kept, given the order of last week?",
        "answers": ["Shelf 6"],
    }
    desk.lines("questions.jsonl", [asked])
    with serving(Judge(says=words)) as server:
        generate = {"server": {"url": server.url, "model": "m"}}
        desk.configure(data={"augment": {**OFF, "paraphrase": 1.0}, "generate": generate})
        told = Augmenting(desk.application(), desk.folder / "a.jsonl").write()
    assert told.faults["an evaluation question asks the same"] == 1
    assert not any(asked["question"] == row["question"] for row in read(desk.folder / "a.jsonl"))


@pytest.mark.medium
def test_half_a_character_in_a_reply_does_not_count(desk: Domain) -> None:
    with serving(Judge(says=lambda shown: f"{words(shown)} \ud83d" if "salt" in shown else words(shown))) as server:
        generate = {"server": {"url": server.url, "model": "m"}}
        desk.configure(data={"augment": {**OFF, "paraphrase": 1.0}, "generate": generate})
        told = Augmenting(desk.application(), desk.folder / "a.jsonl").write()
    assert told.faults["the reply holds half a character"] == 1 and told.made["paraphrase"] > 10


def test_nothing_to_augment_and_no_wordnet_are_refused_in_a_sentence(
    desk: Domain, ragft: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(desk, synonyms=0.5)
    monkeypatch.setitem(__import__("sys").modules, "wn", None)
    with pytest.raises(MissingDependency, match=r"install ragft\[synonyms\]"):
        Augmenting(desk.application(), desk.folder / "x.jsonl").write()
    desk.lines("examples.jsonl", [{"question": "a b?", "answer": "c", "origin": "augment typos of d"}])
    with pytest.raises(UsageError, match="None of the 1 example can be augmented"):
        Augmenting(desk.application(), desk.folder / "x.jsonl").estimate()
    assert not (desk.folder / "x.jsonl").exists()


def test_a_dry_run_says_what_it_takes_and_makes_nothing(desk: Domain, ragft: Callable[..., Ended]) -> None:
    configured(desk, typos=0.5)
    ended = ragft("data", "augment", "-c", desk.config, "--out", desk.folder / "x.jsonl", "--dry-run")
    assert ended.status == 0 and "typos (10); no model is asked" in ended.out
    assert not (desk.folder / "x.jsonl").exists()
