"""`ragft serve report`: what the outcomes in a workspace tell, without a model."""

from __future__ import annotations

from collections.abc import Callable

from support.commands import Ended
from support.domains import Domain
from test_readme import RAGFT

from ragft.traffic.experiment import ArmSpec, Experiment
from ragft.traffic.log import Outcome, Recorder

ARMS = (ArmSpec("now", "rag-only", "0" * 16, 0.5, False, True), ArmSpec("tried", "hybrid", "1" * 16, 0.5, False, True))
SHOWN = sorted({shown.words for shown in RAGFT if shown.words[1:3] == ("serve", "report")})


def test_the_last_experiment_is_told_as_a_table_and_as_json(ragft: Callable[..., Ended], domain: Domain) -> None:
    ended = ragft("serve", "report", "-c", domain.config)
    assert ended.status == 1 and "No experiment was recorded in" in ended.err and "model 'split'" in ended.err
    recorder = Recorder(domain.workspace / "experiments", 1_000_000)
    for name in ("older", "newer"):
        told = Experiment(name, 1000.0, ARMS, "grounded", 60.0, 60.0, 96)
        for number in range(40):
            grounded = ("true", "false")[number % 2]
            line = Outcome(
                1000.0 + number, f"{number}", "r", f"{number}", ("now", "tried")[number % 2], 200, 1.0,
                grounded=grounded,
            )  # fmt: skip
            recorder.record(told, lambda line=line: line)  # type: ignore[misc]
        recorder.flush()
    recorder.close()
    values = ragft("serve", "report", "--experiment", "old", "--json", "-c", domain.config).values
    assert values["experiment"] == "older" and values["requests"] == 40
    assert [arm["outcomes"]["grounded"] for arm in values["arms"]] == [1.0, 0.0]
    for words in SHOWN:
        shown = ragft(*words[1:], "-c", domain.config)
        assert shown.status == 0 and "Experiment newer, since 1970-01-01 00:16 UTC: 40 requests." in shown.out
        assert "tried − now" in shown.out and "is worse than now" in shown.out
    assert SHOWN
    ended = ragft("serve", "report", "--experiment", "x", "-c", domain.config)
    assert ended.status == 2 and "No experiment is named 'x'; there are: newer, older." in ended.err
