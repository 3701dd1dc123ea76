"""Which metrics are computed: the usual ones, those that are named, and those of a file of the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragft.errors import UsageError
from ragft.evaluate.metrics.base import METRICS, OPTIONAL, Metric


@contextlib.contextmanager
def selected(names: Sequence[str], file: Path | None = None, *, decides: str = "exact_match") -> Iterator[None]:
    """Has the named optional metrics, and all of a file, computed beside the usual ones.

    Args:
        file: Python that registers metrics with `@metric`; it is executed.
        decides: the metric that decides on facts, which is computed, too.

    Raises:
        UsageError: a name is unknown, the file is missing, does not run, or registers nothing, or a metric cannot
            decide on facts.
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
        METRICS[decides] = _decisive(decides)
        yield
    finally:
        for table, before in ((METRICS, usual), (OPTIONAL, optional)):
            table.clear()
            table.update(before)


def _decisive(name: str) -> Metric:
    """The metric that decides on facts: a share of them with a direction, whose differences are points."""
    known = {**METRICS, **OPTIONAL}
    found = known.get(name)
    if found is not None and (found.axis, found.unit) == ("facts", "share") and found.better is not None:
        return found
    fault = f"there is no metric {name!r}"
    if found is not None:
        measures = f"measures {found.axis} in {found.unit}" if found.unit != "share" else f"is about {found.axis}"
        fault = f"{name} {measures}" if found.better else f"{name} says neither that more is better nor that less is"
    fit = ", ".join(one.name for one in known.values() if (one.axis, one.unit) == ("facts", "share") and one.better)
    raise UsageError(f"evaluate.decides: {fault}; what decides on facts is a share of them: choose among {fit}.")


def _load(file: Path) -> None:
    """Runs a file of metrics."""
    before = {*METRICS, *OPTIONAL}
    if not file.is_file() or file.suffix != ".py":
        raise UsageError(f"evaluate.metrics_file: there is no Python file {str(file)!r}.")
    try:
        # Not by an import, which takes an edited file of equal length for the one that it compiled in this second.
        exec(compile(file.read_bytes(), file, "exec"), {"__name__": "ragft_own_metrics", "__file__": str(file)})  # noqa: S102
    except (Exception, SystemExit) as error:  # whatever the file raises; one that ends the program would pass a gate
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
