"""Our connection over the events of an ASGI server that keeps its sockets to itself.

Rule 1: `receive` is always pending, or nobody would learn that the peer left. Rule 2: nothing
is sent behind the end, and a close always is: some servers leave a socket open without one.
Rule 3: whatever a server raises means that the connection is lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from types import TracebackType

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.event_endpoint import EventEndpoint, close_event
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


class EventTransport(asyncio.Transport):
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
        super().__init__()
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._outbox: deque[tuple[Event, int]] = deque()
        self._unsent = 0
        self._high_water = options.write_high_water
        self._filled = asyncio.Event()  # the outbox has something, or the block ends
        self._readable = asyncio.Event()
        self._readable.set()
        self._said_goodbye = False  # by either side
        self._ending = self._closing = self._lost = False
        self._opened_at = self._loop.time()
        # Keepalive and extensions are the server's business here.
        own = dataclasses.replace(options, ping_interval=None, extensions=())
        self._endpoint = EventEndpoint(own, self._put, self._opened_at)
        self._driver = _EventDriver(self._endpoint, self, own, self._finish)
        self._connection = AsyncConnection(self._driver, request, subprotocol)

    def _finish(self, _: Exception | None) -> None:
        duration = self._loop.time() - self._opened_at
        connection_finished(self._connection, self._endpoint, duration)

    async def __aenter__(self) -> AsyncConnection:
        """Begin to carry."""
        self._driver.start()
        self._reader = self._loop.create_task(self._read())
        self._writer = self._loop.create_task(self._write())
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let what was sent leave, and stop."""
        self._ending = True
        self._filled.set()
        await asyncio.wait([self._writer], timeout=self._options.close_timeout)
        for task in (self._reader, self._writer):
            task.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)
        self._lose(None)

    # --- from the server ---

    async def _read(self) -> None:
        try:
            while True:
                await self._readable.wait()
                event = await self._receive()
                ends = event["type"] == "websocket.disconnect"
                if ends:
                    self._give_up_sending()
                self._driver.take(self._endpoint, event)
                if ends:
                    return
        except Exception as error:
            self._give_up_sending()
            self._lose(error)

    async def _stop_reading(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])

    # --- to the server ---

    def _put(self, event: Event, size: int) -> None:
        if self._said_goodbye:
            return
        self._said_goodbye = event["type"] == "websocket.close"
        self._outbox.append((event, size))
        self._unsent += size
        self._filled.set()
        if self._unsent > self._high_water and not self._driver.write_paused:
            self._driver.pause_writing()

    async def _write(self) -> None:
        try:
            while await self._has_more():
                event, size = self._outbox.popleft()
                if event["type"] == "websocket.close":
                    await self._close(event)
                else:
                    await self._send(event)
                self._on_sent(size)
        except Exception as error:
            self._give_up_sending()
            self._lose(error)

    async def _has_more(self) -> bool:
        while not self._outbox and not self._ending:
            self._filled.clear()
            await self._filled.wait()
        return bool(self._outbox)

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

    def _on_sent(self, size: int) -> None:
        self._unsent -= size
        if self._driver.write_paused and self._unsent <= self._high_water // 4 and not self._lost:
            self._driver.resume_writing()

    def _give_up_sending(self) -> None:
        self._said_goodbye = True
        self._outbox.clear()

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._driver.connection_lost(error)

    # --- what the driver calls ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Be told who the driver is, which is known."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Be told of `write_high_water`, which is known."""

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes the server has not taken yet."""
        return self._unsent

    def can_write_eof(self) -> bool:
        """Tell that there are no halves of a stream here."""
        return False

    def pause_reading(self) -> None:
        """Ask for no further event."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Ask for events again."""
        self._readable.set()

    def is_closing(self) -> bool:
        """Tell whether the end was asked for."""
        return self._closing

    def close(self) -> None:
        """End behind what was sent."""
        self._closing = True
        self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """End at once; events have no way to drop a connection without a word."""
        self._outbox.clear()
        self._put(close_event(Close(CloseCode.INTERNAL_ERROR)), 0)
        self.close()
