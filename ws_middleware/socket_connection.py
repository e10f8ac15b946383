"""A blocking connection straight over its socket: no loop, no thread of its own.

Whatever waits, waits in `SocketDriver`; the endpoint is only touched under its lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ws_middleware.connection import Connection
from ws_middleware.core.extensions import Agreement
from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.core.messages import (
    BinaryMessage,
    Data,
    Fragment,
    Ping,
    Pong,
    Sendable,
    SharedMessage,
    TextMessage,
    as_message,
    check_pieces,
    with_final,
)
from ws_middleware.errors import ConcurrencyError, ConnectionClosed
from ws_middleware.info import to_deadline
from ws_middleware.request import Request
from ws_middleware.socket_driver import SocketDriver

__all__ = ["SocketConnection"]


class SocketConnection(Connection):
    """Be one open WebSocket connection over a socket, for threads or greenlets."""

    __slots__ = ("_driver", "_receiving")

    def __init__(
        self,
        driver: SocketDriver,
        request: Request,
        subprotocol: str | None = None,
        agreements: Sequence[Agreement] = (),
        identity: Any = None,
    ) -> None:
        super().__init__(driver.endpoint, request, subprotocol, agreements, identity)
        self._driver = driver
        self._receiving = threading.Lock()  # held by the one who receives

    # --- receiving ---

    def recv_item(self, timeout: float | None = None) -> Data | Ping | Pong:
        """Receive the next message, ping or pong; pings and pongs only where observed."""
        item: Data | Ping | Pong = self._next(self._endpoint.next_message, timeout)
        return item

    def recv_frame(self, timeout: float | None = None) -> Frame:
        """Receive the next frame as it stands on the wire, control frames included."""
        tap = self._find_tap()
        frame: Frame = self._next(lambda: tap.next_frame(self._endpoint), timeout)
        return frame

    def recv_fragments(self) -> Iterator[Data]:
        """Receive one message in pieces, as they arrive; pieces of text are whole characters."""
        with self._driver.lock:
            self._endpoint.give_up_message()
        final = False
        while not final:
            piece = self._next(self._endpoint.next_fragment, None)
            if isinstance(piece, Fragment):
                final = piece.final
                yield piece.data

    def _next(self, take: Callable[[], Any], timeout: float | None) -> Any:
        if not self._receiving.acquire(blocking=False):
            raise ConcurrencyError(
                "another thread is receiving from this connection; one at a time receives"
            )
        try:
            item = self._driver.wait(take, timeout)
        except TimeoutError:
            raise TimeoutError(f"no message came within {timeout} s") from None
        finally:
            self._receiving.release()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    # --- sending ---

    def send(self, message: Sendable | Iterable[Sendable]) -> None:
        """Send a message; an iterable is sent as the fragments of one message."""
        if isinstance(message, _WHOLE) or not isinstance(message, Iterable):
            self._run(lambda: self._endpoint.send_message(message))
        else:
            self._send_pieces(message)

    def _send_pieces(self, pieces: Iterable[Sendable]) -> None:
        check_pieces(pieces)
        sender = self._driver.waiting.identify()
        self._run(lambda: self._set_fragmenter(sender))
        try:
            for piece, final in with_final(pieces):
                self._send_piece(sender, piece, final)
        except BaseException:
            # The message cannot be completed: the peer must not take what follows for it.
            if self._endpoint.is_fragmenting:
                self.start_closing(CloseCode.INTERNAL_ERROR, "message not completed")
            raise
        finally:
            self._driver.run(lambda: self._set_fragmenter(None))

    def _set_fragmenter(self, sender: object | None) -> None:
        self._driver.fragmenter = sender

    def _send_piece(self, sender: object, piece: Sendable, final: bool) -> None:
        message = as_message(piece)
        self._run(lambda: self._endpoint.send_fragment(message, final), sender)

    def _run(self, action: Callable[[], None], sender: object | None = None) -> None:
        """Send something that must not come between another one's fragments."""
        driver = self._driver
        if sender is None and driver.fragmenter is not None:
            self._check_not_fragmenting()
        if not driver.send(action, sender):
            raise self._endpoint.closed

    def _check_not_fragmenting(self) -> None:
        if self._driver.fragmenter == self._driver.waiting.identify():
            raise RuntimeError("this thread is sending a message in fragments; finish it first")

    def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send one frame exactly as it is: any bits, past the extensions.

        A client masks it with `key`, or with a random one.
        """
        self._run(lambda: self._endpoint.send_frame(frame, key))

    def ping(self, payload: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong; returns the latency in seconds."""
        payload = os.urandom(4) if payload is None else payload
        pings = self._driver.pings
        pings[payload] = None
        try:
            self._driver.run(lambda: self._endpoint.ping(payload, time.monotonic()))
            return self._driver.wait(lambda: pings[payload], timeout)
        except TimeoutError:
            raise TimeoutError(f"no pong came within {timeout} s") from None
        finally:
            del pings[payload]

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong that nobody asked for (RFC 6455 §5.5.3)."""
        self._driver.run(lambda: self._endpoint.pong(payload))

    # --- closing ---

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection, and wait until it is closed."""
        self.start_closing(code, reason)
        with contextlib.suppress(ConnectionClosed):  # what is waited for
            self._driver.wait(lambda: None)

    def start_closing(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Start to close the connection without waiting."""
        self._driver.do(lambda: self._endpoint.close(code, reason))

    def renew(self, expires_at: float | None) -> None:
        """Let the connection live until `expires_at`, seconds since the epoch; None for ever."""
        if expires_at != self._expires_at:
            self._expires_at = expires_at
            deadline = to_deadline(expires_at, time.monotonic())
            self._driver.do(lambda: self._endpoint.expire_at(deadline))

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        self._driver.do(self._endpoint.abort)


_WHOLE = (str, bytes, bytearray, memoryview, TextMessage, BinaryMessage, SharedMessage)
