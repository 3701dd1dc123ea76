"""Lets tests choose what the probe of the processor answers, so that both answers are tested on every machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from index.encoders import precision

Bfloat16 = Callable[[str | None], None]
"""Makes the probe answer `native` or `emulated`; None lets it measure."""


def forced(monkeypatch: pytest.MonkeyPatch) -> Bfloat16:
    """Forces the answer until the test ends."""
    # Without the cache, so that the answer of the process stays its own.
    probe = precision._cpu_multiplies_bfloat16.__wrapped__
    monkeypatch.setattr(precision, "_cpu_multiplies_bfloat16", probe)

    def force(answer: str | None) -> None:
        if answer is None:
            monkeypatch.delenv(precision.FORCED, raising=False)
        else:
            monkeypatch.setenv(precision.FORCED, answer)

    return force
