"""An engine's processes end with the program that started them, however it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ragft.engine.children import OWNER

PROGRAM = """
    import asyncio
    from support.engines import MODEL, SETTINGS
    from ragft.engine.vllm import VllmEngine
    from ragft.models import resolve_model

    async def main():
        await VllmEngine(resolve_model(MODEL), SETTINGS).start()
        print("up", flush=True)
        await asyncio.sleep(600)

    if __name__ == "__main__":
        asyncio.run(main())
"""
ENDED_WITHIN = 30.0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that starts an engine and says "up" when it stands."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True, process_group=0
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def assert_killed_with_all_its_children(program: subprocess.Popen[str]) -> None:
    children = psutil.Process(program.pid).children(recursive=True)
    assert len(children) >= 2
    program.kill()
    program.wait()
    gone, alive = psutil.wait_procs(children, timeout=ENDED_WITHIN)
    assert not alive, f"{len(gone)} ended, {alive} live on"


@pytest.mark.slow
def test_killed_program_leaves_no_engine_process_behind(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None and program.stdout.readline() == "up\n"
    assert_killed_with_all_its_children(program)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_program_killed_while_its_engine_starts_leaves_no_process_behind(
    program: subprocess.Popen[str], seconds: float
) -> None:
    def spawned() -> bool:
        for child in psutil.Process(program.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # of a tool that vLLM asks about the processor
                if "--multiprocessing-fork" in child.cmdline():
                    return True
        return False

    deadline = time.monotonic() + 300
    while not spawned():
        assert program.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)  # how far the start came: into the imports, or to waiting for what the program would tell it
    assert_killed_with_all_its_children(program)


def test_program_that_is_no_engine_process_is_left_alone() -> None:
    code = (
        "import threading; from ragft.engine.children import end_with_owner; "
        "end_with_owner(); print(threading.active_count())"
    )
    variables = {key: value for key, value in os.environ.items() if key != OWNER}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.medium
def test_engine_process_ends_when_its_parent_is_gone() -> None:
    # It says its id once it watches.
    child = (
        "import os, time; from ragft.engine.children import end_with_owner; end_with_owner(); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        env={**os.environ, OWNER: "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    assert orphan.is_running()
    process.kill()
    process.wait()
    gone, _ = psutil.wait_procs([orphan], timeout=ENDED_WITHIN)
    assert gone or orphan.status() == psutil.STATUS_ZOMBIE


FORKING = """
    import multiprocessing, os, sys, threading, time
    from pathlib import Path
    from ragft.engine.children import OWNER, forked_children, stderr_of_children

    def engine():
        print("of the engine", file=sys.stderr, flush=True)
        time.sleep(60)

    def other():
        print(threading.active_count(), flush=True)

    os.environ[OWNER] = str(os.getpid())
    fork = multiprocessing.get_context("fork")
    with stderr_of_children(Path(sys.argv[1])), forked_children():
        child = fork.Process(target=engine)
        child.start()
    print(child.pid, flush=True)
    fork.Process(target=other).start()  # not the engine's: nothing is done to it
    sys.stdin.read()
"""


@pytest.mark.medium
def test_a_forked_engine_process_writes_to_the_log_and_ends_with_its_owner(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FORKING), log], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    engine = psutil.Process(int(process.stdout.readline()))
    assert process.stdout.readline() == "1\n"
    deadline = time.monotonic() + ENDED_WITHIN
    while log.read_text() != "of the engine\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    gone, _ = psutil.wait_procs([engine], timeout=ENDED_WITHIN)
    assert gone or engine.status() == psutil.STATUS_ZOMBIE
    assert process.stderr.read() == ""
    process.communicate()


def test_engine_process_that_ends_in_good_order_says_all_and_frees_nothing() -> None:
    code = (
        "from ragft.engine.children import end_with_owner\n"
        "class Big:\n"
        "    def __del__(self): print('freed', flush=True)\n"
        "big = Big(); end_with_owner(); print('done')"
    )
    environment = {**os.environ, OWNER: str(os.getpid())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    without = {key: value for key, value in environment.items() if key != OWNER}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, check=True)
    assert done.stdout == "done\nfreed\n"


def test_processes_spawned_by_python_m_ragft_import_it_before_all_else() -> None:
    code = (
        "import multiprocessing, runpy, ragft.cli\n"
        "def main():\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    child = spawn.Process(target=exec, args=('import sys; print(\"ragft\" in sys.modules)',))\n"
        "    child.start(); child.join()\n"
        "ragft.cli.main = main\n"
        "runpy.run_module('ragft', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
