"""The endpoint of a connection whose frames are the server's business: events instead of bytes.

It is the state machine of every other connection; only what it reads and writes differs.
Rule: what cannot be said in events raises `UnsupportedError`, and is never left out silently.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ws_middleware.asgi.types import Event
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.frames import (
    FIN,
    OPCODE_BITS,
    Close,
    CloseCode,
    Frame,
    Opcode,
    decode_close,
)
from ws_middleware.core.messages import Data, Sendable
from ws_middleware.core.sender import Sender
from ws_middleware.errors import ProtocolError, UnsupportedError
from ws_middleware.options import Options

__all__ = ["EventEndpoint", "Put", "close_event"]

#: Takes an event that is to be sent, and the size of its message.
Put = Callable[[Event, int], None]


class EventEndpoint(Endpoint):
    """Be an endpoint that is given events, and gives events to `put`."""

    __slots__ = ("_max_size", "_outbox")

    def __init__(self, options: Options, put: Put, now: float) -> None:
        super().__init__("server", options, now=now)
        self._sender = _EventSender(self._put)
        self._outbox = put
        self._max_size = options.max_message_size

    @property
    def lanes(self) -> None:
        """Give none: events are no frames."""

    def _put(self, event: Event, size: int) -> None:
        self._sender.bytes_sent += size
        self._outbox(event, size)

    def receive_event(self, event: Event) -> None:
        """Take an event that tells of the peer."""
        if event["type"] == "websocket.disconnect":
            self._on_disconnect(event.get("code"), event.get("reason") or "")
            return
        text = event.get("text")
        data: Data = bytes(event["bytes"]) if text is None else text
        size = _size(data)
        self._receiver.bytes_received += size
        if self._max_size is None or size <= self._max_size:
            self._deliver([data])
        else:
            reason = f"message of more than max_message_size={self._max_size} bytes"
            self._fail(ProtocolError(reason, CloseCode.TOO_BIG))

    def _on_disconnect(self, code: int | None, reason: str) -> None:
        # None stands for a close frame without a code, on some servers.
        if code != CloseCode.ABNORMAL:
            self._close_received = Close(code or CloseCode.NO_STATUS, reason)
        self.wants_abort = True
        self.lose("the server says that the connection was lost")

    def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Say that this cannot be."""
        raise _unsupported("send_frame()")

    def ping(self, payload: bytes, now: float) -> None:
        """Say that this cannot be."""
        raise _unsupported("ping()")

    def pong(self, payload: bytes) -> None:
        """Say that this cannot be."""
        raise _unsupported("pong()")


def _unsupported(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} needs frames, and this ASGI server keeps them to itself; "
        "uvicorn, hypercorn, gunicorn and `python -m ws_middleware` let us have them"
    )


def close_event(close: Close) -> Event:
    """Make the event that closes.

    >>> close_event(Close(1001, "away"))
    {'type': 'websocket.close', 'code': 1001, 'reason': 'away'}
    """
    # Events know no close frame without a code: 1000 is their default.
    code = CloseCode.NORMAL if close.code == CloseCode.NO_STATUS else close.code
    return {"type": "websocket.close", "code": code, "reason": close.reason}


class _EventSender(Sender):
    """Put the frames of each message together, and make it an event."""

    __slots__ = ("_kind", "_pieces", "_put")

    def __init__(self, put: Put) -> None:
        super().__init__("server", (), os.urandom)
        self._put = put
        self._pieces: list[bytes] = []
        self._kind = Opcode.TEXT

    def send_whole(self, message: Sendable) -> bool:
        """Leave each message to `message`, and so to `_write`."""
        return False

    def _write(self, first: int, payload: str | bytes, key: bytes = b"") -> None:
        payload = payload.encode() if isinstance(payload, str) else payload
        opcode = Opcode(first & OPCODE_BITS)
        if opcode == Opcode.CLOSE:
            self._put(close_event(decode_close(payload)), 0)
            return
        if opcode != Opcode.CONTINUATION:
            self._kind = opcode
        self._pieces.append(payload)
        if first & FIN:
            data, self._pieces = b"".join(self._pieces), []
            content = {"text": data.decode()} if self._kind == Opcode.TEXT else {"bytes": data}
            self._put({"type": "websocket.send", **content}, len(data))


def _size(data: Data) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
