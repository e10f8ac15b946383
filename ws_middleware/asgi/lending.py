"""What uvicorn's HTTP protocol gets of a connection: one request at a time, and its transport.

Only there does a body end where it ends here; what the two could read differently is left out
or refused. Afterwards nothing of uvicorn's reaches the transport any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ws_middleware.core.handshake import RequestHead
from ws_middleware.driver import BLOCK

__all__ = ["Body", "LentTransport", "WatchedHTTP", "has_body", "without_ignored"]

#: How many bytes of a body are looked at in one go.
PIECE = 65_536


def has_body(head: RequestHead) -> bool:
    """Tell whether anything belongs to a request behind its head."""
    return any(name.lower() in ("content-length", "transfer-encoding") for name, _ in head.fields)


def without_ignored(head: RequestHead, raw_head: bytes) -> bytes:
    """Leave out the fields of a head that a server may or must ignore, where uvicorn does not.

    With an Upgrade its parser takes the body for the next request ("a server MAY ignore" it,
    RFC 9110 §7.8); an Expect of HTTP/1.0 would be answered with a 1xx (§10.1.1).
    """
    ignored = {b"upgrade", b"expect"} if head.version == "1.0" else {b"upgrade"}
    lines = raw_head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in ignored)


class Body:
    """Find the end of a request's body."""

    def __init__(self, head: bytes) -> None:
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + BLOCK)
        self._parser.receive_data(head)
        self._parser.next_event()

    def feed(self, data: bytes) -> int | None:
        """Take bytes; returns how many of them belong to the body once it has ended."""
        # In pieces: h11 asks for its limit only where something is not complete yet.
        for start in range(0, len(data) or 1, PIECE):
            piece = data[start : start + PIECE]
            if piece:
                self._parser.receive_data(piece)
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.EndOfMessage):
                    return start + len(piece) - len(self._parser.trailing_data[0])
        return None


class LentTransport:
    """Be the transport for uvicorn's HTTP protocol until it is taken back."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_lent = True
        self.has_written: bool = False  # anything of the response

    def take_back(self) -> None:
        """Let no call through any more, such as that of a keep-alive timer."""
        self._is_lent = False

    def write(self, data: bytes) -> None:
        """Write for it, and note that."""
        if self._is_lent:
            self.has_written = True
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Tell it not to write any more."""
        return not self._is_lent or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        """Give it the rest of the transport, while it has that."""
        if self._is_lent:
            return getattr(self._transport, name)
        return _ignore


def _ignore(*arguments: object) -> None:
    pass


class WatchedHTTP(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Be uvicorn's HTTP protocol, and tell when a response is complete."""

    watcher: Callable[[], None]

    def on_response_complete(self) -> None:
        """Tell the watcher."""
        super().on_response_complete()
        self.watcher()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be read; not behind the beginning of a response."""
        if self.transport.has_written:
            self.transport.close()
        else:
            super().send_400_response(msg)
