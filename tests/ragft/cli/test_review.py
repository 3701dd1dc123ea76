"""`ragft data review`: the commands as the pages show them, and what they leave beside the examples."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

Ragft = Callable[..., Ended]
SHOWN = {shown.words for shown in RAGFT if shown.words[1:3] == ("data", "review")}


def test_the_commands_of_the_pages_lead_from_rows_to_reviewed_rows(
    ragft: Ragft, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(domain.folder)
    done, pages = set(), []
    monkeypatch.setattr(
        "serving.review.serve", lambda review, name, port, say: pages.append((review.title, name, port))
    )
    before = Path("examples.jsonl").read_bytes()

    def run(*words: str, status: int = 0) -> Ended:
        done.add(("ragft", *words))
        ended = ragft(*words, "-c", domain.config)
        assert ended.status == status, ended.err
        return ended

    run("data", "review", "--reviewer", "Anna")
    run("data", "review", "questions.jsonl", "--reviewer", "Anna", "--port", "8770")
    assert pages == [(str(domain.folder / "examples.jsonl"), "Anna", 0), ("questions.jsonl", "Anna", 8770)]
    for name, verdict in (("Anna", "accept"), ("Ben", "reject")):
        run("data", "review", "--reviewer", name, "--export", f"{name.lower()}.csv")
        with Path(f"{name.lower()}.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["remark"].startswith("There is no index")  # a review builds nothing
        rows[0] |= {"decision": "accept"}
        rows[1] |= {"decision": verdict, "reason": "It is old."}
        rows[2] |= {"decision": verdict, "row": "1E+05"}
        with Path(f"{name.lower()}.csv").open("w", newline="") as file:
            sheet = csv.DictWriter(file, rows[0])
            sheet.writeheader()
            sheet.writerows(rows)
        ended = run("data", "review", "--import", f"{name.lower()}.csv", status=1)
        assert "row 4" in ended.out and "2 decisions taken" in ended.out and "1 row refused" in ended.out
    told = run("data", "review", "--agreement").out
    assert "2 rows of 4 decided by two reviewers or more" in told and "Anna accept (It is old.); Ben reject" in told
    assert "Cohen's kappa of Anna and Ben: 0.00" in told and "1 conflict to settle" in told
    run("data", "review", "--apply", "reviewed.jsonl")
    (row,) = [json.loads(line) for line in Path("reviewed.jsonl").read_text().splitlines()]
    assert row["reviewed_by"] == ["Anna", "Ben"]
    left = [json.loads(line)["why"] for line in Path("reviewed.left-out.jsonl").read_text().splitlines()]
    assert left == ["conflict", "undecided", "undecided"]
    run("data", "review", "--settle", "majority", "--apply", "by-majority.jsonl")
    assert Path("examples.jsonl").read_bytes() == before and Path("examples.review.sqlite").exists()
    assert done >= SHOWN and SHOWN


def test_options_that_contradict_each_other_and_missing_names_are_refused(ragft: Ragft, domain: Domain) -> None:
    review = ("data", "review", domain.folder / "examples.jsonl", "-c", domain.config)
    for words, told in (
        ((), "--reviewer NAME"), (("--reviewer", " "), "--reviewer NAME"), (("--export", "a.csv"), "--reviewer NAME"),
        (("--agreement", "--apply", "a.jsonl"), "two things to do"),
            (("--reviewer", "Anna", "--settle", "majority", "--export", "a.csv"), "give one of them with it"),
        (("--import", domain.folder / "none.csv"), "There is no file of decisions"),
        (("--apply", domain.folder / "examples.jsonl"), "exists already: name another with --apply"),
    ):  # fmt: skip
        ended = ragft(*review, *words)
        assert ended.status == 2 and told in ended.sentence
    missing = ragft("data", "review", domain.folder / "none.jsonl", "-c", domain.config)
    assert missing.status == 2 and "set FILE to one" in missing.sentence
