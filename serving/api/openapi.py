"""`/openapi.json` and `/docs`: the routes and their requests, as the handlers and structs say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from ragft.artifacts import package_versions
from serving.domains import Domains, is_named_by_query
from serving.errors import STATUS_TYPES
from serving.limits import FORM

_TEMPLATE = Path(__file__).with_name("openapi.html.j2")
_SCHEMAS = "#/components/schemas/"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "integer"},
            },
        }
    },
}


@get("/openapi.json", opt={"scope": "chat"})
async def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """This description, as an OpenAPI 3.1 document."""
    return describe(request.app)


@get("/docs", opt={"scope": "chat"}, media_type=MediaType.HTML)
async def page(request: Request[Any, Any, Any]) -> Response[str]:
    """This description as a page, which loads nothing and runs no script."""
    from ragft.page import render_page

    text = render_page(_TEMPLATE, {"written": _written}, document=describe(request.app))
    return Response(text, media_type=MediaType.HTML)


def _written(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def describe(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document of an application.

    Routes are described by their docstrings and by what their `opt` holds: `scope`; `body`, the struct that their
    request is read into; `may_be_empty`, whether it may be left out; `form`, the struct of the fields of a form; and
    `query`, the types of query parameters. A parameter that the handler has no default for is needed, and so is the
    domain, where the server has several.
    """
    domains: Domains = app.state.domains
    handlers = [
        (route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "scope" in handler.opt
    ]
    taken = (handler.opt.get("body", handler.opt.get("form")) for _, handler in handlers)
    bodies = list(dict.fromkeys(body for body in taken if body is not None))
    _, schemas = msgspec.json.schema_components(bodies, ref_template=_SCHEMAS + "{name}")
    paths: dict[str, dict[str, Any]] = {}
    for path, handler in handlers:
        for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(path, handler, len(domains.deployments) > 1)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ragft", "version": package_versions(["ragft"]).get("ragft") or "0"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, handler: HTTPRouteHandler, several: bool) -> dict[str, Any]:
    scope = handler.opt["scope"]
    error = {"application/json": {"schema": {"$ref": _SCHEMAS + "Error"}}}
    described: dict[str, Any] = {
        "operationId": handler.fn.__name__,
        "summary": " ".join((handler.fn.__doc__ or "").split()),
        "security": [] if scope == "open" else [{"key": [scope]}],
        "responses": {
            "200": {"description": "OK"},
            **{str(status): {"description": kind, "content": error} for status, kind in STATUS_TYPES.items()},
        },
    }
    asked = inspect.signature(handler.fn).parameters
    parameters = [_parameter(name, "path", "string", True) for name in re.findall(r"\{(\w+)\}", path)]
    for name, kind in handler.opt.get("query", {}).items():
        needed = name in asked and asked[name].default is inspect.Parameter.empty
        parameters.append(_parameter(name, "query", kind, needed))
    if {"deployment", "pipeline"} & asked.keys() and is_named_by_query(handler.opt):
        parameters.append(_parameter("domain", "query", "string", several))
    if parameters:
        described["parameters"] = parameters
    for name, kind in (("body", "application/json"), ("form", FORM)):
        if (body := handler.opt.get(name)) is not None:
            schema = {"$ref": _SCHEMAS + body.__name__}
            needed = not handler.opt.get("may_be_empty", False)
            described["requestBody"] = {"required": needed, "content": {kind: {"schema": schema}}}
    return described


def _parameter(name: str, place: str, kind: str, needed: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": needed, "schema": {"type": kind}}
