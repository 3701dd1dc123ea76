"""What may hold a new snapshot back from becoming the live one.

Knows snapshots and verdicts, nothing of what is asked of them: whoever calls `refresh` brings the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from index.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a snapshot that is to be published.

    Attributes:
        passed: Whether it may become the live one.
        summary: One sentence.
        details: One sentence for each thing that was lost.
        remarks: One sentence for each thing that is worth knowing and holds nothing back.
    """

    passed: bool
    summary: str
    details: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


Gate = Callable[[Snapshot, Snapshot | None], Verdict]
"""Called with the candidate and the live snapshot (None where there is none), before the flip."""
