"""Requests in vLLM's own form, and what is wrong with those that cannot be brought into it.

Whatever vLLM raises while it reads a request is the request's fault and never the server's: its checks expect types
that a request need not have. The field at fault is then found by leaving one out after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ragft.engine.base import RequestRefused


def read_request(kind: Any, body: Mapping[str, Any]) -> Any:
    """A request as vLLM's own object.

    Args:
        kind: vLLM's class of such requests.

    Raises:
        RequestRefused: with the field at fault where it can be told.
    """
    from pydantic import ValidationError
    from vllm.exceptions import VLLMValidationError

    try:
        return kind.model_validate(dict(body))
    except ValidationError as error:
        refusal = first_fault(error)
    except RecursionError:
        refusal = RequestRefused("The request is nested too deeply.")
    except VLLMValidationError as error:
        refusal = RequestRefused(str(error)[:300], param=error.parameter)
    except Exception:
        refusal = RequestRefused("The request is not valid.")
    if refusal.param is None and (field := _field_at_fault(kind, body)):
        refusal = RequestRefused(f"{field}: {refusal}", param=field)
    raise refusal


def _field_at_fault(kind: Any, body: Mapping[str, Any]) -> str | None:
    """The field without which a request is valid; None if there is no single one."""

    def is_valid(names: Iterable[str]) -> bool:
        try:
            kind.model_validate({name: body[name] for name in names})
        except Exception:
            return False
        return True

    return next((left_out for left_out in body if is_valid(name for name in body if name != left_out)), None)


def first_fault(error: Any) -> RequestRefused:
    """The first fault that pydantic found in a request, in a bounded sentence: nothing is echoed back."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = f"{where}: {fault['msg']}" if where else fault["msg"]
    return RequestRefused(message[:300], param=where[:80] or None)
