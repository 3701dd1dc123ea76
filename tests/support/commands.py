"""How a `ragft` command ended, whether it ran in the process of the tests or in one of its own."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """What `--json` printed: one line and nothing else."""
        (line,) = self.out.splitlines()
        return dict(json.loads(line))

    @property
    def sentence(self) -> str:
        """What was refused: the last line of stderr, the only one of its kind; nothing on stdout, no traceback."""
        assert self.out == "" and "Traceback" not in self.err, self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("ragft: ")]
        assert self.err.splitlines()[-1] == line
        return line


def hear_interrupts() -> None:
    """In a new process: started from a shell's background job, tests inherit that SIGINT is ignored, and Python leaves
    it so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
