"""A blocking connection over one that lives on an event loop in another thread.

What threads send is queued and handed to the loop in batches: one wake-up for many messages.
Messages are fetched when a thread asks and has none left, so the endpoint knows what was
answered. Rule: endpoint and driver are only touched on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from ws_middleware.aio import AsyncConnection
from ws_middleware.connection import Connection
from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.core.messages import Data, Ping, Pong, Sendable, as_message
from ws_middleware.errors import ConcurrencyError, ConnectionClosed

__all__ = ["BridgedConnection"]

_Result = TypeVar("_Result")

#: How many bytes threads may have queued before `send` waits for the loop.
MAX_QUEUED = 65_536


class _Operation(NamedTuple):
    """Hold what the loop is to do, and who waits for the outcome."""

    run: Callable[[], Coroutine[Any, Any, Any]]
    size: int
    outcome: Future[Any] | None


class BridgedConnection(Connection):
    """Use an `AsyncConnection` from other threads than its loop's."""

    __slots__ = (
        "_closed",
        "_connection",
        "_fetching",
        "_inbox",
        "_loop",
        "_outbox",
        "_outbox_size",
        "_receiving",
        "_room",
        "_sender",
        "_sending",
    )

    def __init__(self, connection: AsyncConnection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            connection._endpoint,
            connection.request,
            connection.subprotocol,
            connection.agreements,
            connection.identity,
        )
        self._connection = connection
        self._loop = loop
        self._inbox: queue.SimpleQueue[Data | Ping | Pong | BaseException] = queue.SimpleQueue()
        self._fetching = False
        self._receiving = threading.Lock()
        self._sending = threading.RLock()  # held over all fragments of a message
        self._outbox: deque[_Operation] = deque()
        self._outbox_size = 0
        self._room = threading.Condition()
        self._sender: asyncio.Task[None] | None = None
        self._closed: ConnectionClosed | None = None

    # --- receiving ---

    def recv_item(self, timeout: float | None = None) -> Data | Ping | Pong:
        """Receive the next message, ping or pong; pings and pongs only where observed."""
        with self._receiver():
            if self._inbox.empty() and not self._fetching:
                self._fetching = True
                self._on_loop(self._start_fetching)
            try:
                item = self._inbox.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(f"no message came within {timeout} s") from None
        if isinstance(item, BaseException):
            raise item
        return item

    def recv_fragments(self) -> Iterator[Data]:
        """Receive one message in pieces, as they arrive; pieces of text are whole characters."""
        with self._receiver():
            pieces = self._connection.recv_fragments()
            while (piece := self._wait_for(lambda: _next_of(pieces))) is not None:
                yield piece

    @contextlib.contextmanager
    def _receiver(self) -> Iterator[None]:
        if not self._receiving.acquire(blocking=False):
            raise ConcurrencyError(
                "another thread is receiving from this connection; one at a time receives"
            )
        try:
            yield
        finally:
            self._receiving.release()

    def _start_fetching(self) -> None:
        self._loop.create_task(self._fetch())

    async def _fetch(self) -> None:
        item: Data | Ping | Pong | BaseException
        try:
            item = await self._connection.recv_item()
        except (ConnectionClosed, ConcurrencyError, asyncio.CancelledError) as error:
            item = error
        self._fetching = False
        self._inbox.put(item)
        for further in self._connection.take_waiting():
            self._inbox.put(further)

    # --- sending ---

    def send(self, message: Sendable | Iterable[Sendable]) -> None:
        """Send a message; an iterable is sent as the fragments of one message."""
        if isinstance(message, str):
            self._send(message, len(message) if message.isascii() else len(message.encode()))
        elif isinstance(message, bytes):
            self._send(message, len(message))
        elif isinstance(message, Iterable) and not isinstance(message, bytearray | memoryview):
            self._send_pieces(message)
        else:
            whole = as_message(message)
            self._send(whole, len(whole.data))

    def _send(self, message: Sendable, size: int) -> None:
        with self._sending:
            self._queue(lambda: self._connection.send(message), size)

    def _send_pieces(self, pieces: Iterable[Sendable]) -> None:
        with self._sending:
            right = self._connection.fragmenting()
            self._wait_for(right.__aenter__)
            try:
                self._queue_pieces(pieces)
            except BaseException as error:
                failure = error
                self._wait_for(lambda: right.__aexit__(type(failure), failure, None))
                raise
            self._wait_for(lambda: right.__aexit__(None, None, None))

    def _queue_pieces(self, pieces: Iterable[Sendable]) -> None:
        previous: Sendable | None = None
        for piece in pieces:
            if previous is not None:
                self._queue_piece(previous, final=False)
            previous = piece
        if previous is None:
            raise ValueError("an empty iterable makes no message")
        self._queue_piece(previous, final=True)

    def _queue_piece(self, piece: Sendable, final: bool) -> None:
        message = as_message(piece)
        self._queue(lambda: self._connection.send_fragment(message, final), len(message.data))

    def send_frame(self, frame: Frame) -> None:
        """Send one frame exactly as it is: any bits, past the extensions."""
        self._wait_for(lambda: self._connection.send_frame(frame))

    def ping(self, payload: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; returns the latency in seconds."""
        # Not through the outbox: what others send need not wait for the pong.
        return self._submit(self._connection.ping(payload, timeout)).result()

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3)."""
        self._wait_for(lambda: self._connection.pong(payload))

    # --- closing ---

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection behind what was sent, and wait until it is closed."""
        self._wait_for(lambda: self._connection.close(code, reason))

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        self._on_loop(self._connection.abort)

    # --- between the threads ---

    def _on_loop(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the connection
            self._loop.call_soon_threadsafe(callback)

    def _submit(self, coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _wait_for(self, run: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Do something on the loop, in its turn, and wait for the outcome."""
        outcome: Future[_Result] = Future()
        self._queue(run, 0, outcome)
        return outcome.result()

    def _queue(
        self,
        run: Callable[[], Coroutine[Any, Any, Any]],
        size: int,
        outcome: Future[Any] | None = None,
    ) -> None:
        with self._room:
            while self._outbox_size > MAX_QUEUED and self._closed is None:
                self._room.wait()
            if outcome is None:
                self._check_open()
            self._outbox.append(_Operation(run, size, outcome))
            self._outbox_size += size
            idle = len(self._outbox) == 1
        if idle:
            self._on_loop(self._start_sending)

    def _check_open(self) -> None:
        if self._closed is not None or not self._endpoint.can_send:
            raise self._endpoint.closed

    def _start_sending(self) -> None:
        if self._sender is None:
            self._sender = self._loop.create_task(self._empty_outbox())

    async def _empty_outbox(self) -> None:
        try:
            while self._outbox:
                await self._perform(self._outbox[0])
                self._drop_first()
        except asyncio.CancelledError:
            self._connection.abort()
            while self._outbox:
                self._drop_first()
            raise
        finally:
            self._sender = None

    def _drop_first(self) -> None:
        with self._room:
            operation = self._outbox.popleft()
            self._outbox_size -= operation.size
            self._room.notify_all()
        if operation.outcome is not None and not operation.outcome.done():
            operation.outcome.set_exception(self._endpoint.closed)

    async def _perform(self, operation: _Operation) -> None:
        try:
            result = await operation.run()
        except Exception as error:
            if isinstance(error, ConnectionClosed):
                self._closed = error
            if operation.outcome is not None:
                operation.outcome.set_exception(error)
        else:
            if operation.outcome is not None:
                operation.outcome.set_result(result)


async def _next_of(pieces: AsyncIterator[Data]) -> Data | None:
    return await anext(pieces, None)
