"""Progress: what is left is reckoned from what was done in this process."""

from __future__ import annotations

import pytest

from ragft import console
from ragft.console import Reporter


def test_the_time_left_of_resumed_work_counts_what_was_done_since(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with Reporter().progress("Training") as advance:
        for done in (101, 102, 103):  # a hundred steps were done before an interruption
            now[0] += 20.0
            advance(done, 200, "loss 1")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "Training: 101/200 loss 1 20 s",
        "Training: 102/200 loss 1 40 s, about 33 minutes left",
        "Training: 103/200 loss 1 60 s, about 32 minutes left",
    ]
