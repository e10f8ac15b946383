"""Our connection over the events of an ASGI server that keeps its sockets to itself.

Rule: a close is always sent: some servers leave a socket open without one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from types import TracebackType

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.event_endpoint import EventEndpoint, close_event
from ws_middleware.asgi.pump import Pump
from ws_middleware.asgi.types import Event, Receive, Send
from ws_middleware.core.frames import Close, CloseCode
from ws_middleware.driver import StreamDriver
from ws_middleware.logs import connection_finished
from ws_middleware.options import Options
from ws_middleware.request import Request

__all__ = ["EventTransport"]


#: Applications may send all codes from here to 4999 (RFC 6455 §7.4.2).
_FIRST_OWN_CODE = 3000


class _EventDriver(StreamDriver):
    """Drive an endpoint that is given events."""

    def take(self, endpoint: EventEndpoint, event: Event) -> None:
        endpoint.receive_event(event)
        self._after_input()


class EventTransport(Pump):
    """Carry events between a server's two callables and a connection, which `async with` gives.

    What was sent leaves before the block ends, within `close_timeout`.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        request: Request,
        subprotocol: str | None,
        options: Options,
    ) -> None:
        super().__init__(receive, send, options.write_high_water)
        self._options = options
        self._opened_at = self._loop.time()
        # Keepalive and extensions are the server's business here.
        own = dataclasses.replace(options, ping_interval=None, extensions=())
        self._endpoint = EventEndpoint(own, self._put, self._opened_at)
        self._protocol = self._driver = _EventDriver(self._endpoint, self, own, self._finish)
        self._connection = AsyncConnection(self._driver, request, subprotocol)

    def _finish(self, _: Exception | None) -> None:
        duration = self._loop.time() - self._opened_at
        connection_finished(self._connection, self._endpoint, duration)

    async def __aenter__(self) -> AsyncConnection:
        """Begin to carry."""
        self._driver.start()
        self.start()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let what was sent leave, and stop."""
        await self.stop(self._options.close_timeout)

    # --- from the server ---

    def _take(self, event: Event) -> None:
        self._driver.take(self._endpoint, event)

    async def _stop_reading(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])

    # --- to the server ---

    def _put(self, event: Event, size: int) -> None:
        super()._put(event, size)
        if event["type"] == "websocket.close":
            self._said_goodbye = True

    async def _hand_over(self, event: Event) -> None:
        if event["type"] == "websocket.close":
            await self._close(event)
        else:
            await self._send(event)

    async def _close(self, event: Event) -> None:
        await self._stop_reading()  # granian sends no close while somebody receives
        try:
            await self._send(event)
        except Exception:
            if event["code"] == CloseCode.NORMAL or event["code"] >= _FIRST_OWN_CODE:
                raise
            # daphne takes no other code below: 4011 stands for 1011.
            await self._send({**event, "code": event["code"] + _FIRST_OWN_CODE})
        self._reader = self._loop.create_task(self._read())

    # --- what the driver calls ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Be told who the driver is, which is known."""

    def close(self) -> None:
        """End behind what was sent."""
        self._closing = True
        self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """End at once; events have no way to drop a connection without a word."""
        self._outbox.clear()
        self._put(close_event(Close(CloseCode.INTERNAL_ERROR)), 0)
        self.close()
