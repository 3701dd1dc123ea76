"""What can go wrong with an index, in sentences that a person can act on.

Every message says what is wrong, where, and what to do. The command line prints it without a traceback and
ends with `exit_status`.
"""


class IndexFault(Exception):
    """Base of every fault of this package that the user, not the programmer, can put right."""

    exit_status = 1


class NoDocuments(IndexFault):
    """The folder of documents is missing, or nothing in it can be read."""


class TooManyRemovals(IndexFault):
    """More documents would vanish from the index at once than are allowed to."""


class NoSnapshot(IndexFault):
    """The index has no snapshot yet, or not the one that was asked for."""


class EncoderMismatch(IndexFault):
    """The index was built by another encoder than the one at hand: their vectors cannot be compared."""


class CorruptSnapshot(IndexFault):
    """A file of a snapshot is missing, truncated or altered."""


class IndexBusy(IndexFault):
    """Another writer holds the lock of the index."""
