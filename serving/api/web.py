"""The page: its files, its sessions, and one question at a time for browsers without JavaScript.

The page itself is open, because it holds nothing: whatever it shows comes from the routes that clients call, with the
session's key. Its files are read when this module is imported, so that no path of a request reaches the file system.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response, delete, get, post
from litestar.datastructures import Cookie

from ragft.page import STYLE
from serving.api.bodies import decode_object
from serving.api.chat_request import read_request
from serving.api.exchange import prepare
from serving.api.schemas import check
from serving.deployment import Deployed, Ready
from serving.domains import Served
from serving.errors import ApiError, request_id_of
from serving.limits import FORM, until_disconnect
from serving.pages import HEADERS, WEB, PageFile, scripts
from serving.security import Callers, caller_of
from serving.sessions import COOKIE, LIFETIME, is_same_origin

_PAGES = Environment(loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined)
_FILES = {
    "app.css": PageFile.of(STYLE.read_bytes() + (WEB / "app.css").read_bytes(), "text/css"),
    **scripts(WEB),
}


class SessionBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a session is opened with.

    Attributes:
        key: an API key, or a token of the identity provider.
    """

    key: str


class QuestionForm(msgspec.Struct):
    """The fields of the form for browsers without JavaScript."""

    question: str


@get("/", opt={"scope": "open"}, media_type=MediaType.HTML)
async def index(request: Request[Any, Any, Any], domains: Served) -> Response[str]:
    """The page on which people ask."""
    # It needs no key, so that it names no domain of several.
    names = [deployment.domain for deployment in domains.deployments]
    return _page("index.html", name=names[0] if len(names) == 1 else "ragft", closed=_callers(request).are_known)


@get("/web/{name:str}", opt={"scope": "open"})
async def web_file(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """A script or style of the page."""
    file = _FILES.get(name)
    if file is None:
        raise ApiError(404, "The page has no such file.")
    return file.response(request)


@get("/web/session", opt={"scope": "open"})
async def session(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Whether a key is needed here, and whether this browser has logged in."""
    callers = _callers(request)
    is_in = not callers.are_known
    if callers.are_known and (key := callers.sessions.key(_headers(request))) is not None:
        try:
            is_in = not (await callers.of_key(key)).has_expired(time.time())
        except ApiError:
            is_in = False
    return Response({"closed": callers.are_known, "logged_in": is_in}, headers=HEADERS)


@post("/web/session", opt={"scope": "open", "body": SessionBody}, status_code=200)
async def log_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Opens a session with a key; the browser gets a cookie that no script can read and no other site can use."""
    callers, form = _callers(request), await _form(request)
    asked = (
        check(decode_object(await request.body()), SessionBody) if form is None else SessionBody(form.get("key", ""))
    )
    key = asked.key.strip().encode()
    await callers.of_key(key)
    cookie = Cookie(
        COOKIE, value=callers.sessions.open(key), httponly=True, samesite="strict", max_age=int(LIFETIME),
        secure=request.url.scheme == "https",
    )  # fmt: skip
    if form is not None:
        return Response(b"", status_code=303, headers={**HEADERS, "location": "/"}, cookies=[cookie])
    return Response({"closed": True, "logged_in": True}, headers=HEADERS, cookies=[cookie])


@delete("/web/session", opt={"scope": "open"}, status_code=200)
async def log_out(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Ends the session."""
    if is_same_origin(_headers(request)):
        _callers(request).sessions.close(_headers(request))
    return Response({"logged_in": False}, headers=HEADERS, cookies=[Cookie(COOKIE, value="", max_age=0)])


@post("/web/ask", opt={"scope": "chat", "form": QuestionForm}, media_type=MediaType.HTML, status_code=200)
async def ask(request: Request[Any, Any, Any], deployment: Deployed, pipeline: Ready) -> Response[str]:
    """Answers the question of a form as a page, for browsers without JavaScript."""
    begin, form = time.perf_counter(), await _form(request)
    if form is None:
        raise ApiError(415, f"The body must be sent with `Content-Type: {FORM}`.")
    question = form.get("question", "")
    body = {"model": next(iter(deployment.named)), "messages": [{"role": "user", "content": question}]}
    asked = read_request(body, deployment.named)
    caller = caller_of(request)

    async def answer() -> Response[str]:
        exchange, engine, engine_request = await prepare(
            pipeline, asked, caller.labels, deployment.grounder, request_id_of(request), begin
        )
        exchange.noted = deployment.feedback.for_caller(caller)
        completion = await engine.chat(engine_request)
        exchange.begun(engine)
        return _page(
            "plain.html", name=deployment.app.config.name, question=question, answer=completion.text,
            told=exchange.whole(None, completion.text),
        )  # fmt: skip

    return await until_disconnect(request, answer)


ROUTES = (index, web_file, session, log_in, log_out, ask)


def _page(template: str, /, **values: Any) -> Response[str]:
    return Response(_PAGES.get_template(template).render(values), media_type=MediaType.HTML, headers=HEADERS)


def _callers(request: Request[Any, Any, Any]) -> Callers:
    callers: Callers = request.app.state.callers
    return callers


def _headers(request: Request[Any, Any, Any]) -> dict[bytes, bytes]:
    return dict(request.scope["headers"])


async def _form(request: Request[Any, Any, Any]) -> dict[str, str] | None:
    """The fields of a form that a page of this endpoint has sent; None for a body that is no form.

    Raises:
        ApiError: 403: another site may have sent it.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return None
    if not is_same_origin(_headers(request)):
        raise ApiError(403, "Forms are taken from the page of this endpoint alone.")
    fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}
