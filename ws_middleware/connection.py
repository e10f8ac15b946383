"""Connections for threads: the blocking interface, whatever carries it.

Rule 1: any thread may send, one at a time receives. Rule 2: nothing here waits by itself;
subclasses say how a message comes and goes.
"""

from __future__ import annotations

import abc
import json
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.core.messages import (
    BinaryMessage,
    Data,
    Message,
    Ping,
    Pong,
    Sendable,
    TextMessage,
)
from ws_middleware.errors import ConnectionClosed, UnexpectedMessageError
from ws_middleware.info import ConnectionInfo

__all__ = ["Connection"]


class Connection(ConnectionInfo, abc.ABC):
    """Be one open WebSocket connection, for use by threads.

    `for message in connection` gives str for text and bytes for binary messages and ends when
    the peer leaves with 1000 or 1001; any other end raises `ConnectionClosed`.
    """

    __slots__ = ()

    # --- receiving ---

    @abc.abstractmethod
    def recv_item(self, timeout: float | None = None) -> Data | Ping | Pong:
        """Receive the next message, ping or pong; pings and pongs only where observed."""

    @abc.abstractmethod
    def recv_fragments(self) -> Iterator[Data]:
        """Receive one message in pieces, as they arrive; pieces of text are whole characters."""

    @abc.abstractmethod
    def recv_frame(self, timeout: float | None = None) -> Frame:
        """Receive the next frame as it stands on the wire, control frames included.

        The messages that the frames make are dropped. `RuntimeError` on connections that were
        not opened with `observe_frames=True`.
        """

    def recv(self, timeout: float | None = None) -> Data:
        """Receive the next message: str for text, bytes for binary.

        `TimeoutError` after `timeout` seconds, `ConnectionClosed` at the end.
        """
        left, until = timeout, None if timeout is None else time.monotonic() + timeout
        try:
            while not isinstance(item := self.recv_item(left), (str, bytes)):
                left = None if until is None else max(0.0, until - time.monotonic())
        except TimeoutError:
            raise TimeoutError(f"no message came within {timeout} s") from None
        return item

    def recv_message(self, timeout: float | None = None) -> Message:
        """Receive the next message as a `TextMessage` or a `BinaryMessage`."""
        data = self.recv(timeout)
        return TextMessage(data) if isinstance(data, str) else BinaryMessage(data)

    def recv_text(self, timeout: float | None = None) -> str:
        """Receive a text message; `UnexpectedMessageError` for a binary one."""
        data = self.recv(timeout)
        if isinstance(data, str):
            return data
        raise UnexpectedMessageError("a binary message came instead of text", data)

    def recv_bytes(self, timeout: float | None = None) -> bytes:
        """Receive a binary message; `UnexpectedMessageError` for text."""
        data = self.recv(timeout)
        if isinstance(data, bytes):
            return data
        raise UnexpectedMessageError("a text message came instead of binary", data)

    def recv_json(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as JSON; `ValueError` where it is none."""
        return json.loads(self.recv(timeout))

    def __iter__(self) -> Self:
        """Receive messages until the peer leaves."""
        return self

    def __next__(self) -> Data:
        """Receive the next message; the iteration ends with 1000 and 1001."""
        try:
            return self.recv()
        except ConnectionClosed as closed:
            if closed.is_clean:
                raise StopIteration from None
            raise

    # --- sending ---

    @abc.abstractmethod
    def send(self, message: Sendable | Iterable[Sendable]) -> None:
        """Send a message: str as text, bytes as binary, a `Message` with its options.

        An iterable is sent as the fragments of one message (RFC 6455 §5.4). Waits while more
        than `write_high_water` bytes wait to be sent. `ConnectionClosed` once the connection
        is closing.
        """

    @abc.abstractmethod
    def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send one frame exactly as it is: any bits, past the extensions.

        A client masks it with `key`, or with a random one.
        """

    @abc.abstractmethod
    def ping(self, payload: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; returns the latency in seconds."""

    @abc.abstractmethod
    def pong(self, payload: bytes = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3)."""

    def send_json(self, value: Any) -> None:
        """Send a value as a text message in JSON."""
        self.send(json.dumps(value))

    # --- closing ---

    @abc.abstractmethod
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection and wait until it is closed, at most `close_timeout` a step."""

    @abc.abstractmethod
    def renew(self, expires_at: float | None) -> None:
        """Let the connection live until `expires_at`, seconds since the epoch; None for ever.

        It is closed with 4401 then.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""

    def __enter__(self) -> Self:
        """Use the connection and close it behind."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, or with 1011 where an exception leaves."""
        self.close(CloseCode.NORMAL if kind is None else CloseCode.INTERNAL_ERROR)
