"""Whatever is written to its socket, the endpoint answers without a 500, a hang or a leak, and goes on."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from support.fuzzing import KINDS, Fuzzed, Request, fuzzed
from support.indexes import HashEncoder, WordTokenizer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Fuzzed:
    with fuzzed(tmp_path_factory.mktemp("fuzzed"), HashEncoder(WordTokenizer())) as server:
        yield server
        assert server.settled() == []


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_no_request_is_a_500_a_hang_or_a_leak(server: Fuzzed, kind: str) -> None:
    # Those that are never completed take as long as the server waits for them.
    @seed(0)
    @settings(max_examples=3 if kind == "slow" else 15, database=None, suppress_health_check=list(HealthCheck))
    @given(request=KINDS[kind])
    def check(request: Request) -> None:
        assert server.faults_of(request) == []

    check()
