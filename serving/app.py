"""The endpoint as an application, and the server that runs it.

`create_app` wires everything in one place; `serve` checks what can be checked before minutes of loading, listens, and
shuts down in good order.
"""

from __future__ import annotations

import errno
import gc
import logging
import math
import signal
import socket
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from ragft.errors import UsageError
from ragft.pipeline import Pipeline
from ragft.stages.application import Application
from serving.api import documents, operations, web
from serving.api.admin import deploy_model, refresh_index, roll_back_index, roll_back_model, versions
from serving.api.chat import chat_completions
from serving.api.completions import completions
from serving.api.document import document
from serving.api.drift import show_drift
from serving.api.embeddings import embeddings
from serving.api.feedback import feedback
from serving.api.health import deep, live, metrics, ready
from serving.api.models import model, model_of_domain, models
from serving.api.openapi import openapi, page
from serving.api.preference import preference
from serving.api.responses import responses
from serving.api.retrieve import retrieve
from serving.audit import Audit
from serving.connections import protocol
from serving.cors import Cors
from serving.deployment import Deployed, Deployment, Load, check_deployable
from serving.domains import Domains
from serving.errors import EXCEPTION_HANDLERS
from serving.limits import Limits, RequestIds
from serving.oidc import Issuer
from serving.rates import metered
from serving.security import Callers, Keys, Security, check_exposure, require_scope
from serving.telemetry import Telemetry
from serving.telemetry.logs import logging_to_stderr
from serving.telemetry.metrics import on_own_port

# Seconds that an idle connection is kept.
_KEEP_ALIVE = 5
_ROUTES = [
    chat_completions, completions, responses, embeddings, models, model, model_of_domain, retrieve, document,
    feedback, preference,
    refresh_index, roll_back_index, deploy_model, roll_back_model, versions, show_drift,
    openapi, page, live, ready, deep, metrics,
    *operations.ROUTES, *web.ROUTES,
]  # fmt: skip


def create_app(
    *applications: Application, load: Load | Mapping[str, Load] | None = None, keys: Keys | None = None
) -> Litestar:
    """The endpoint as an ASGI application; engines and index load in the background of its lifespan.

    Args:
        applications: one for each domain; the first one's configuration says what concerns the whole server, see
            `ragft.config.domains`.
        load: makes what answers questions, of several domains by their names; None: engines and index of each.
        keys: the accepted API keys; None: those of the environment and of `serve.keys`.

    Raises:
        UsageError: no key, and the configured address is reachable from other machines; or the issuer's public keys or
            the audit log are not usable; or an arm of `serve.split` names a model that there is not.
    """
    settings = applications[0].config.serve
    if keys is None:
        keys = Keys.load(settings.keys)
    issuer = Issuer(settings.jwt) if settings.jwt.issuer is not None else None
    callers = Callers(keys, issuer)
    check_exposure(settings.host, is_closed=callers.are_known)
    domains = Domains(applications, load)
    telemetry = Telemetry(domains)

    async def deployment_of(request: Request[Any, Any, Any]) -> Deployment:
        return await domains.meant(request)

    def pipeline_of(request: Request[Any, Any, Any], deployment: Deployed) -> Pipeline:
        return metered(telemetry.pipeline(deployment), request)

    takes_documents = any(application.config.serve.documents for application in applications)
    app = Litestar(
        route_handlers=[*_ROUTES, *(documents.ROUTES if takes_documents else ())],
        guards=[require_scope],
        dependencies={
            "domains": Provide(lambda: domains, sync_to_thread=False),
            "deployment": Provide(deployment_of),
            "pipeline": Provide(pipeline_of, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[domains.lifespan, telemetry.lifespan],
        state=State({"domains": domains, "telemetry": telemetry, "callers": callers}),
        # Bodies are bounded by `Limits`; Litestar's own description of the routes would be open to everybody.
        request_max_body_size=None,
        openapi_config=None,
        # How to log is the program's business: Litestar would turn on every library's information.
        logging_config=None,
    )
    # Around the whole application and not among its middleware, which unknown routes never pass.
    limits = Limits(
        Audit(app.asgi_handler, settings.audit_log) if settings.audit_log is not None else app.asgi_handler,
        max_body_bytes=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
        max_requests=sum(app.config.engine.max_num_seqs + settings.max_queued for app in applications),
    )
    secured: ASGIApp = Security(limits, callers)
    if settings.cors:
        secured = Cors(secured, settings.cors)
    app.asgi_handler = RequestIds(telemetry.around(secured, {route.path for route in app.routes}))
    return app


def serve(*applications: Application, load: Load | Mapping[str, Load] | None = None) -> None:
    """Runs the endpoint until it is told to stop; running answers may finish within `serve.drain_seconds`.

    The first application's reporter is told when the server listens and when it is ready.

    Args:
        applications, load: as for `create_app`.

    Raises:
        UsageError: a port is taken, a key or a model is missing; nothing was loaded.
        IndexFault: a deployed setup retrieves, and there is no index.
        RagftError: an engine could not start.
    """
    settings, say = applications[0].config.serve, applications[0].reporter.say
    for application in applications:
        check_deployable(application)
    app = create_app(*applications, load=load)
    domains: Domains = app.state.domains
    with (
        listen(settings.host, settings.port) as listener,
        on_own_port(app.state.telemetry.metrics, settings.metrics_port),
        logging_to_stderr(settings.log_format, settings.request_log, with_domains=len(applications) > 1),
    ):
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"Listening on http://{host}:{listener.getsockname()[1]}, loading {', '.join(domains.models)}")
        server = make_server(app)
        domains.on_failure = server.stop
        domains.on_ready = lambda: _settle(say)
        try:
            server.run(sockets=[listener])
        finally:
            gc.unfreeze()
    if domains.failure is not None:
        raise domains.failure


def _settle(say: Callable[[str], None]) -> None:
    # What is loaded stays: the collector need not look at it again with every request.
    gc.collect()
    gc.freeze()
    say("Ready")


def listen(host: str, port: int, key: str = "serve.port") -> socket.socket:
    """A listening socket.

    Args:
        key: what sets the port, for messages.

    Raises:
        UsageError: the port is taken, may not be used, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(512)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"Port {port} is in use: choose another {key}, or 0 for any free one.") from None
        if error.errno == errno.EACCES:
            raise UsageError(f"Port {port} needs special rights: choose a {key} above 1023.") from None
        where = f"serve.host {host!r}, {key} {port}"
        raise UsageError(f"This machine cannot listen there ({where}): {error.strerror or error}.") from None
    return listener


def make_server(app: Litestar) -> Any:
    """A uvicorn server for this application; its method `stop` ends it as SIGTERM does."""
    import uvicorn

    domains: Domains = app.state.domains

    class Server(uvicorn.Server):  # type: ignore[misc]
        """Turns readiness off before it stops listening, and ends with status 0 when it was told to stop."""

        def stop(self) -> None:
            domains.drain()
            self.should_exit = True

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit and sig == signal.SIGINT:
                self.force_exit = True
            self.stop()

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    settings = domains.deployments[0].app.config.serve
    return Server(
        uvicorn.Config(
            app, http=protocol(settings.body_timeout, settings.write_timeout), lifespan="on", ws="none",
            log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds), timeout_keep_alive=_KEEP_ALIVE,
        )
    )  # fmt: skip
