"""A blocking connection over one that lives on an event loop in another thread.

What threads send is queued and handed to the loop in batches: one wake-up for many messages.
Messages are fetched when a thread asks and has none left, so the endpoint knows what was
answered. Rule: endpoint and driver are only touched on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from ws_middleware.aio import AsyncConnection
from ws_middleware.connection import Connection
from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.core.messages import (
    Data,
    Message,
    Ping,
    Pong,
    Sendable,
    SharedMessage,
    as_message,
    check_pieces,
    with_final,
)
from ws_middleware.errors import ConcurrencyError, ConnectionClosed
from ws_middleware.pool import ROUND_TIME, LoopClosedError, check_open, result_of, waiting

__all__ = ["BridgedConnection"]

logger: logging.Logger = logging.getLogger("ws_middleware")

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
        "_fragmenter",
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
        self._sending = threading.Lock()  # held over all fragments of a message
        self._fragmenter: int | None = None  # the thread that sends them
        self._outbox: deque[_Operation] = deque()
        self._outbox_size = 0
        self._room = threading.Condition()
        self._sender: asyncio.Task[None] | None = None
        self._closed: ConnectionClosed | None = None

    # --- receiving ---

    def recv_item(self, timeout: float | None = None) -> Data | Ping | Pong:
        """Receive the next message, ping or pong; pings and pongs only where observed."""
        with self._receiver():
            return self._take(timeout)

    def recv_frame(self, timeout: float | None = None) -> Frame:
        """Receive the next frame as it stands on the wire, control frames included."""
        with self._receiver():
            return self._ask(lambda: self._connection.recv_frame(timeout))

    def _take(self, timeout: float | None = None) -> Data | Ping | Pong:
        with self._room:
            starts = not self._has_fetched
            self._fetching = self._fetching or starts
        if starts:
            self._on_loop(self._start_fetching)
        if self._inbox.empty():
            with self._waiting():
                item = self._await_item(timeout)
        else:
            item = self._inbox.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _await_item(self, timeout: float | None) -> Data | Ping | Pong | BaseException:
        left = math.inf if timeout is None else timeout
        while True:
            pause = min(left, ROUND_TIME)
            try:
                return self._inbox.get(timeout=pause)
            except queue.Empty:
                left -= pause
            if left <= 0:
                raise TimeoutError(f"no message came within {timeout} s")
            check_open(self._loop)

    def recv_fragments(self) -> Iterator[Data]:
        """Receive one message in pieces, as they arrive; pieces of text are whole characters."""
        with self._receiver():
            # What was fetched before comes first, and is whole already.
            while self._has_fetched:
                item = self._take()
                if isinstance(item, str | bytes):
                    yield item
                    return
            pieces = self._connection.recv_fragments()
            while (piece := self._ask(lambda: _next_of(pieces))) is not None:
                yield piece

    @property
    def _has_fetched(self) -> bool:
        """Tell whether a message is here, or on its way."""
        with self._room:
            return self._fetching or not self._inbox.empty()

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
        except (ConnectionClosed, ConcurrencyError) as error:
            item = error
        except asyncio.CancelledError:
            item = self._endpoint.closed
        with self._room:
            self._fetching = False
            self._inbox.put(item)
            for further in self._connection.take_waiting():
                self._inbox.put(further)

    # --- sending ---

    def send(self, message: Sendable | Iterable[Sendable]) -> None:
        """Send a message; an iterable is sent as the fragments of one message."""
        if isinstance(message, str | bytes):
            self._send(message, _size(message))
        elif isinstance(message, Iterable) and not isinstance(message, bytearray | memoryview):
            self._send_pieces(message)
        else:
            whole = as_message(message)  # a copy of what may change
            shared = isinstance(message, SharedMessage)
            self._send(message if shared else whole, _size(whole.data))

    def _send(self, message: Sendable, size: int) -> None:
        self._check_not_fragmenting()
        with self._sending:
            self._queue(lambda: self._connection.send(message), size)

    def _check_not_fragmenting(self) -> None:
        if self._fragmenter == threading.get_ident():
            raise RuntimeError("this thread is sending a message in fragments; finish it first")

    def _send_pieces(self, pieces: Iterable[Sendable]) -> None:
        check_pieces(pieces)
        self._check_not_fragmenting()
        with self._sending:
            right = self._connection.fragmenting()
            self._wait_for(right.__aenter__)
            self._fragmenter = threading.get_ident()
            try:
                self._queue_pieces(pieces)
            except BaseException as error:
                failure = error
                self._wait_for(lambda: right.__aexit__(type(failure), failure, None))
                raise
            finally:
                self._fragmenter = None
            self._wait_for(lambda: right.__aexit__(None, None, None))

    def _queue_pieces(self, pieces: Iterable[Sendable]) -> None:
        for piece, final in with_final(_of_one_kind(pieces)):
            self._queue_piece(piece, final)

    def _queue_piece(self, piece: Message, final: bool) -> None:
        self._queue(lambda: self._connection.send_fragment(piece, final), _size(piece.data))

    def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send one frame exactly as it is: any bits, past the extensions.

        A client masks it with `key`, or with a random one.
        """
        self._wait_for(lambda: self._connection.send_frame(frame, key))

    def ping(self, payload: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; returns the latency in seconds."""
        return self._ask(lambda: self._connection.ping(payload, timeout))

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3)."""
        self._wait_for(lambda: self._connection.pong(payload))

    def flush(self) -> None:
        """Wait until what was sent is on its way, or lost with the connection."""
        self._wait_for(_do_nothing)

    # --- closing ---

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection behind what was sent, and wait until it is closed."""
        self._wait_for(lambda: self._connection.close(code, reason))

    @property
    def expires_at(self) -> float | None:
        """Give when the credentials expire, in seconds since the epoch; None for never."""
        return self._connection.expires_at

    def renew(self, expires_at: float | None) -> None:
        """Let the connection live until `expires_at`, seconds since the epoch; None for ever."""
        self._on_loop(functools.partial(self._connection.renew, expires_at))

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        with contextlib.suppress(ConnectionClosed):
            self._on_loop(self._connection.abort)

    # --- between the threads ---

    def _on_loop(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed, and nothing lives on it any more
            raise self._endpoint.closed from None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Be around everything that waits for the loop."""
        if asyncio._get_running_loop() is self._loop:
            raise RuntimeError("a blocking connection would stop the event loop that carries it")
        try:
            check_open(self._loop)
            with waiting():
                yield
        except LoopClosedError:  # and nothing lives on it any more
            raise self._endpoint.closed from None

    def _outcome_of(self, outcome: Future[_Result]) -> _Result:
        with self._waiting():
            return result_of(outcome, self._loop)

    def _ask(self, run: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Wait for something of the peer; what others send meanwhile does not wait for it."""
        outcome: Future[_Result] = Future()
        operation = _Operation(run, 0, outcome)
        self._on_loop(lambda: self._loop.create_task(self._perform(operation)))
        return self._outcome_of(outcome)

    def _wait_for(self, run: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Do something on the loop, in its turn, and wait for the outcome."""
        outcome: Future[_Result] = Future()
        self._queue(run, 0, outcome)
        return self._outcome_of(outcome)

    def _queue(
        self,
        run: Callable[[], Coroutine[Any, Any, Any]],
        size: int,
        outcome: Future[Any] | None = None,
    ) -> None:
        if self._outbox_size > MAX_QUEUED:
            with self._waiting(), self._room:
                while self._outbox_size > MAX_QUEUED and self._closed is None:
                    check_open(self._loop)
                    self._room.wait(ROUND_TIME)
        with self._room:
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
        except asyncio.CancelledError:
            if operation.outcome is not None:
                operation.outcome.set_exception(self._endpoint.closed)
            raise
        except Exception as error:
            if isinstance(error, ConnectionClosed):
                self._closed = error
            if operation.outcome is not None:
                operation.outcome.set_exception(error)
            elif self._closed is None:
                logger.exception("a message could not be sent")
                self._connection.start_closing(CloseCode.INTERNAL_ERROR, "message not sent")
        else:
            if operation.outcome is not None:
                operation.outcome.set_result(result)


async def _do_nothing() -> None:
    pass


async def _next_of(pieces: AsyncIterator[Data]) -> Data | None:
    return await anext(pieces, None)


def _of_one_kind(pieces: Iterable[Sendable]) -> Iterator[Message]:
    """Make messages of pieces, as long as they are all text, or all binary."""
    kind: type[Message] | None = None
    for message in map(as_message, pieces):
        if kind is not None and type(message) is not kind:
            raise TypeError("all fragments of a message are str, or all are bytes")
        kind = type(message)
        yield message


def _size(data: Data) -> int:
    """Tell how many bytes a message takes; `UnicodeEncodeError` where it is no UTF-8."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
