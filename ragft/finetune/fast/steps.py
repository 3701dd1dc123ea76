"""What every optimiser step of a run was like: one JSON line each in `steps.jsonl`, also across interruptions."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

STEPS = "steps.jsonl"


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        loss: of its rows before the step, in nats per trained token.
        gradient_norm: before it was clipped.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class StepLog:
    """Appends steps to `steps.jsonl` in a run's folder.

    Args:
        done: steps that the run has behind it; what stands in the file of later ones will be done again.
    """

    def __init__(self, folder: Path, done: int) -> None:
        path = folder / STEPS
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= done] if done else []
        path.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def append(self, step: Step) -> None:
        self._file.write(json.dumps(asdict(step)) + "\n")

    def sync(self) -> None:
        """Has all steps so far on disk; called before the checkpoint that counts them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _lines(path: Path) -> list[str]:
    """The whole lines of a file, without what an interruption cut off."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("}\n")]
