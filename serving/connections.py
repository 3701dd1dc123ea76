"""Connections: those on which no request arrives end after a while, and those that are lost end all their answers.

uvicorn gives a body's first bytes to the application, which bounds the rest, and closes connections that idle after an
answer. For the head of a request it waits for ever, so that anybody could hold all connections. Where a client had sent
another request behind the one that is being answered, it tells only the last one that the client is gone.
"""

from __future__ import annotations

import asyncio
from typing import Any


def protocol(seconds: float) -> Any:
    """uvicorn's protocol, with so many seconds for the head of each request, from the first byte or the connection."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):  # type: ignore[misc]
        _timer: asyncio.TimerHandle | None = None
        _answered: Any = None  # the exchange in progress, which others may have come behind

        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            self._answered = cycle
            super()._start_asgi_task(cycle, app)

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)
            if self._answered is not None and not self._answered.response_complete:
                self._answered.disconnected = True
                self._answered.message_event.set()

        def _wait_for_head(self) -> None:
            """Starts the clock between two requests; more bytes of the same head do not wind it up again."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Protocol
