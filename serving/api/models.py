"""`/v1/models`: the deployed setups, as OpenAI's clients list models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, get

from serving.api.chat_request import deployed_setup
from serving.deployment import Deployment
from serving.domains import Served
from serving.security import caller_of


@get("/v1/models", opt={"scope": "chat"})
async def models(request: Request[Any, Any, Any], domains: Served) -> dict[str, Any]:
    """The deployed setups of the domains that the caller opens, each domain's default first, then its experiment."""
    opened = domains.opened_by(caller_of(request))
    return {"object": "list", "data": [_card(one, name) for one in opened for name in one.models_asked]}


@get("/v1/models/{name:str}", opt={"scope": "chat"})
async def model(request: Request[Any, Any, Any], domains: Served, name: str) -> dict[str, Any]:
    """One deployed setup."""
    return _named(domains.opened_by(caller_of(request)), name)


@get("/v1/models/{domain:str}/{name:str}", opt={"scope": "chat"})
async def model_of_domain(request: Request[Any, Any, Any], domains: Served, domain: str, name: str) -> dict[str, Any]:
    """One deployed setup of one of several domains."""
    return _named(domains.opened_by(caller_of(request)), f"{domain}/{name}")


def _named(opened: Sequence[Deployment], name: str) -> dict[str, Any]:
    deployed_setup(name, {own: setup for one in opened for own, setup in one.models_asked.items()})
    return _card(next(one for one in opened if name in one.models_asked), name)


def _card(deployment: Deployment, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(deployment.started), "owned_by": "ragft"}
