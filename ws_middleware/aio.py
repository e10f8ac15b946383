"""Connections for asyncio.

Rule 1: any task of the loop may send, one at a time receives; other threads use `blocking`.
Rule 2: a message is taken and handed over in one step, so cancelling never loses one.
Rule 3: whoever sends or receives a lot gives way to others every 128 KiB.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from ws_middleware.carrier import MESSAGE_COST
from ws_middleware.core.codec import LARGE
from ws_middleware.core.extensions import Agreement
from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.core.messages import (
    BinaryMessage,
    Data,
    Fragment,
    Message,
    Ping,
    Pong,
    Sendable,
    SharedMessage,
    TextMessage,
    check_pieces,
    not_sendable,
)
from ws_middleware.driver import BLOCK, StreamDriver
from ws_middleware.errors import ConcurrencyError, ConnectionClosed, UnexpectedMessageError
from ws_middleware.info import ConnectionInfo, to_deadline
from ws_middleware.request import Request

__all__ = ["AsyncConnection"]

_Thing = TypeVar("_Thing")


class AsyncConnection(ConnectionInfo):
    """Be one open WebSocket connection, on an asyncio loop.

    `async for message in connection` gives str for text and bytes for binary messages and
    ends when the peer leaves with 1000 or 1001; any other end raises `ConnectionClosed`.
    """

    __slots__ = ("_driver", "_fragmenter", "_fragmenting", "_lined_up", "_receiving")

    def __init__(
        self,
        driver: StreamDriver,
        request: Request,
        subprotocol: str | None = None,
        agreements: Sequence[Agreement] = (),
        identity: Any = None,
    ) -> None:
        super().__init__(driver.endpoint, request, subprotocol, agreements, identity)
        self._driver = driver
        self._lined_up = 0  # how many wait to send
        self._receiving = False
        self._fragmenting: asyncio.Lock | None = None
        self._fragmenter: asyncio.Task[Any] | None = None  # who holds it

    # --- receiving ---

    async def recv(self, timeout: float | None = None) -> Data:
        """Receive the next message: str for text, bytes for binary.

        `TimeoutError` after `timeout` seconds, `ConnectionClosed` at the end.
        """
        data: Data
        if timeout is None:
            data = await self._next(_DATA)
        else:
            data = await _within(timeout, self._next(_DATA), "message")
        return data

    async def recv_message(self, timeout: float | None = None) -> Message:
        """Receive the next message as a `TextMessage` or a `BinaryMessage`."""
        data = await self.recv(timeout)
        return TextMessage(data) if isinstance(data, str) else BinaryMessage(data)

    async def recv_text(self, timeout: float | None = None) -> str:
        """Receive a text message; `UnexpectedMessageError` for a binary one."""
        data = await self.recv(timeout)
        if isinstance(data, str):
            return data
        raise UnexpectedMessageError("a binary message came instead of text", data)

    async def recv_bytes(self, timeout: float | None = None) -> bytes:
        """Receive a binary message; `UnexpectedMessageError` for text."""
        data = await self.recv(timeout)
        if isinstance(data, bytes):
            return data
        raise UnexpectedMessageError("a text message came instead of binary", data)

    async def recv_json(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as JSON; `ValueError` where it is none."""
        return json.loads(await self.recv(timeout))

    async def recv_item(self, timeout: float | None = None) -> Data | Ping | Pong:
        """Receive the next message, ping or pong; pings and pongs only where observed."""
        item: Data | Ping | Pong = await _within(timeout, self._next(_ITEMS), "message")
        return item

    async def recv_frame(self, timeout: float | None = None) -> Frame:
        """Receive the next frame as it stands on the wire, control frames included.

        The messages that the frames make are dropped. `RuntimeError` on connections that were
        not opened with `observe_frames=True`.
        """
        tap, endpoint = self._find_tap(), self._endpoint
        next_frame = self._next(Frame, lambda: tap.next_frame(endpoint))
        frame: Frame = await _within(timeout, next_frame, "frame")
        return frame

    def take_waiting(self) -> list[Data | Ping | Pong]:
        """Take the messages that have arrived already."""
        taken: list[Data | Ping | Pong] = []
        for _ in range(self._endpoint.messages_waiting):
            item = self._endpoint.next_message()
            if item is not None and not isinstance(item, ConnectionClosed):
                taken.append(item)
        if taken:
            self._driver.settle_soon()
        return taken

    async def recv_fragments(self) -> AsyncIterator[Data]:
        """Receive one message in pieces, as they arrive.

        Pieces of text hold whole characters. `max_message_size` limits their sum. What is not
        taken of the message is dropped.
        """
        self._endpoint.give_up_message()
        final = False
        while not final:
            piece = await self._next(_PIECES, self._endpoint.next_fragment)
            final = piece.final
            yield piece.data

    def __aiter__(self) -> Self:
        """Receive messages until the peer leaves."""
        return self

    def __anext__(self) -> Coroutine[Any, Any, Data]:
        """Receive the next message; the iteration ends with 1000 and 1001."""
        return self._next(_DATA, iterating=True)

    async def _next(
        self,
        wanted: Any,
        take_piece: Callable[[], Any] | None = None,
        *,
        iterating: bool = False,
    ) -> Any:
        """Receive the next item of a wanted type; all ways to receive come through here.

        What is less than a message is taken by `take_piece`.
        """
        if self._receiving:
            raise ConcurrencyError(
                "another task is receiving from this connection; one at a time receives"
            )
        driver = self._driver
        self._receiving = True
        try:
            while True:
                item = driver.receive_whole() if take_piece is None else None
                if item is None:
                    if driver.budget <= 0 and self._endpoint.queue:
                        await self._give_way()
                    item = self._take(take_piece, iterating)
                if isinstance(item, wanted):
                    return item
                if item is not None and not isinstance(item, _CONTROL):
                    await item
        finally:
            self._receiving = False

    def _take(self, take_piece: Callable[[], Any] | None, iterating: bool) -> Any:
        """Give what is next, or the future to wait for; None where there is nothing any more."""
        endpoint, driver = self._endpoint, self._driver
        item = endpoint.next_message() if take_piece is None else take_piece()
        if item is None:
            return driver.expect_input(take_piece is not None)
        if isinstance(item, ConnectionClosed):
            driver.settle()
            if iterating and item.is_clean:
                raise StopAsyncIteration
            raise item
        if isinstance(item, (str, bytes)):
            driver.budget -= len(item) + MESSAGE_COST
            if endpoint.queue:
                driver.settle_soon()
        return item

    async def _give_way(self) -> None:
        self._driver.budget = BLOCK
        await asyncio.sleep(0)

    # --- sending ---

    async def send(self, message: Sendable | Iterable[Sendable] | AsyncIterable[Sendable]) -> None:
        """Send a message: str as text, bytes as binary, a `Message` with its options.

        An iterable, asynchronous or not, is sent as the fragments of one message (§5.4); all
        its pieces are of the same kind. Waits while more than `write_high_water` bytes wait to
        be sent. `ConnectionClosed` once the connection is closing.
        """
        endpoint, driver = self._endpoint, self._driver
        if not self._lined_up and self._fragmenting is None and driver.write_whole(message):
            return
        if not isinstance(message, _SENDABLE):
            await self._send_pieces(message)
            return
        if self._lined_up or driver.budget <= 0 or driver.write_paused:
            await self._line_up()
        if self._fragmenting is not None:
            self._check_not_fragmenting()
            async with self._fragmenting:
                endpoint.send_message(message)
        else:
            endpoint.send_message(message)
        size = len(message) if isinstance(message, (str, bytes)) else LARGE
        driver.budget -= size + MESSAGE_COST
        if endpoint.queue and size < LARGE:  # replies leave together
            driver.settle_soon()
        else:
            driver.settle()

    async def _line_up(self) -> None:
        """Give way, and wait for room; tasks that wait here go on in the order they came in."""
        self._lined_up += 1
        try:
            if not self._driver.write_paused:
                await self._give_way()  # also behind those that were woken and are to go on yet
            await self._driver.wait_for_room()
        finally:
            self._lined_up -= 1

    def send_now(self, message: Sendable) -> bool:
        """Send a message without waiting; False where that cannot be, and nothing was sent.

        It cannot be while the peer does not keep up (`write_high_water`), while another task
        sends a message in fragments, and once the connection is closing. It stands in no line:
        a `send` of another task that has not returned yet may come behind it.
        """
        endpoint, driver = self._endpoint, self._driver
        if driver.write_paused or not endpoint.can_send_at_once:
            return False
        endpoint.send_message(message)
        driver.settle()
        return True

    async def _send_pieces(self, pieces: Iterable[Sendable] | AsyncIterable[Sendable]) -> None:
        check_pieces(pieces)
        async with self.fragmenting():
            previous: Sendable | None = None
            async for piece in _asynchronous(pieces):
                if previous is not None:
                    await self.send_fragment(previous, final=False)
                previous = piece
            if previous is None:
                raise ValueError("an empty iterable makes no message")
            await self.send_fragment(previous, final=True)

    def fragmenting(self) -> AbstractAsyncContextManager[None]:
        """Hold the right to send a message in fragments; others' messages wait meanwhile."""
        return _Fragmenting(self)

    async def _begin_fragments(self) -> None:
        if self._fragmenting is None:
            self._fragmenting = asyncio.Lock()
        self._check_not_fragmenting()
        await self._fragmenting.acquire()
        self._fragmenter = asyncio.current_task()

    def _end_fragments(self, *, failed: bool) -> None:
        assert self._fragmenting is not None
        if failed and self._endpoint.is_fragmenting:
            # The message cannot be completed: the peer must not take what follows for it.
            self._endpoint.close(CloseCode.INTERNAL_ERROR, "message not completed")
            self._driver.settle()
        self._fragmenter = None
        self._fragmenting.release()

    def _check_not_fragmenting(self) -> None:
        if self._fragmenter is not None and self._fragmenter is asyncio.current_task():
            raise RuntimeError("this task is sending a message in fragments; finish it first")

    async def send_fragment(self, piece: Sendable, final: bool) -> None:
        """Send a piece of the message that `fragmenting` was entered for."""
        await self._driver.wait_for_room()
        self._endpoint.send_fragment(piece, final)
        self._driver.settle()
        await self._give_way()

    async def send_json(self, value: Any) -> None:
        """Send a value as a text message in JSON."""
        await self.send(json.dumps(value))

    async def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send one frame exactly as it is: any bits, past the extensions.

        A client masks it with `key`, or with a random one.
        """
        await self._driver.wait_for_room()
        self._endpoint.send_frame(frame, key)
        self._driver.settle()

    async def ping(self, payload: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; returns the latency in seconds.

        `TimeoutError` after `timeout` seconds. Without a `payload` a random one is sent.
        """
        payload = os.urandom(4) if payload is None else payload
        await self._driver.wait_for_room()
        self._endpoint.ping(payload, asyncio.get_running_loop().time())
        waiter = self._driver.expect_pong(payload)
        self._driver.settle()
        return await _within(timeout, waiter, "pong")

    async def pong(self, payload: bytes = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3)."""
        self._endpoint.pong(payload)
        self._driver.settle()

    # --- closing ---

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection and wait until it is closed, at most `close_timeout` a step.

        Closing again does nothing but wait. `ValueError` for a code that may not be sent.
        """
        self.start_closing(code, reason)
        await self._driver.wait_until_lost()

    def start_closing(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Start to close the connection without waiting."""
        self._endpoint.close(code, reason)
        self._driver.settle()

    def renew(self, expires_at: float | None) -> None:
        """Let the connection live until `expires_at`, seconds since the epoch; None for ever.

        It is closed with 4401 then.
        """
        if expires_at != self._expires_at:
            self._expires_at = expires_at
            self._endpoint.expire_at(to_deadline(expires_at, asyncio.get_running_loop().time()))
            self._driver.settle()

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        self._endpoint.abort()
        self._driver.settle()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed, by whomever."""
        await self._driver.wait_until_lost()

    async def __aenter__(self) -> Self:
        """Use the connection and close it behind."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, or with 1011 where an exception leaves."""
        await self.close(CloseCode.NORMAL if kind is None else CloseCode.INTERNAL_ERROR)


class _Fragmenting(AbstractAsyncContextManager[None]):
    """Hold the right to send fragments; no generator, for a loop that ends closes those first."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        await self._connection._begin_fragments()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection._end_fragments(failed=kind is not None)


_DATA = (str, bytes)
_CONTROL = (Ping, Pong)
_ITEMS = (str, bytes, Ping, Pong)
_PIECES = (Fragment,)
_SENDABLE = (str, bytes, bytearray, memoryview, TextMessage, BinaryMessage, SharedMessage)


async def _within(timeout: float | None, coming: Awaitable[_Thing], name: str) -> _Thing:
    """Wait for what is to come; `TimeoutError` says what did not."""
    try:
        async with asyncio.timeout(timeout):
            return await coming
    except TimeoutError:
        raise TimeoutError(f"no {name} came within {timeout} s") from None


async def _asynchronous(
    pieces: Iterable[Sendable] | AsyncIterable[Sendable],
) -> AsyncIterator[Sendable]:
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield piece
    elif isinstance(pieces, Iterable):
        for piece in pieces:
            yield piece
    else:
        raise not_sendable(pieces)
