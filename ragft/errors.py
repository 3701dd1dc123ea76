"""What ragft refuses, and how.

A message says what is wrong, where, and what to do, in one sentence; the command line prints it without a
traceback and ends with the error's exit status.
"""


class RagftError(Exception):
    """Something failed or a gate was not met."""

    exit_status = 1


class UsageError(RagftError):
    """A wrong argument, configuration or input file: nothing was done."""

    exit_status = 2


class MissingDependency(RagftError):
    """A package or packaged model that this command needs is not installed."""
