"""The log of experiments: one writer, whole lines, whatever ends the writer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragft.errors import UsageError
from ragft.traffic.experiment import ArmSpec, Experiment, unit_of
from ragft.traffic.log import Outcome, Recorder, experiments, read_outcomes

ARMS = (
    ArmSpec("now", "hybrid", "0" * 16, 0.75, False, True),
    ArmSpec("tried", "rag-only", "1" * 16, 0.25, False, True),
)
EXPERIMENT = Experiment("abc", 1000.0, ARMS, "grounded", 60.0, 60.0, 96)


def outcome(number: int = 0) -> Outcome:
    return Outcome(1000.0 + number, f"{number}", f"request {number}", "u", "now", 200, 0.5)


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10_000)
    recorder.record(EXPERIMENT, outcome)
    recorder.record(EXPERIMENT, lambda: outcome(1))
    recorder.close()
    assert read_outcomes(tmp_path, "abc") == ([outcome(), outcome(1)], 0)
    assert experiments(tmp_path) == [EXPERIMENT]


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10_000)
    with pytest.raises(UsageError, match="Another server records the experiments"):
        Recorder(tmp_path, 10_000)
    recorder.close()
    Recorder(tmp_path, 10_000).close()


def test_the_beginning_of_a_line_that_a_killed_writer_left_is_cut_off(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10_000)
    recorder.record(EXPERIMENT, outcome)
    recorder.close()
    lines = tmp_path / "abc" / "outcomes.jsonl"
    lines.write_bytes(lines.read_bytes() + b'{"time": 12')
    assert read_outcomes(tmp_path, "abc") == ([outcome()], 0)
    recorder = Recorder(tmp_path, 10_000)
    recorder.record(EXPERIMENT, lambda: outcome(1))
    recorder.close()
    assert read_outcomes(tmp_path, "abc") == ([outcome(), outcome(1)], 0)


WRITER = """
import sys
sys.path[:0] = {path}
from pathlib import Path
from test_log import EXPERIMENT, outcome
from ragft.traffic.log import Recorder
recorder = Recorder(Path(sys.argv[1]), 10**9)
number = 0
while True:
    for _ in range(200):
        recorder.record(EXPERIMENT, lambda n=number: outcome(n))
        number += 1
    recorder.flush()
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_had_flushed(tmp_path: Path) -> None:
    script = WRITER.format(path=[*sys.path, str(Path(__file__).parent)])
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        flushed = [int(process.stdout.readline()) for _ in range(3)][-1]
        process.send_signal(signal.SIGKILL)
    found, damaged = read_outcomes(tmp_path, "abc")
    assert damaged == 0 and len(found) >= flushed
    assert [one.id for one in found] == [f"{number}" for number in range(len(found))]
    Recorder(tmp_path, 10_000).close()  # its lock has gone with it


def test_a_log_that_is_full_records_no_more_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path, 300)
    for number in range(20):
        recorder.record(EXPERIMENT, lambda number=number: outcome(number))  # type: ignore[misc]
    recorder.close()
    found, _ = read_outcomes(tmp_path, "abc")
    assert 0 < len(found) < 20 and recorder.lost == 20 - len(found)
    assert (tmp_path / "abc" / "outcomes.jsonl").stat().st_size <= 300
    assert caplog.text.count("has reached serve.split.max_mib") == 1


def test_an_outcome_that_cannot_be_told_or_written_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10_000)
    recorder.record(EXPERIMENT, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    (tmp_path / "full").write_text("no folder")
    recorder.record(Experiment("full", 0.0, ARMS, "grounded", 60.0, 60.0, 96), outcome)
    recorder.record(EXPERIMENT, outcome)
    recorder.close()
    assert recorder.lost == 2 and len(read_outcomes(tmp_path, "abc")[0]) == 1


def test_a_line_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10_000)
    recorder.record(EXPERIMENT, outcome)
    recorder.close()
    lines = tmp_path / "abc" / "outcomes.jsonl"
    lines.write_bytes(b"\x00garbage\n" + lines.read_bytes())
    assert read_outcomes(tmp_path, "abc") == ([outcome()], 1)


def test_who_is_known_by_the_same_value_keeps_the_same_arm_and_arms_get_their_shares() -> None:
    units = [unit_of(EXPERIMENT, "user", f"user {number}") for number in range(4000)]
    assert unit_of(EXPERIMENT, "user", "user 7") == units[7]
    assert sum(unit.arm == "now" for unit in units) / 4000 == pytest.approx(0.75, abs=0.03)
    assert unit_of(EXPERIMENT, "conversation", "user 7").id != units[7].id
    others = [unit_of(Experiment("other", 0, ARMS, "grounded", 0, 60, 96), "user", f"user {n}").arm for n in range(400)]
    assert others != [unit.arm for unit in units[:400]]
