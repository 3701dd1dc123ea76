"""An application over stand-ins, and one real engine for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from support.engines import EngineThread, shared_engine
from support.serving import Fakes, make_application, until

from serving.app import create_app
from serving.security import Keys


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def make_app(tmp_path: Path, fakes: Fakes) -> Callable[..., Litestar]:
    """Makes an application over the stand-ins; arguments are keys of `serve`."""

    def make(keys: Keys | None = None, **serve: Any) -> Litestar:
        return create_app(make_application(tmp_path, **serve), load=fakes.load, keys=keys or Keys({}))

    return make


@pytest.fixture
def client(make_app: Callable[..., Litestar]) -> Iterator[TestClient[Litestar]]:
    """A client of an application that is ready."""
    with TestClient(make_app(), base_url="http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


@pytest.fixture(scope="session")
def vllm_engine(request: pytest.FixtureRequest) -> EngineThread:
    return shared_engine(request.config)
