"""Values that a field of a request may hold and should not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**40])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["", "text", "auto", "json_schema", "function", "user", "[" * 300, "(" * 300])
)
_KEYS = st.sampled_from(["type", "text", "role", "content", "function", "name", "json", "regex", "schema", "7"])

VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def nested(levels: int) -> Any:
    """Lists and objects in each other."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value
