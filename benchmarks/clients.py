"""The clients that are compared: `python -m benchmarks.clients NAME WORKLOAD URL SECONDS`.

Each is used as its documentation shows, without compression, and prints the microseconds of
processor time that one message, or one connection, took it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import aiohttp
import picows
import uvloop
import websocket
import websockets.asyncio.client
import websockets.sync.client

import ws_middleware

__all__ = ["BLOCKING", "CLIENTS", "LOOPING", "MAX_SIZE", "SIZES"]

MAX_SIZE = 2**21
#: What is sent, by workload, and what its length has to be when it comes back.
SIZES = {"32": 32, "1k": 1024, "receive": 2**20}
#: How long clients warm up, in seconds.
WARM_UP = 0.3


class Blocking(NamedTuple):
    """Be a connection in words that all blocking clients have."""

    send: Callable[[str], object]
    recv: Callable[[], str | bytes]
    close: Callable[[], object]


class Looping(NamedTuple):
    """Be a connection in words that all clients for asyncio have."""

    send: Callable[[str], Awaitable[object]]
    recv: Callable[[], Awaitable[str | bytes]]
    close: Callable[[], Awaitable[object]]


def ours(url: str) -> Blocking:
    connection = ws_middleware.connect(url, extensions=(), max_message_size=MAX_SIZE, proxy=None)
    return Blocking(connection.send, connection.recv, connection.close)


def websockets_sync(url: str) -> Blocking:
    manager = websockets.sync.client.connect(url, compression=None, max_size=MAX_SIZE, proxy=None)
    connection = manager.__enter__()
    return Blocking(connection.send, connection.recv, lambda: manager.__exit__(None, None, None))


def websocket_client(url: str) -> Blocking:
    connection = websocket.create_connection(url)
    return Blocking(connection.send, connection.recv, connection.close)


async def ours_on_loop(url: str) -> Looping:
    connection = await ws_middleware.aconnect(
        url, extensions=(), max_message_size=MAX_SIZE, proxy=None
    )
    return Looping(connection.send, connection.recv, connection.close)


async def websockets_on_loop(url: str) -> Looping:
    connection = await websockets.asyncio.client.connect(
        url, compression=None, max_size=MAX_SIZE, proxy=None
    )
    return Looping(connection.send, connection.recv, connection.close)


async def aiohttp_on_loop(url: str) -> Looping:
    session = aiohttp.ClientSession()
    connection = await session.ws_connect(url, max_msg_size=MAX_SIZE)

    async def receive() -> str | bytes:
        data: str | bytes = (await connection.receive()).data
        return data

    async def close() -> None:
        await connection.close()
        await session.close()

    return Looping(connection.send_str, receive, close)


class _Listener(picows.WSListener):
    """Resolve a future for each message: picows calls back."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[bytes] | None = None

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if self.arrived is not None and not self.arrived.done():
            self.arrived.set_result(frame.get_payload_as_bytes())


async def picows_on_loop(url: str) -> Looping:
    listener = _Listener()
    transport, _ = await picows.ws_connect(lambda: listener, url, max_frame_size=MAX_SIZE)
    loop = asyncio.get_running_loop()

    async def send(message: str) -> None:
        listener.arrived = loop.create_future()
        transport.send(picows.WSMsgType.TEXT, message.encode())

    async def receive() -> bytes:
        assert listener.arrived is not None
        data: bytes = await listener.arrived
        return data

    async def close() -> None:
        transport.send_close(picows.WSCloseCode.OK)
        transport.disconnect()
        await transport.wait_disconnected()

    return Looping(send, receive, close)


BLOCKING: dict[str, Callable[[str], Blocking]] = {
    "connect": ours,
    "websockets.sync": websockets_sync,
    "websocket-client": websocket_client,
}
LOOPING: dict[str, Callable[[str], Coroutine[Any, Any, Looping]]] = {
    "aconnect": ours_on_loop,
    "websockets": websockets_on_loop,
    "aiohttp": aiohttp_on_loop,
    "picows": picows_on_loop,
}
CLIENTS = [*BLOCKING, *LOOPING]


class _Stopwatch:
    """Count what is done behind the time for warming up."""

    def __init__(self, seconds: float) -> None:
        now = time.monotonic()
        self._begins, self._ends = now + WARM_UP, now + WARM_UP + seconds
        self._done = 0
        self._cpu = 0.0

    def goes_on(self) -> bool:
        """Note that one more is about to be done; False when the time is over."""
        now = time.monotonic()
        if now < self._begins:
            return True
        if not self._cpu:
            self._cpu = time.process_time()
            return True  # one at least is measured, whatever held it up before
        self._done += 1
        return now < self._ends

    def cost(self) -> float:
        """Give the microseconds of processor time for one."""
        return (time.process_time() - self._cpu) / self._done * 1e6


def run_blocking(
    open_: Callable[[str], Blocking], workload: str, url: str, seconds: float
) -> float:
    """Measure a blocking client."""
    watch = _Stopwatch(seconds)
    if workload == "connect":
        while watch.goes_on():
            open_(url).close()
        return watch.cost()
    connection, message = open_(url), _message(workload)
    while watch.goes_on():
        connection.send(message)
        if len(connection.recv()) != SIZES[workload]:
            raise ValueError("this is not the answer")
    cost = watch.cost()
    connection.close()
    return cost


async def run_looping(
    open_: Callable[[str], Coroutine[Any, Any, Looping]], workload: str, url: str, seconds: float
) -> float:
    """Measure a client for asyncio."""
    watch = _Stopwatch(seconds)
    if workload == "connect":
        while watch.goes_on():
            await (await open_(url)).close()
        return watch.cost()
    connection, message = await open_(url), _message(workload)
    while watch.goes_on():
        await connection.send(message)
        if len(await connection.recv()) != SIZES[workload]:
            raise ValueError("this is not the answer")
    cost = watch.cost()
    await connection.close()
    return cost


def _message(workload: str) -> str:
    return "" if workload == "receive" else "x" * SIZES[workload]


def main(name: str, workload: str, url: str, seconds: str) -> None:
    """Measure one client once."""
    if name in BLOCKING:
        print(run_blocking(BLOCKING[name], workload, url, float(seconds)))
    else:
        print(uvloop.run(run_looping(LOOPING[name], workload, url, float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
