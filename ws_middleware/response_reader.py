"""Reading a response to a client's request, within limits, more strictly than HTTP allows.

h11 parses; before that, what it would forgive is refused. Responses that only inform are passed
over (RFC 9110 §15.2). `HandshakeError` for what is no response, with status 0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import h11

from ws_middleware.core.handshake import ResponseHead
from ws_middleware.core.headers import safe_text
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options

__all__ = ["Response", "ResponseReader"]

#: How much of a body is kept, in bytes.
MAX_BODY_SIZE = 16_384

#: What h11 has to know of the request to understand its response.
_REQUESTS = {
    "GET": h11.Request(
        method="GET",
        target="/",
        headers=[("Host", ""), ("Connection", "Upgrade"), ("Upgrade", "websocket")],
    ),
    "CONNECT": h11.Request(method="CONNECT", target="a:1", headers=[("Host", "a:1")]),
}


class Response(NamedTuple):
    """Hold a response: the beginning of its body, and what came behind a switch of protocols."""

    head: ResponseHead
    body: bytes = b""
    leftover: bytes = b""
    #: Whether the connection can take another request.
    keeps_alive: bool = False


class ResponseReader:
    """Collect the bytes of the response to one request, within the limits of `options`."""

    def __init__(self, method: Literal["GET", "CONNECT"], options: Options) -> None:
        self._options = options
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=options.max_head_size)
        self._http.send(_REQUESTS[method])
        self._http.send(h11.EndOfMessage())
        self._unread = b""  # of heads
        self._size = 0
        self._fields = 0
        self._head: ResponseHead | None = None
        self._body = b""

    def feed(self, data: bytes) -> Response | None:
        """Take bytes, b"" for the end of the stream; gives the response once it is there.

        `ConnectionError` where the stream ends before the response's head does.
        """
        if self._head is not None:
            return self._read_body(data)
        if not data:
            raise ConnectionError("the server ended the connection without an answer")
        behind = self._read_heads(data)
        return None if behind is None else self._read_body(behind, at_end=False)

    # --- heads ---

    def _read_heads(self, data: bytes) -> bytes | None:
        """Read on to the head that counts; gives what is behind it, None while it is not there."""
        self._unread += data
        while end := self._find_end():
            head, self._unread = self._unread[:end], self._unread[end:]
            self._check_lines(head)
            self._size += len(head)
            self._fields += head.count(b"\r\n") - 2
            self._check_limits()
            self._head = self._parse(head)
            if self._head is not None:
                return self._unread
        return None

    def _find_end(self) -> int:
        unread = self._unread
        if unread[:5] != b"HTTP/"[: len(unread)]:
            raise HandshakeError(0, f"{_quoted(unread)} is not the beginning of an HTTP response")
        end = unread.find(b"\r\n\r\n") + 4
        if end > 3:
            return end
        if unread.count(b"\n") != unread.count(b"\r\n"):
            self._check_lines(unread)  # behind a bare LF an end may never be seen
        if self._size + len(unread) > self._options.max_head_size:
            self._size += len(unread)
            self._check_limits()
        return 0

    def _check_limits(self) -> None:
        options = self._options
        if self._size > options.max_head_size:
            raise HandshakeError(
                0, f"the response's head exceeds max_head_size={options.max_head_size}"
            )
        if self._fields > options.max_head_fields:
            raise HandshakeError(
                0, f"the response has more than max_head_fields={options.max_head_fields}"
            )

    def _check_lines(self, head: bytes) -> None:
        for line in head.split(b"\r\n"):
            # These are where parsers disagree (RFC 9112 §2.2, §5.2).
            if b"\n" in line or b"\r" in line or b"\0" in line:
                raise HandshakeError(0, "a line of the response does not end with CR LF")
            if line.startswith((b" ", b"\t")):
                raise HandshakeError(0, "the response has a folded line (RFC 9112 §5.2)")

    def _parse(self, head: bytes) -> ResponseHead | None:
        """Parse a head; None for one that only informs."""
        self._http.receive_data(head)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise HandshakeError(0, f"the response is not valid HTTP/1.1: {error}") from None
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        if event.status_code < 200 and event.status_code != 101:
            return None
        return ResponseHead(
            event.status_code,
            bytes(event.reason).decode("latin-1"),
            event.http_version.decode("ascii"),
            [
                (name.decode("ascii"), value.decode("latin-1"))
                for name, value in event.headers.raw_items()
            ],
        )

    # --- bodies ---

    def _read_body(self, data: bytes, *, at_end: bool = True) -> Response | None:
        assert self._head is not None
        if self._http.their_state is h11.SWITCHED_PROTOCOL:
            return Response(self._head, leftover=data)
        at_end = at_end and not data
        try:
            if data or at_end:
                self._http.receive_data(data)
            while isinstance(event := self._http.next_event(), h11.Data):
                self._body += bytes(event.data)
                if len(self._body) >= MAX_BODY_SIZE:
                    return Response(self._head, self._body[:MAX_BODY_SIZE])
        except h11.RemoteProtocolError:  # it is broken off, and what there is has to do
            return Response(self._head, self._body)
        if event is h11.NEED_DATA:
            return None
        is_done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return Response(self._head, self._body, keeps_alive=is_done and not at_end)


def _quoted(data: bytes) -> str:
    return safe_text(data[:40].decode("latin-1"))
