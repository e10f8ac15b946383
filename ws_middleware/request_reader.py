"""Reading a request's head from raw bytes, within limits, more strictly than HTTP allows.

What it would forgive is refused before h11 parses it: bare LF, folded lines, empty lines in
front. A head as browsers send it needs no h11, which takes five times as long as what is here.
`HandshakeError` tells the status to answer with.
"""

from __future__ import annotations

from functools import lru_cache

import h11

from ws_middleware.core.handshake import RequestHead
from ws_middleware.core.headers import IndexedFields
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options
from ws_middleware.request import shared_name

__all__ = ["HeadReader", "parse_head"]

_BROKEN_LINE = "a line of the request does not end with CR LF (RFC 9112 §2.2)"


class HeadReader:
    """Collect the bytes of one request head, within the limits of `options`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._buffer = bytearray()
        self._scanned = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has come yet."""
        return not self._buffer

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; returns the head and the bytes behind it once the head is there."""
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n", max(self._scanned - 3, 0))
        self._scanned = len(buffer)
        size = len(buffer) if end < 0 else end + 4
        self._check_start()
        self._check_line_ends(size)
        self._check_target(size)
        if size > self._options.max_head_size:
            raise HandshakeError(
                431, f"the request head exceeds max_head_size={self._options.max_head_size}"
            )
        if buffer.count(b"\r\n", 0, size) - 2 > self._options.max_head_fields:
            raise HandshakeError(
                431, f"the request has more than max_head_fields={self._options.max_head_fields}"
            )
        if end < 0:
            return None
        return bytes(buffer[:size]), bytes(buffer[size:])

    def _check_start(self) -> None:
        # No method begins like this; waiting for more would only feed whoever sends it.
        if self._buffer and not 0x21 <= self._buffer[0] <= 0x7E:
            raise HandshakeError(400, "the request does not begin with a method (RFC 9112 §3)")

    def _check_line_ends(self, size: int) -> None:
        # At once: behind a bare LF an end of the head may never be seen.
        if self._buffer.count(b"\n", 0, size) != self._buffer.count(b"\r\n", 0, size):
            raise HandshakeError(400, _BROKEN_LINE)

    def _check_target(self, size: int) -> None:
        limit = self._options.max_target_size
        line = self._buffer.find(b"\r\n", 0, size)
        # The method and the version take the rest of the first line.
        if (line if line >= 0 else size) > limit + 32:
            raise HandshakeError(414, f"the request target exceeds max_target_size={limit}")


def parse_head(data: bytes) -> RequestHead:
    """Parse a whole request head; 400 or 501 for what HTTP/1.1 does not allow.

    >>> parse_head(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n").fields
    [('Host', 'a')]
    """
    lines = data.split(b"\r\n")
    head = _parse_plain(lines)
    if head is None:
        _check_lines(lines)
        head = _parse_any(data)
    return head


#: RFC 9110 §5.6.2, and what §5.5 allows in a field's value.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE = bytes(range(0x21, 0x7F))
_TEXT = b"\t " + _VISIBLE + bytes(range(0x80, 0x100))
#: What says where a request ends is for h11.
_FRAMING = ("content-length", "transfer-encoding")
#: Their values are the same in many requests, and no secrets.
_COMMON = (
    *("host", "origin", "user-agent", "upgrade", "connection", "pragma", "cache-control"),
    *("accept-encoding", "accept-language", "sec-websocket-version", "sec-websocket-extensions"),
)


def _parse_plain(lines: list[bytes]) -> RequestHead | None:
    """Parse a GET without a body and with one Host field; None leaves anything else to h11."""
    start, target = lines[0], lines[0][4:-9]
    if not start.startswith(b"GET ") or not start.endswith(b" HTTP/1.1") or lines[-2:] != _END:
        return None
    if not target or target.translate(None, _VISIBLE):
        return None
    fields: list[tuple[str, str]] = []
    by_name: dict[str, list[str]] = {}
    for line in lines[1:-2]:
        raw_name, colon, raw_value = line.partition(b":")
        name, lower = _read_name(raw_name) if len(raw_name) <= _SHORT else ("", "")
        if not colon or not name or lower in _FRAMING or raw_value.translate(None, _TEXT):
            return None
        value = raw_value.strip(b" \t").decode("latin-1")
        if lower in _COMMON and len(value) <= _SHORT:
            value = _shared_value(value)
        fields.append((name, value))
        by_name.setdefault(lower, []).append(value)
    if len(by_name.get("host", ())) != 1:
        return None
    return RequestHead("GET", target.decode("ascii"), "1.1", IndexedFields(fields, by_name))


_END = [b"", b""]
#: Peers choose what is kept in the caches below: no more than this many bytes each.
_SHORT = 200


@lru_cache(maxsize=256)
def _read_name(name: bytes) -> tuple[str, str]:
    """Give a field's name, as it is and in lower case; nothing for what is no name."""
    text = "" if name.translate(None, _TOKEN) else name.decode("ascii")
    return shared_name(text), text.lower()


@lru_cache(maxsize=256)
def _shared_value(value: str) -> str:
    """Give one copy of a value that many requests have."""
    return value


def _parse_any(data: bytes) -> RequestHead:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1)
    try:
        connection.receive_data(data)
        request = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise HandshakeError(
            error.error_status_hint, "the request is not valid HTTP/1.1 (RFC 9112)"
        ) from None
    if not isinstance(request, h11.Request):
        raise HandshakeError(400, "the request head is not complete")
    return RequestHead(
        request.method.decode("ascii"),
        request.target.decode("latin-1"),
        request.http_version.decode("ascii"),
        IndexedFields(
            (shared_name(name.decode("ascii")), value.decode("latin-1"))
            for name, value in request.headers.raw_items()
        ),
    )


def _check_lines(lines: list[bytes]) -> None:
    for line in lines:
        # "a recipient … MUST … reject" or repair a bare CR (RFC 9112 §2.2); a bare LF and a
        # folded line (§5.2) are where parsers disagree, so both are refused.
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise HandshakeError(400, _BROKEN_LINE)
        if line.startswith((b" ", b"\t")):
            raise HandshakeError(400, "the request has a folded line (RFC 9112 §5.2)")
