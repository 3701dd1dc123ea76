"""What holds for every test: the environment that commands run in, and no deadline on examples of a busy machine."""

from __future__ import annotations

import pytest
from hypothesis import settings
from support.precision import Bfloat16, forced

from ragft.console import prepare_process

prepare_process()
settings.register_profile("ragft", deadline=None)
settings.load_profile("ragft")


@pytest.fixture
def bfloat16_is(monkeypatch: pytest.MonkeyPatch) -> Bfloat16:
    """Makes the probe of what the processor multiplies answer as a test wants."""
    return forced(monkeypatch)
