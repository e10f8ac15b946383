"""Connecting for asyncio: a transport that is read on demand, then a connection over it.

Rule: nothing is read from the transport before it is asked for, so whatever comes behind the
handshake still waits there when the connection takes the transport over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Generator
from types import TracebackType
from typing import Any, Unpack, cast

from ws_middleware.aio import AsyncConnection
from ws_middleware.client.opening import Opened, open_websocket
from ws_middleware.client.plan import ClientSettings, Plan, make_plan
from ws_middleware.client.proxies import Proxy
from ws_middleware.client.socks import connect_through_async
from ws_middleware.driver import StreamDriver
from ws_middleware.request import Request

__all__ = ["Opening", "aconnect"]

#: When the next address is tried while one has not answered, in seconds (RFC 8305 §8).
HAPPY_EYEBALLS_DELAY = 0.25


def aconnect(url: str, **settings: Unpack[ClientSettings]) -> Opening:
    """Open a WebSocket: `async with` gives its connection and closes it, `await` just gives it.

    `settings` and exceptions are those of `connect`.
    """
    return Opening(make_plan(url, settings))


class Opening:
    """Be a connection that will be open: await it, or enter it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._connection: AsyncConnection | None = None

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        """Open the connection."""
        return connect_async(self._plan).__await__()

    async def __aenter__(self) -> AsyncConnection:
        """Open the connection and close it behind."""
        self._connection = await self
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, or with 1011 where an exception leaves."""
        assert self._connection is not None
        await self._connection.__aexit__(kind, error, traceback)


async def connect_async(plan: Plan) -> AsyncConnection:
    """Open the WebSocket that was planned."""
    wire = _TransportWire()
    try:
        async with asyncio.timeout(plan.options.open_timeout) as limit:
            opened = await open_websocket(wire, plan)
    except BaseException as error:
        wire.close()
        if isinstance(error, TimeoutError) and limit.expired():
            raise plan.too_late() from None
        raise
    return wire.make_connection(opened)


class _Puller(asyncio.Protocol):
    """Hold what came from a transport that is only read when somebody asks."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.lost = False
        self.error: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.data += data
        self._wake()

    def eof_received(self) -> bool:
        """Note the end of the peer's stream; ours stays open."""
        self.ended = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.lost = True
        self.error = exc
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _TransportWire:
    """Move bytes through the transport of an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._puller = _Puller()

    @property
    def _stream(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def connect(self, host: str, port: int) -> None:
        # Other loops than asyncio's own try one address after the other.
        races = isinstance(self._loop, asyncio.BaseEventLoop)
        delay: dict[str, Any] = {"happy_eyeballs_delay": HAPPY_EYEBALLS_DELAY} if races else {}
        self._begin(await self._loop.create_connection(self._renew, host, port, **delay))

    async def connect_unix(self, path: str) -> None:
        self._begin(await self._loop.create_unix_connection(self._renew, path))

    async def connect_socks(self, proxy: Proxy, host: str, port: int) -> None:
        sock = await connect_through_async(proxy, host, port)
        self._begin(await self._loop.create_connection(self._renew, sock=sock))

    def _renew(self) -> _Puller:
        self.close()
        self._puller = _Puller()
        return self._puller

    def _begin(self, made: tuple[asyncio.BaseTransport, _Puller]) -> None:
        self._transport = cast(asyncio.Transport, made[0])  # uvloop's is not one by class
        self._transport.pause_reading()

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        transport = await self._loop.start_tls(
            self._stream, self._puller, context, server_hostname=server_hostname
        )
        if transport is None:
            raise ConnectionError("the connection was lost during the TLS handshake")
        self._transport = transport
        transport.pause_reading()

    async def write(self, data: bytes) -> None:
        self._stream.write(data)

    async def read(self) -> bytes:
        puller = self._puller
        if not (puller.data or puller.ended or puller.lost):
            puller.waiter = self._loop.create_future()
            self._stream.resume_reading()
            try:
                await puller.waiter
            finally:
                puller.waiter = None
            if not self._stream.is_closing():
                self._stream.pause_reading()
        if puller.error is not None and not puller.data:
            raise puller.error
        data, puller.data = puller.data, b""
        return data

    def make_connection(self, opened: Opened) -> AsyncConnection:
        """Hand the transport over, and what came through it meanwhile."""
        plan, puller, transport = opened.plan, self._puller, self._stream
        address = transport.get_extra_info("peername")
        driver = StreamDriver(opened.make_endpoint(self._loop.time()), transport, plan.options)
        request = Request(opened.request, remote_address=address, secure=plan.uri.secure)
        connection = AsyncConnection(driver, request, opened.subprotocol, opened.agreements)
        opened.describe(connection)
        driver.start(opened.leftover + puller.data)
        if puller.ended and not driver.is_lost:
            driver.eof_received()
        if puller.lost:
            driver.connection_lost(puller.error)
        return connection
