"""Configurations that one server serves together, a domain each.

What concerns the server as a whole is said once, in any of them: a key that only some files set holds for all, and two
files that set it differently are refused, because a guess could open a port or leave out the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragft.config.file import Config
from ragft.errors import UsageError

OF_A_DOMAIN = frozenset(
    [
        "adapters",
        "condense",
        "condense_deadline",
        "documents",
        "feedback_days",
        "grounding",
        "log_questions",
        "refuse_below",
        "refuse_by",
        "setups",
        "split",
    ]
)
"""The keys of `serve` that each domain has for itself; the others are the server's."""


def in_one_server(configs: Sequence[tuple[str, Config]]) -> list[Config]:
    """The configurations as one server runs them: all with the same values for what concerns the server.

    Args:
        configs: each with the name of its file. One alone stays as it is.

    Raises:
        UsageError: two have the same name or workspace, or set a key of the server differently.
    """
    if len(configs) == 1:
        return [configs[0][1]]
    _refuse_twice("name", [(file, config.name) for file, config in configs])
    _refuse_twice("workspace", [(file, config.workspace_folder.resolve()) for file, config in configs])
    shared: dict[str, Any] = {}
    said_in: dict[str, str] = {}
    for file, config in configs:
        for key in sorted(config.serve.model_fields_set - OF_A_DOMAIN):
            value = getattr(config.serve, key)
            if key in shared and shared[key] != value:
                raise UsageError(
                    f"serve.{key} concerns the whole server and differs in {said_in[key]} and {file}: leave it out of "
                    "one of them, or give it once with --set."
                )
            shared.setdefault(key, value)
            said_in.setdefault(key, file)
    return [config.model_copy(update={"serve": config.serve.model_copy(update=shared)}) for _, config in configs]


def _refuse_twice(key: str, values: Sequence[tuple[str, Any]]) -> None:
    seen: dict[Any, str] = {}
    for file, value in values:
        if value in seen:
            raise UsageError(
                f"{seen[value]} and {file} have the same {key} ({value}), and one server serves each domain once: give "
                "each file its own."
            )
        seen[value] = file
