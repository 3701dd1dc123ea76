"""The one real engine of the session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from engines import EngineThread, shared_engine


@pytest.fixture(scope="session")
def vllm_engine(request: pytest.FixtureRequest) -> EngineThread:
    return shared_engine(request.config)
