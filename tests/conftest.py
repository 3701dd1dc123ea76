"""What holds for every test: the environment that commands run in, no deadline on examples of a busy machine, the
command line in this process, models that many tests share, and how workers share the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.browsers import chromium
from support.commands import Ended
from support.precision import Bfloat16, forced

from ragft.cli import main
from ragft.console import prepare_process
from ragft.models import resolve_model

prepare_process()
settings.register_profile("ragft", deadline=None)
settings.load_profile("ragft")


@pytest.fixture
def bfloat16_is(monkeypatch: pytest.MonkeyPatch) -> Bfloat16:
    """Makes the probe of what the processor multiplies answer as a test wants."""
    return forced(monkeypatch)


@pytest.fixture
def ragft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line as `ragft ARGUMENTS` does, and tells how it ended."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ragft", *map(str, arguments)])
        status = 0
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return Ended(status, out, err)

    return run


# Not of the session: while a browser is open, no other test can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; the test is skipped where it is absent."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """The packaged language model's own tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"), local_files_only=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, chat_tokenizer: Any) -> Path:
    """A random decoder with the packaged model's tokenizer, for what takes a few steps of training."""
    from support.tiny_chat import tiny_chat

    return tiny_chat(tmp_path_factory.mktemp("tiny-chat"), chat_tokenizer)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Shows what a command said where its exit status is not the expected one."""
    if isinstance(left, Ended) and op == "==":
        return [f"exit status {left.status} instead of {right}", *left.err.splitlines(), *left.out.splitlines()]
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # in a worker of pytest-xdist
        from support.workers import slow_first

        slow_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from support.workers import WholeUnits

    return WholeUnits(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Any:
    from support.workers import sendable

    return sendable((yield))
