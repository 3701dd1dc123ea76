"""Which metrics are computed: the usual ones, those that are named, and those of a file of the user's own."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragft.errors import UsageError
from ragft.evaluate.metrics.base import METRICS, OPTIONAL


@contextlib.contextmanager
def selected(names: Sequence[str], file: Path | None = None) -> Iterator[None]:
    """Has the named optional metrics, and all of a file, computed beside the usual ones.

    Args:
        file: Python that registers metrics with `@metric`; it is executed.

    Raises:
        UsageError: a name is unknown, or the file is missing, does not run, or registers nothing.
    """
    usual, optional = dict(METRICS), dict(OPTIONAL)
    try:
        if file is not None:
            _load(file)
            METRICS.update({name: metric for name, metric in OPTIONAL.items() if name not in optional})
        for name in names:
            if name in OPTIONAL:
                METRICS[name] = OPTIONAL[name]
            elif name not in METRICS:
                known = ", ".join(sorted(OPTIONAL))
                raise UsageError(
                    f"evaluate.metrics: there is no metric {name!r}; beside the usual ones there are {known}."
                )
        yield
    finally:
        for table, before in ((METRICS, usual), (OPTIONAL, optional)):
            table.clear()
            table.update(before)


def _load(file: Path) -> None:
    """Runs a file of metrics."""
    before = {*METRICS, *OPTIONAL}
    spec = importlib.util.spec_from_file_location("ragft_own_metrics", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"evaluate.metrics_file: there is no Python file {str(file)!r}.")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:  # whatever the file raises
        at = f", line {line}" if (line := _line_in(error, file)) else ""
        raise UsageError(f"evaluate.metrics_file: {file}{at} does not run: {type(error).__name__}: {error}") from error
    if before == {*METRICS, *OPTIONAL}:
        raise UsageError(
            f"evaluate.metrics_file: {file} registers no metric: decorate a function with `@metric` of "
            "`ragft.evaluate.metrics`."
        )


def _line_in(error: BaseException, file: Path) -> int | None:
    if isinstance(error, SyntaxError):
        return error.lineno
    found, trace = None, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
