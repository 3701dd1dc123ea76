"""A cleaned copy: what the audit can mend is mended, every change is logged, and the original stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended
from support.domains import Domain

from ragft.data import clean as cleaning
from ragft.data.audit import audit_data
from ragft.messages import turn
from ragft.stages import auditing
from ragft.stages.inputs import CLEAN

Ragft = Callable[..., Ended]
MAIL = "ada@mail.example"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def messy(domain: Domain) -> Domain:
    """Two good rows and one of each fault that is mended."""
    lines = [
        {"id": "good", "question": "When?", "answer": "now", "own": [1]},
        {"id": "mail", "question": f"Who is {MAIL}?", "answer": f"Write to {MAIL.upper()}.", "sources": ["cats.md"]},
        {"id": "again", "question": "WHEN", "answer": "Now."},
        {"id": "untidy", "question": "Why\u200b? ", "answer": "because"},
        {"id": "turns", "messages": [turn("user", f"I am {MAIL}"), turn("assistant", "Hi")]},
        {"id": "empty", "question": "How?", "answer": " "},
    ]
    domain.lines("examples.jsonl", lines)
    with (domain.folder / "examples.jsonl").open("a") as file:
        file.write(f'{{"question": "broken by {MAIL}"\n')
    return domain


def test_the_copy_is_mended_and_the_original_is_not_touched(messy: Domain) -> None:
    before = (messy.folder / "examples.jsonl").read_bytes()
    artifact = auditing.clean(messy.application())
    assert (messy.folder / "examples.jsonl").read_bytes() == before
    copy = (artifact.folder / "examples.jsonl").read_bytes()
    assert copy.splitlines()[0] == before.splitlines()[0]  # what needs no change stays byte for byte
    rows = {row["id"]: row for row in rows_of(artifact.folder / "examples.jsonl")}
    assert list(rows) == ["good", "mail", "untidy", "turns"]
    pseudonym = rows["mail"]["question"].removeprefix("Who is ").removesuffix("?")
    assert pseudonym.startswith("EMAIL_")
    assert rows["mail"]["answer"] == f"Write to {pseudonym}." and rows["mail"]["sources"] == ["cats.md"]
    assert rows["turns"]["messages"][0]["content"] == f"I am {pseudonym}"
    assert rows["untidy"]["question"] == "Why?"
    assert artifact.figures["dropped"] == {"duplicate": 1, "empty": 1, "schema": 1}
    assert artifact.figures["masked"] == {"email": 3}
    assert artifact.figures["masked_fields"] == {"question": 1, "answer": 1, "messages[].content": 1}


def test_every_change_is_in_the_log_and_no_personal_value_is(messy: Domain) -> None:
    folder = auditing.clean(messy.application()).folder
    log = folder / "changes.jsonl"
    assert "mail.example" not in log.read_text().casefold()
    assert log.stat().st_mode & 0o077 == 0  # rows that are left out stand in it
    changes = rows_of(log)
    told = [(one["line"], one["change"], one["kind"]) for one in changes]
    assert told == [
        (2, "masked", "email"), (2, "masked", "email"), (3, "dropped", "duplicate"), (4, "tidied", "untidy"),
        (5, "masked", "email"), (6, "dropped", "empty"), (7, "dropped", "schema"),
    ]  # fmt: skip
    assert changes[0]["before"] == "email of 16 characters at 7" and changes[0]["after"].startswith("EMAIL_")
    assert (
        changes[2]["of_line"] == 1 and json.loads(changes[2]["before"])["id"] == "again" and changes[2]["after"] is None
    )
    assert (changes[3]["field"], changes[3]["before"], changes[3]["after"]) == ("question", "Why\u200b? ", "Why?")


def test_a_value_is_replaced_wherever_its_row_holds_it(domain: Domain) -> None:
    lines: list[dict[str, Any]] = [
        {"question": "Is BSN 111222333 on file?", "answer": "Yes, 111222333 is  on file. \n"},
        {"question": "My password is Hunter2x9, is it good?", "answer": "No, Hunter2x9 is too short."},
        {"question": "How to pay?", "answer": "By card.", "note": "card 4111 1111 1111 1111", "by": 4111111111111111},
        {"question": "Who agrees?", "answer": "All.", "by": {MAIL: "yes", MAIL.upper(): 4.5, "Ben": True}},
    ]
    domain.lines("examples.jsonl", lines)
    audited = {row.what: row.detail for row in audit_data(domain.application()).rows}
    assert audited["personal data"].startswith("4 rows with personal data")
    folder = auditing.clean(domain.application()).folder
    identity, secret, card, by = rows_of(folder / "examples.jsonl")
    assert identity["answer"] == f"Yes, {identity['question'][7:-9]} is  on file."
    assert secret["answer"] == f"No, {secret['question'].split()[3].rstrip(',')} is too short."
    assert card["by"].startswith("CARD_") and card["note"] == f"card {card['by']}"
    assert list(by["by"].values()) == ["yes", 4.5, True]
    assert [name[:6] for name in by["by"]] == ["EMAIL_", "EMAIL_", "Ben"]
    log = (folder / "changes.jsonl").read_text()
    for value in ("111222333", "Hunter2x9", "4111", "mail.example", "MAIL.EXAMPLE"):
        assert value not in (folder / "examples.jsonl").read_text() + log
    assert any(one["field"] == "by.EMAIL" for one in rows_of(folder / "changes.jsonl"))


def test_the_copy_has_nothing_left_to_mend(messy: Domain) -> None:
    folder = auditing.clean(messy.application()).folder
    messy.configure(data={"examples": str(folder / "examples.jsonl")})
    found = {row.what for row in audit_data(messy.application()).rows if row.state != "ok"}
    assert not found & {"personal data", "untidy text", "duplicates", "empty rows", "examples"}


def test_an_interrupted_clean_publishes_nothing_and_the_next_makes_all(
    messy: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = cleaning._Cleaner.row

    def interrupted(self: cleaning._Cleaner, at: int, number: int, raw: bytes) -> bytes:
        if number == 4:
            raise KeyboardInterrupt
        return row(self, at, number, raw)

    monkeypatch.setattr(cleaning._Cleaner, "row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        auditing.clean(messy.application())
    assert not list((messy.workspace / "cleaned").glob("[!.]*"))
    monkeypatch.undo()
    assert len(rows_of(auditing.clean(messy.application()).folder / "examples.jsonl")) == 4


def test_faults_to_drop_and_kinds_to_mask_are_the_users_choice(messy: Domain) -> None:
    messy.configure(data={"clean": {"drop": ["untidy"]}, "personal": ["iban"]})
    artifact = auditing.clean(messy.application())
    assert artifact.figures["dropped"] == {"untidy": 1} and artifact.figures["masked"] == {}
    assert artifact.figures["kept"] == 6  # unreadable lines, too, are copied as they are


def test_the_copy_is_made_again_for_another_file_rule_or_secret_alone(messy: Domain) -> None:
    def made() -> str:
        return auditing.clean(messy.application()).fingerprint

    first = made()
    messy.configure(seed=7)
    assert made() == first
    messy.configure(data={"personal": ["email"]})
    assert made() != first
    assert CLEAN.depends_on("data.clean.drop") and not CLEAN.depends_on("data.mix.passages")
    (messy.workspace / "pseudonyms.key").unlink()
    messy.configure()
    assert made() != first


def test_clean_writes_a_file_that_is_new(messy: Domain, ragft: Ragft) -> None:
    out = messy.folder / "clean.jsonl"
    ended = ragft("data", "clean", "-c", messy.config, "--out", out)
    assert ended.status == 0 and "4 of 7 rows kept, 3 of them changed, 1 texts tidied" in ended.out
    assert "dropped: " in ended.out and "masked: email (3)" in ended.out
    assert len(rows_of(out)) == 4
    again = ragft("data", "clean", "-c", messy.config, "--out", messy.folder / "examples.jsonl")
    assert again.status == 2 and "exists already" in again.sentence
