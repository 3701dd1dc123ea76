"""Both answers of the probe of what the processor multiplies, on every machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from index.encoders import precision

Bfloat16 = Callable[[str | None], None]
"""Makes the probe answer `native` or `emulated`, or (None) look for itself."""


def forced(monkeypatch: pytest.MonkeyPatch) -> Bfloat16:
    """Forces the answer until the test ends."""
    # Another cache for the time of the test, so that the one of the process keeps its own answer.
    probe = precision._cpu_multiplies_bfloat16.__wrapped__
    monkeypatch.setattr(precision, "_cpu_multiplies_bfloat16", probe)

    def force(answer: str | None) -> None:
        if answer is None:
            monkeypatch.delenv(precision.FORCED, raising=False)
        else:
            monkeypatch.setenv(precision.FORCED, answer)

    return force
