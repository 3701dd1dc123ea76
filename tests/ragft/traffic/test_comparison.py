"""What outcomes tell of arms: users and conversations as observations, shadows in pairs, and the verdict in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ragft.traffic.comparison import Comparison, compare
from ragft.traffic.experiment import ArmSpec, Experiment
from ragft.traffic.log import Outcome
from ragft.traffic.words import table, to_json, verdict

NOW = ArmSpec("now", "rag-only", "0" * 16, 0.5, False, True)
TRIED = ArmSpec("tried", "hybrid", "1" * 16, 0.5, False, True)
BESIDE = ArmSpec("beside", "hybrid", "1" * 16, 0.0, True, True)
LATER = 10_000_000.0


def experiment(*arms: ArmSpec, decides: str = "grounded", window: float = 100.0) -> Experiment:
    return Experiment("abc", 0.0, arms or (NOW, TRIED), decides, window, 60.0, 100)


def one(time: float, unit: str, arm: str, **values: Any) -> Outcome:
    defaults = {"status": 200, "seconds": 1.0, "refused": False, "grounded": "true", "format_valid": True}
    return Outcome(time, f"{time} {unit}", f"request {time}", unit, arm, **{**defaults, **values})


def traffic(count: int, now: float, tried: float, seed: int = 1) -> list[Outcome]:
    """Requests of users of their own, of which these shares are grounded."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        arm, share = ("tried", tried) if random.random() < 0.5 else ("now", now)
        found.append(one(float(number), f"u{number}", arm, grounded="true" if random.random() < share else "false"))
    return found


def value(found: Comparison, outcome: str, arm: str = "tried") -> Any:
    return found.of(arm, outcome)


def test_a_user_is_one_observation_the_mean_of_the_requests_in_its_window() -> None:
    lines = [
        one(0, "a", "now", grounded="false"),
        one(50, "a", "now"),
        one(150, "a", "now", grounded="false"),  # after its window
        one(60, "b", "tried"),
        one(100_000, "c", "tried"),  # has not been there for long
    ]
    found = compare(experiment(), lines, 100_050.0)
    assert (found.requests, found.observed, found.waiting) == (5, 2, 1)
    assert value(found, "grounded").found.n == 2
    assert [arm.requests for arm in found.arms] == [3, 2] and [arm.units for arm in found.arms] == [1, 2]
    assert found.arms[0].means["grounded"] == pytest.approx(1 / 3)
    told = " ".join(verdict(found))
    assert "1 user or conversation began less than 2 minutes ago and does not count yet." in told
    # The same requests, by as many users as there are requests, are more observations.
    alone = compare(experiment(), [*lines[:1], one(50, "d", "now"), one(60, "b", "tried")], 100_050.0)
    assert value(alone, "grounded").found.n == 3


def test_an_arm_that_is_better_is_said_to_be_and_a_worse_one_too() -> None:
    better = compare(experiment(), traffic(3000, 0.5, 0.8), LATER)
    assert value(better, "grounded").verdict == "better"
    assert verdict(better)[0].startswith("tried is better than now: +")
    worse = compare(experiment(), traffic(3000, 0.8, 0.5), LATER)
    assert verdict(worse)[0].startswith("tried is worse than now: −")
    assert value(worse, "failed").verdict == "open" and value(worse, "failed").more_requests is None


def test_nothing_is_decided_before_it_is_and_the_verdict_says_how_many_more_requests_it_takes() -> None:
    lines = traffic(300, 0.5, 0.65)
    early = compare(experiment(), lines, LATER)
    found = value(early, "grounded")
    assert found.verdict == "open" and found.low < 0.15 < found.high
    (told,) = verdict(early)
    assert told.startswith("Nothing is decided yet between tried and now: ")
    assert "more requests decide it, about " in told and " minutes at this rate." in told
    assert found.more_requests > 0
    # About so many later, it is decided.
    late = compare(experiment(), traffic(300 + 2 * found.more_requests, 0.5, 0.65), LATER)
    assert value(late, "grounded").verdict == "better"


def test_equal_arms_are_not_told_apart() -> None:
    found = compare(experiment(), [one(float(n), f"u{n}", ("now", "tried")[n % 2]) for n in range(400)], LATER)
    assert {difference.verdict for difference in found.differences} == {"open"}
    assert "no number of requests is in sight" in verdict(found)[0]


def test_what_failed_is_not_grounded_and_what_was_abandoned_counts_as_that_alone() -> None:
    lines = [
        one(0, "a", "now", status=503, grounded=None, refused=None, format_valid=None, seconds=9.0),
        one(1, "b", "now", status=499, grounded=None, refused=None, format_valid=None),
        one(2, "c", "now", interrupted=True, grounded=None, format_valid=None),
        one(3, "d", "now", seconds=100.0, first_token=0.5),
    ]
    means = compare(experiment(), lines, LATER).arms[0].means
    assert means["failed"] == means["grounded"] * 2 == means["format_valid"] * 2 == pytest.approx(2 / 3)  # type: ignore[operator]
    assert (means["abandoned"], means["seconds"], means["first_token"]) == (0.25, 100.0, 0.5)


def test_without_a_declared_format_nothing_is_said_about_it_when_a_request_fails() -> None:
    lines = [
        one(0, "a", "now", format_valid=None), one(1, "b", "tried", format_valid=None),
        one(2, "c", "now", status=503, grounded=None, refused=None, format_valid=None),
    ]  # fmt: skip
    found = compare(experiment(), lines, LATER)
    assert "format_valid" not in found.arms[0].means and value(found, "format_valid") is None
    assert "in the house format" not in [kind.title for kind in found.outcomes]
    # Where it decides, one is declared, even if nothing was answered yet.
    assert value(compare(experiment(decides="format_valid"), lines[2:], LATER), "format_valid") is not None


def test_times_are_compared_up_to_the_slowest_that_counts() -> None:
    lines = [one(float(n), f"u{n}", ("now", "tried")[n % 2], seconds=(1.0, 500.0)[n % 2]) for n in range(400)]
    found = value(compare(experiment(), lines, LATER), "seconds")
    assert found.verdict == "worse" and 50.0 < found.value <= 60.0


def test_what_has_no_passages_is_not_compared_by_what_it_stands_on() -> None:
    closed = ArmSpec("tried", "fine-tuned", "1" * 16, 0.5, False, False)
    found = compare(experiment(NOW, closed, decides="refused"), traffic(50, 1.0, 0.0), LATER)
    assert value(found, "grounded") is None and found.arms[1].means["grounded"] is None
    assert value(found, "refused") is not None


def test_a_shadow_is_compared_with_the_answer_that_it_stood_beside() -> None:
    lines = []
    for number in range(300):
        shown = one(float(number), f"u{number}", "now", grounded="true" if number % 3 else "false")
        lines.append(shown)
        if number % 2 == 0:  # the others were dropped
            beside = one(shown.time, shown.unit, "beside", shadow=True, seconds=50.0)
            beside.id = shown.id
            lines.append(beside)
    found = compare(experiment(NOW, BESIDE), lines, LATER)
    shadow = value(found, "grounded", "beside")
    assert shadow.found.n == 150 and shadow.value == pytest.approx(1 / 3, abs=0.02) and shadow.verdict == "better"
    assert value(found, "seconds", "beside") is None and found.arms[1].means["seconds"] is None
    assert found.requests == 300 and [arm.requests for arm in found.arms] == [300, 150]


def test_what_users_said_is_an_outcome_where_there_is_any() -> None:
    lines = traffic(400, 1.0, 1.0)
    said = {line.request_id: float(line.arm == "tried") for line in lines[::2]}
    found = value(compare(experiment(decides="feedback"), lines, LATER, said), "feedback")
    assert found.verdict == "better" and found.found.n == 200
    assert value(compare(experiment(), lines, LATER), "feedback") is None


def test_arms_that_lose_requests_are_not_to_be_believed() -> None:
    lines = [line for line in traffic(2000, 0.5, 0.5) if line.arm == "now" or float(line.time) % 3]
    found = compare(experiment(), lines, LATER)
    assert found.mismatch < 0.001 and verdict(found)[0].startswith("The arms do not have their shares")


def test_json_and_table_hold_every_arm_and_difference() -> None:
    found = compare(experiment(NOW, TRIED, BESIDE), traffic(200, 0.5, 0.9), LATER)
    values = to_json(found)
    assert [arm["name"] for arm in values["arms"]] == ["now", "tried", "beside"]
    told = next(one for one in values["differences"] if (one["arm"], one["outcome"]) == ("tried", "grounded"))
    assert told["low"] <= told["difference"] <= told["high"] and told["confidence"] == pytest.approx(0.975)
    assert "difference" not in next(one for one in values["differences"] if one["arm"] == "beside")
    assert len(table(found).columns) == 6 and "nothing to compare beside with now" in values["verdict"]
