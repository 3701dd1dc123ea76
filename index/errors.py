"""Errors of the index. Each message is a sentence that says what is wrong, where, and what to do.

The command line prints it without a traceback and ends with `exit_status`.
"""


class IndexFault(Exception):
    """Base of all errors of this package that the user, not the programmer, can put right."""

    exit_status = 1


class NoDocuments(IndexFault):
    """The folder of documents is missing, or holds nothing that can be read."""


class TooManyRemovals(IndexFault):
    """More documents would vanish from the index at once than `allow_removal` allows."""


class NoSnapshot(IndexFault):
    """The index has no live snapshot, or not the one that was asked for."""


class EncoderMismatch(IndexFault):
    """Another encoder than the one at hand built the index, so their vectors cannot be compared."""


class CorruptSnapshot(IndexFault):
    """A file of a snapshot is missing, truncated or altered."""


class IndexBusy(IndexFault):
    """Another process is writing the index."""
