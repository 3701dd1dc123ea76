"""What an error that is no bug is told as: one sentence, and an exit status."""

from __future__ import annotations

import errno

from ragft.cli import options
from ragft.errors import RagftError


def refusal(error: Exception) -> tuple[int, str | None]:
    """Exit status and sentence of an error that is not a bug; None for one that is."""
    from index.errors import IndexFault

    if isinstance(error, RagftError):
        return error.exit_status, str(error)
    if isinstance(error, IndexFault):
        return 1, str(error)
    if _is_full_disk(error):
        # A write that fails seldom knows its file.
        full = getattr(error, "filename", None) or options.workspace_in_use
        where = f" ({full})" if full else ""
        sentence = (
            f"The disk is full{where}: free some space and run the command again; what was published is unharmed."
        )
        return 1, sentence
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        sentence = (
            f"No permission for {error.filename}: change its owner or mode, or set `workspace` to another folder."
        )
        return 1, sentence
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in ("ragft", "index", "serving"):
        sentence = (
            f"The package {error.name!r} is not installed; `ragft doctor` says what is missing and how to get it."
        )
        return 1, sentence
    return 1, None


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors, which is written in Rust, wraps what the system said.
    return type(error).__name__ == "SafetensorError" and f"os error {errno.ENOSPC}" in str(error)
