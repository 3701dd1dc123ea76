"""The domains of one server: a deployment for each, and which of them a request is about.

The setups of a single domain are called by their plain names. Of several domains, `domain/setup` is a model's name,
and `?domain=` says which one a route of /admin/ or one without a body is about. Callers are told the same of a domain
that they do not open and of one that there is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from ragft.keys import Caller
from ragft.stages.application import Application
from serving.deployment import Deployment, Load
from serving.errors import ApiError
from serving.security import caller_of
from serving.shared import Shared
from serving.telemetry.record import current


class _Named(msgspec.Struct):
    """Of a body, what it calls its model."""

    model: Any = None


class Domains:
    """The deployments of one server.

    Attributes:
        deployments: in the order of their configurations.
        on_ready: called when all of them answer: after loading, and again when an engine was rebuilt.
        on_failure: called when one of them cannot go on.
    """

    def __init__(self, apps: Sequence[Application], load: Load | Mapping[str, Load] | None = None) -> None:
        """
        Args:
            load: as for `Deployment`; of several domains, by their names.
        """
        shared = Shared(apps)
        loads = load if isinstance(load, Mapping) else dict.fromkeys((app.config.name for app in apps), load)
        self.deployments = tuple(Deployment(app, loads[app.config.name], shared) for app in apps)
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        for deployment in self.deployments:
            deployment.on_ready = self._one_is_ready
            deployment.on_failure = lambda: self.on_failure()

    @property
    def state(self) -> str:
        """That of the first deployment that is not `ready`; see `Deployment.state`."""
        return next((one.state for one in self.deployments if one.state != "ready"), "ready")

    async def status(self) -> str:
        """As `state`, after asking the engines."""
        found = [await deployment.status() for deployment in self.deployments]
        return next((status for status in found if status != "ready"), "ready")

    @property
    def failure(self) -> Exception | None:
        """Why a deployment serves no more; None while all is well."""
        return next((one.failure for one in self.deployments if one.failure is not None), None)

    @property
    def models(self) -> list[str]:
        """The names of all models that clients may ask for."""
        return [name for deployment in self.deployments for name in deployment.named]

    def drain(self) -> None:
        """Answers in progress are finished and new ones refused."""
        for deployment in self.deployments:
            deployment.draining = True

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """See `Deployment.lifespan`."""
        async with contextlib.AsyncExitStack() as stack:
            for deployment in self.deployments:
                await stack.enter_async_context(deployment.lifespan())
            try:
                yield
            finally:
                # All of them before the first engine is closed: who still watched it would have it rebuilt.
                for deployment in self.deployments:
                    await deployment.stop()

    def opened_by(self, caller: Caller) -> list[Deployment]:
        """The deployments that are there for a caller."""
        return [deployment for deployment in self.deployments if caller.opens(deployment.domain)]

    def check_opens_all(self, caller: Caller) -> None:
        """Refuses a caller who would see of other domains how they are.

        Raises:
            ApiError: 403.
        """
        if len(self.opened_by(caller)) < len(self.deployments):
            raise ApiError(403, "This API key is restricted to domains, and this is about the whole server.")

    async def meant(self, request: Request[Any, Any, Any]) -> Deployment:
        """The deployment that a request is about.

        Raises:
            ApiError: 400: it must name one and does not; 404: there is no such domain, or the caller does not open it.
        """
        opened = self.opened_by(caller_of(request))
        if not opened:
            raise ApiError(404, "This API key opens no domain that is here.")
        if is_named_by_query(request.route_handler.opt):
            found = self._named(request, opened)
        else:
            found = await self._asked(request, opened)
        current().domain = found.domain
        return found

    def _named(self, request: Request[Any, Any, Any], opened: Sequence[Deployment]) -> Deployment:
        given = request.query_params.getall("domain", [])
        named = [deployment for deployment in opened if given in ([deployment.domain], [])]
        if len(named) == 1 and (given or len(self.deployments) == 1):
            return named[0]
        if len(given) == 1:
            raise ApiError(404, f"There is no domain {given[0][:80]!r} here; {_listed(opened)}.", "domain")
        raise ApiError(400, f"Say which domain this is about with ?domain=NAME; {_listed(opened)}.", "domain")

    async def _asked(self, request: Request[Any, Any, Any], opened: Sequence[Deployment]) -> Deployment:
        if len(self.deployments) == 1:
            return opened[0]
        body = await request.body()
        try:
            model = msgspec.json.decode(body, type=_Named).model
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ApiError(400, f"The body is not a JSON object: {str(error)[:200]}.") from None
        if not isinstance(model, str):
            raise ApiError(
                400, f"The field 'model' must begin with a domain, as in 'domain/setup'; {_listed(opened)}.", "model"
            )
        name = model.partition("/")[0]
        for deployment in opened:
            if deployment.domain == name:
                return deployment
        raise ApiError(404, f"The model {model[:80]!r} is of no domain here; {_listed(opened)}.", "model")

    def _one_is_ready(self) -> None:
        if self.state == "ready":
            self.on_ready()


Served = NamedDependency[SkipValidation[Domains]]
"""What routes ask for by the name `domains`; `create_app` provides it."""


def is_named_by_query(opt: Mapping[str, Any]) -> bool:
    """Whether `?domain=` names the domain of a request, by what its route's `opt` holds; else its body's model does."""
    return "body" not in opt or opt["scope"] == "admin"


def _listed(opened: Sequence[Deployment]) -> str:
    return f"there are: {', '.join(deployment.domain for deployment in opened)}"
