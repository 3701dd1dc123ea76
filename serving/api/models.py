"""`/v1/models`: the deployed setups, as OpenAI's clients list models."""

from __future__ import annotations

from typing import Any

from litestar import get

from serving.api.chat_request import deployed_setup
from serving.deployment import Deployed, Deployment


@get("/v1/models", opt={"scope": "chat"})
async def models(deployment: Deployed) -> dict[str, Any]:
    """The deployed setups, the default first, and the experiment, if there is one."""
    return {"object": "list", "data": [_card(deployment, setup.name) for setup in deployment.models_asked]}


@get("/v1/models/{name:str}", opt={"scope": "chat"})
async def model(deployment: Deployed, name: str) -> dict[str, Any]:
    """One deployed setup."""
    return _card(deployment, deployed_setup(name, deployment.models_asked).name)


def _card(deployment: Deployment, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(deployment.started), "owned_by": "ragft"}
