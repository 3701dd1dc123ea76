"""One small application, built once a session by the command line; a server over it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.lifecycle import BUILT, Built, Server, Undisturbed, kill_group, make_small, make_trained, start, until

KEY = "secret"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """About 20 pages, 40 examples and 20 questions, through all stages with everything real."""
    folder = tmp_path_factory.mktemp("built") / "desk"
    small = make_small(folder, products=10, examples=40, questions=20, settings=BUILT)
    run = small.ragft("run")
    assert run.status == 0, run.err[-4000:]
    return Built(small, run)


@pytest.fixture(scope="session")
def server(built: Built) -> Iterator[Server]:
    """The endpoint over the built application, ready; its key is KEY."""
    small = built.small
    server = Server(start("serve", "-c", small.config, cwd=small.folder, RAGFT_API_KEY=KEY))
    threading.Thread(target=server.listen, daemon=True).start()
    try:
        until(lambda: "Ready" in server.lines or server.process.poll() is not None, 300, "the server is ready")
        assert server.process.poll() is None, "\n".join(server.lines)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            kill_group(server.process)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Index, data and adapter, made in one go."""
    small = make_trained(tmp_path_factory.mktemp("undisturbed") / "desk")
    begin = time.monotonic()
    ended = small.ragft("finetune")
    assert ended.status == 0, ended.err[-4000:]
    return Undisturbed(small, time.monotonic() - begin)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Gives a folder that is a disk of its own, of a size such as `40m`; called again, the same disk with that size."""
    folder = tmp_path / "disk"

    def make(size: str) -> Path:
        again = folder.is_mount()
        folder.mkdir(exist_ok=True)
        options = f"remount,size={size}" if again else f"size={size}"
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if mount.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.strip()}")
        return folder

    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    yield make
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)
