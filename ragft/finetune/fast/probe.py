"""Whether the fast loop trains a base exactly."""

from __future__ import annotations

from ragft.errors import RagftError


class NotFast(RagftError):
    """The fast back end would not train this base exactly; another back end may."""
