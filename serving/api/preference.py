"""`/v1/preference`: which of several answers to one question whoever got them prefers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, post
from msgspec import Meta

from serving.api.bodies import read_body
from serving.api.feedback import AnswerId, Text, text_of
from serving.domains import Served
from serving.errors import ApiError
from serving.feedback import MOST
from serving.security import caller_of
from serving.telemetry.record import current

MAX_ANSWERS = 16


class PreferenceBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which of several answers is the best.

    Attributes:
        answers: ids of the answers, in the order in which they were shown.
        choice: the place of the best one in `answers`, from 1; `tie` where all are equally good, `none` where none is
            good.
        blind: whether the setups' names were hidden until the choice was made.
    """

    answers: Annotated[list[AnswerId], Meta(min_length=2, max_length=MAX_ANSWERS)]
    choice: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | Literal["tie", "none"]
    blind: bool
    comment: Text | None = None

    def __post_init__(self) -> None:
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("An answer stands twice in `answers`")
        if isinstance(self.choice, int) and self.choice > len(self.answers):
            raise ValueError("There are fewer `answers` than `choice` says")


@post("/v1/preference", opt={"scope": "chat", "body": PreferenceBody}, status_code=200)
async def preference(request: Request[Any, Any, Any], domains: Served) -> dict[str, Any]:
    """Keeps which of some answers that it got a caller prefers, and says which setups these are of."""
    asked, caller = await read_body(request, PreferenceBody), caller_of(request)
    for deployment in domains.opened_by(caller):
        answers = deployment.feedback.to_choose_from(asked.answers, caller)
        if answers is not None:
            current().domain = deployment.domain
            kept, replaced = await deployment.feedback.vote(
                answers, asked.choice, caller, blind=asked.blind, comment=text_of(asked.comment)
            )
            return {"id": kept.id, "setups": [one.setup for one in kept.shown], "replaced": replaced}
    raise ApiError(
        404,
        f"Not all of these answers are known here: a choice is taken between the last {MOST} answers of one domain "
        "since the server began, from the key that got them.",
        "answers",
    )
