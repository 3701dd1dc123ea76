"""The one real engine of the session."""

from __future__ import annotations

import pytest
from support.engines import EngineThread, shared_engine


@pytest.fixture(scope="session")
def vllm_engine(request: pytest.FixtureRequest) -> EngineThread:
    return shared_engine(request.config)
