"""The contract of a gate, which may hold a new snapshot back from becoming the live one.

Knows snapshots and verdicts, but not what a gate checks: the caller of `refresh` brings the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from index.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's decision about a snapshot that is to be published.

    Attributes:
        passed: whether the snapshot may become the live one.
        summary: the decision in one sentence.
        details: a sentence for each reason to hold the snapshot back.
        remarks: a sentence for each thing worth knowing that is no reason to hold it back.
    """

    passed: bool
    summary: str
    details: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


Gate = Callable[[Snapshot, Snapshot | None], Verdict]
"""Called with the candidate and the live snapshot (None if there is none) before the candidate becomes live."""
