"""The page on which one reviewer decides: on this machine alone, at an address that nobody can guess.

The address holds a random token, without which every request is answered 404: neither another user of this machine nor
a web site in the same browser can read or decide anything. What others have decided is shown to a reviewer only after
their own decision, or where a conflict is to be settled, so that opinions stay independent.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State

from ragft.database import DatabaseFault, DatabaseFull
from ragft.errors import UsageError
from ragft.page import STYLE
from ragft.review.board import Standing
from ragft.review.decisions import Decision, Verdict
from ragft.review.review import Review
from serving.api.bodies import decode_object
from serving.api.schemas import check
from serving.app import listen
from serving.connections import protocol
from serving.errors import EXCEPTION_HANDLERS, ApiError
from serving.pages import HEADERS, WEB, PageFile, scripts
from serving.sessions import is_same_origin

_FOLDER = Path(__file__).parent
_PAGES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_SHARED = ("api.js", "element.js")
_FILES = {
    "review.css": PageFile.of(STYLE.read_bytes() + (_FOLDER / "review.css").read_bytes(), "text/css"),
    **scripts(_FOLDER),
    **{name: file for name, file in scripts(WEB).items() if name in _SHARED},
}
_HOST = "127.0.0.1"
_SECONDS = 30.0
"""For a request to arrive, and for its answer to be read."""


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """A decision as the page sends it; for the fields see `Review.decision`."""

    row: str
    verdict: Verdict
    reason: str = ""
    fields: dict[str, str] = {}
    settles: bool = False


def serve(review: Review, reviewer: str, port: int, say: Callable[[str], None]) -> None:
    """Serves the page until it is told to stop; every decision is on disk before the page hears of it.

    Raises:
        UsageError: the port is taken.
    """
    app = create_app(review, reviewer)
    with listen(_HOST, port, "--port") as listener:
        say(f"{reviewer} reviews at http://{_HOST}:{listener.getsockname()[1]}/{app.state.token}/")
        say("Ctrl-C ends it; whatever was decided is kept.")
        make_server(app).run(sockets=[listener])


def make_server(app: Litestar) -> Any:
    """A uvicorn server for this application, which ends with status 0 when it is told to stop."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.should_exit = True

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # No log of requests: the token stands in each.
    return Server(
        uvicorn.Config(
            app, http=protocol(_SECONDS, _SECONDS), lifespan="off", ws="none", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


def create_app(review: Review, reviewer: str) -> Litestar:
    """The application of one reviewer; `state.token` is what its addresses begin with."""
    return Litestar(
        route_handlers=[page, page_file, board, row, decide, undo],
        before_request=_refuse_strangers,
        exception_handlers=EXCEPTION_HANDLERS,
        state=State({"review": review, "reviewer": reviewer, "token": secrets.token_urlsafe(24)}),
        openapi_config=None,
        logging_config=None,
    )


@get("/{token:str}", media_type=MediaType.HTML, sync_to_thread=False)
def page(state: State) -> Response[str]:
    """The page itself."""
    values = {"title": state.review.title, "reviewer": state.reviewer, "home": f"/{state.token}"}
    return Response(_PAGES.get_template("page.html").render(values), media_type=MediaType.HTML, headers=HEADERS)


@get("/{token:str}/file/{name:str}", sync_to_thread=False)
def page_file(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """A script or style of the page."""
    file = _FILES.get(name)
    if file is None:
        raise ApiError(404, "The page has no such file.")
    return file.response(request)


@get("/{token:str}/board", sync_to_thread=True)
def board(state: State) -> Response[dict[str, Any]]:
    """All rows, and how far the reviewer has come."""
    standings = state.review.standings()
    rows = [_summary(one, state.reviewer) for one in standings]
    return Response({"rows": rows, **_counts(standings, state.reviewer)}, headers=HEADERS)


@get("/{token:str}/rows/{key:str}", sync_to_thread=True)
def row(state: State, key: str, settling: bool = False) -> Response[dict[str, Any]]:
    """A row with its sources, and with what others say of it where that may be seen."""
    review: Review = state.review
    standing = _standing(review, key)
    item, mine = standing.item, standing.said.get(state.reviewer)
    support = review.passages.of(item)
    seen = [*standing.said.values()] if mine is not None or settling else []
    settled = [standing.settled] if standing.settled is not None else []
    told = {
        **_summary(standing, state.reviewer),
        "fields": item.fields, "beside": item.beside, "remark": support.remark, "repeats": item.repeats,
        "passages": [{"source": one.source, "pieces": one.pieces} for one in support.passages],
        "decision": _told(mine) if mine else None,
        "others": [_told(one) for one in (*seen, *settled) if one is not mine],
        "earlier": [_told(one) for one in standing.earlier if one.reviewer == state.reviewer or seen],
    }  # fmt: skip
    return Response(told, headers=HEADERS)


@post("/{token:str}/decisions", status_code=200)
async def decide(request: Request[Any, Any, Any], state: State) -> Response[dict[str, Any]]:
    """Keeps a decision; it is on disk when this is answered."""
    body = check(decode_object(await request.body()), DecisionBody)
    review: Review = state.review
    with _faults_told():
        decision = review.decision(
            review.item(body.row), state.reviewer, body.verdict, reason=body.reason, fields=body.fields,
            settles=body.settles,
        )  # fmt: skip
        review.store.add([decision])
        return _after(review, state.reviewer, body.row)


@post("/{token:str}/undo", status_code=200)
async def undo(state: State) -> Response[dict[str, Any]]:
    """Takes back the reviewer's newest decision."""
    review: Review = state.review
    with _faults_told():
        undone = review.store.undo(state.reviewer)
        if undone is None:
            raise ApiError(409, "There is nothing to take back.")
        return _after(review, state.reviewer, undone.row)


def _refuse_strangers(request: Request[Any, Any, Any]) -> None:
    """Answers 404 to whoever does not know the address, and 403 to other sites that would write."""
    token = str(request.path_params.get("token", ""))
    if not hmac.compare_digest(token.encode(), str(request.app.state.token).encode()):
        raise ApiError(404, "There is no such page: open the address that the command printed.")
    if request.method == "POST" and not is_same_origin(dict(request.scope["headers"])):
        raise ApiError(403, "Decisions are taken from the page alone.")


@contextmanager
def _faults_told() -> Iterator[None]:
    """Faults of the disk as answers that the page shows."""
    try:
        yield
    except DatabaseFull as error:
        raise ApiError(507, str(error)) from error
    except DatabaseFault as error:
        raise ApiError(503, str(error)) from error


def _standing(review: Review, key: str) -> Standing:
    try:
        item = review.item(key)
    except UsageError as error:
        raise ApiError(404, str(error)) from None
    return next(one for one in review.standings() if one.item.key == item.key)


def _after(review: Review, reviewer: str, key: str) -> Response[dict[str, Any]]:
    """How a row and the whole stand after something was decided; the row is None where it is not there any more."""
    standings = review.standings()
    changed = next((_summary(one, reviewer) for one in standings if one.item.key == key), None)
    return Response({"row": changed, **_counts(standings, reviewer)}, headers=HEADERS)


def _summary(standing: Standing, reviewer: str) -> dict[str, Any]:
    item, mine = standing.item, standing.said.get(reviewer)
    return {
        "key": item.key, "label": item.label, "name": item.name, "text": "\n".join(item.fields.values()),
        "mine": mine.verdict if mine else None, "conflict": standing.conflict,
        "settled": standing.settled.verdict if standing.settled else None, "changed": bool(standing.earlier),
    }  # fmt: skip


def _counts(standings: list[Standing], reviewer: str) -> dict[str, int]:
    return {
        "all": len(standings), "decided": sum(reviewer in one.said for one in standings),
        "conflicts": sum(one.conflict for one in standings),
    }  # fmt: skip


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "reviewer": decision.reviewer, "verdict": decision.verdict, "reason": decision.reason,
        "edited": dict(decision.edited), "settles": decision.settles,
    }  # fmt: skip
