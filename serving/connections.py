"""Connections: those on which no request arrives, or no answer is read, end after a while, and those that are lost end
all their answers.

uvicorn gives a body's first bytes to the application, which bounds the rest, and closes connections that idle after an
answer. For the head of a request it waits for ever, so that anybody could hold all connections, and for a client that
has stopped reading, which holds a place of the engine. Where a client had sent another request behind the one that is
being answered, it tells only the last one that the client is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import termios
from array import array
from typing import Any


def protocol(seconds: float, write_seconds: float) -> Any:
    """uvicorn's protocol, with limits of time.

    Args:
        seconds: for the head of each request, from the first byte or the connection.
        write_seconds: in which a client that has not read what was sent must read some of it.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):  # type: ignore[misc]
        _timer: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None
        _answered: Any = None  # the exchange in progress, which others may have come behind

        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            self._answered = cycle
            super()._start_asgi_task(cycle, app)

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            # Whatever the operating system does not take counts as unread: less than asyncio's 64 KiB would be waited
            # for without end, even after `close`.
            transport.set_write_buffer_limits(0)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            self._stop_watching()
            super().connection_lost(exc)
            if self._answered is not None and not self._answered.response_complete:
                self._answered.disconnected = True
                self._answered.message_event.set()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reading()

        def resume_writing(self) -> None:
            self._stop_watching()
            super().resume_writing()

        def _watch_reading(self) -> None:
            unread = _unread(self.transport)

            def look() -> None:
                if _unread(self.transport) < unread:
                    self._watch_reading()
                else:
                    self.transport.abort()  # `close` would first send what the client does not read

            self._stalled = self.loop.call_later(write_seconds, look)

        def _stop_watching(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

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


def _unread(transport: asyncio.Transport) -> int:
    """Bytes that wait to be sent or to arrive: here, and in the operating system, which takes megabytes at once."""
    queued = array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + queued[0]
