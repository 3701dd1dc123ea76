"""The process in which vLLM computes on a processor: scheduler and model in one, started with OpenMP's variables."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ragft.engine.children import forked_children

_MANY_CORES = 4  # from where one of them is better left to the process that speaks HTTP


def beside_its_scheduler(arguments: Any, *, forked: bool) -> Any:
    """vLLM's engine on a CPU, with scheduler and model in one process, and not in one each.

    Another process would have to import the same modules once more, and be talked to at every token. vLLM keeps the two
    apart on a CPU because OpenMP reads its variables when it is loaded, which is too late where the scheduler is the
    one who sets them: here they are set before that process begins.

    Args:
        forked: the process may be forked from this one, which saves it from importing everything once more.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    arguments.distributed_executor_backend = "uni"
    with variables(VLLM_ENABLE_V1_MULTIPROCESSING="0"):  # without which vLLM's CPU platform makes "mp" of "uni"
        config = arguments.create_engine_config()
    with variables(**of_openmp(config)):
        if not forked:
            return AsyncLLM.from_vllm_config(config)
        # OpenMP hangs in a process that was forked from a thread which has used it; this one never has.
        with ThreadPoolExecutor(1, "fork") as fresh:
            return fresh.submit(_forking, config).result()


def _forking(config: Any) -> Any:
    """vLLM's engine, whose process is forked from this thread."""
    import torch
    from vllm.v1.engine.async_llm import AsyncLLM

    # OpenMP has read its variables here long ago; a forked process goes on with the thread's own number.
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))
    try:
        with variables(VLLM_WORKER_MULTIPROC_METHOD="fork"), forked_children():
            return AsyncLLM.from_vllm_config(config)
    finally:
        torch.set_num_threads(threads)


def of_openmp(config: Any) -> dict[str, str]:
    """OpenMP's variables for a process that runs a model: the threads and cores that vLLM would give a worker, and on
    few cores one thread for each of them.

    vLLM keeps a core free for its scheduler, which is half of two. A thread that waits gives its core away, because the
    process that speaks HTTP needs it now and then.
    """
    cores = len(os.sched_getaffinity(0))
    if cores < _MANY_CORES and "VLLM_CPU_OMP_THREADS_BIND" not in os.environ:
        return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores)), "OMP_WAIT_POLICY": "passive"}
    from vllm.utils.ompmultiprocessing import OMPProcessManager

    with _environment, OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
        return {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_", "KMP_"))}


_environment = threading.Lock()
_starting = 0
_held = dict[str, tuple[int, str | None]]()
"""How many engines hold a variable, and what it was before the first did."""


@contextlib.contextmanager
def variables_change() -> Iterator[None]:
    """While engines start, vLLM's settings are read from the environment, and afterwards from a copy of it: vLLM, which
    keeps such a copy in its other processes, looks some of them up for every token.
    """
    global _starting
    with _environment:
        _starting += 1
        if (envs := sys.modules.get("vllm.envs")) is not None:
            envs.disable_envs_cache()
    try:
        yield
    finally:
        with _environment:
            _starting -= 1
            if _starting == 0 and (envs := sys.modules.get("vllm.envs")) is not None:
                envs.enable_envs_cache()


@contextlib.contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, the same for all engines, for as long as one of those that start needs them."""
    with _environment:
        for name, value in values.items():
            holders, before = _held.get(name, (0, os.environ.get(name)))
            _held[name] = holders + 1, before
            os.environ[name] = value
    try:
        yield
    finally:
        with _environment:
            for name in values:
                holders, before = _held.pop(name)
                if holders > 1:
                    _held[name] = holders - 1, before
                elif before is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = before
