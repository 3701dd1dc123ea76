"""`/v1/feedback`: what whoever got an answer says about it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from msgspec import Meta

from ragft.feedback.store import Reason, Said, Thumb
from serving.api.bodies import read_body
from serving.domains import Served
from serving.errors import ApiError
from serving.feedback import MOST
from serving.security import caller_of
from serving.telemetry.record import current

Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
AnswerId = Annotated[str, Meta(min_length=1, max_length=256)]


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is said about an answer.

    Attributes:
        id: that of the answer: of the completion or of the response.
        corrected_answer: what the answer should have been.
        source: where that stands, as `document` or `document#section`.
    """

    id: AnswerId
    thumb: Thumb
    reason: Reason | None = None
    corrected_answer: Text | None = None
    source: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    comment: Text | None = None

    def __post_init__(self) -> None:
        if self.thumb == "good" and (self.reason is not None or self.corrected_answer is not None):
            raise ValueError("A good answer has no `reason` and no `corrected_answer`")


@post("/v1/feedback", opt={"scope": "chat", "body": FeedbackBody}, status_code=200)
async def feedback(request: Request[Any, Any, Any], domains: Served) -> dict[str, Any]:
    """Keeps what a caller says about an answer that it got, in place of what it said about it before."""
    asked, caller = await read_body(request, FeedbackBody), caller_of(request)
    said = Said(
        thumb=asked.thumb, reason=asked.reason, corrected_answer=text_of(asked.corrected_answer),
        source=text_of(asked.source), comment=text_of(asked.comment),
    )  # fmt: skip
    for deployment in domains.opened_by(caller):
        answered = await deployment.feedback.knows(asked.id, caller)
        if answered is not None:
            current().domain = deployment.domain
            kept, replaced = await deployment.feedback.take(answered, caller, said)
            return {"id": kept.id, "answer_id": kept.answer_id, "replaced": replaced}
    raise ApiError(
        404,
        f"No answer {asked.id[:80]!r} is known here: feedback is taken of the last {MOST} answers since the server "
        "began, from the key that got them.",
        "id",
    )


def text_of(text: str | None) -> str | None:
    """A text without blanks around it; None for one of blanks alone."""
    return (text or "").strip() or None
