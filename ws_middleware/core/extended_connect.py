"""WebSockets as a stream of HTTP/2 or HTTP/3: the extended CONNECT (RFC 8441, RFC 9220).

It is translated to the GET that means the same, and the 101 of that to a 200, so that everything
above knows one opening handshake; what came in HTTP/1.1 stays as it is. Rule: the protocol that is
asked for may be hidden by a server; a CONNECT with a path and a version of WebSocket can ask for
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from ws_middleware.core.handshake import RequestHead
from ws_middleware.core.headers import Fields, field_values

__all__ = ["accepting_status", "as_upgrade", "fields_for", "is_extended_connect"]

_STREAMS = ("2", "3")

#: "The Host, … Upgrade, and Connection header fields … Sec-WebSocket-Key … are not used"
#: (RFC 8441 §5): whoever reads the translated request finds these.
_MEANT = (
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)
_UNUSED = frozenset({*dict(_MEANT), "sec-websocket-accept", "keep-alive", "transfer-encoding"})


def is_extended_connect(head: RequestHead) -> bool:
    """Tell whether a request opens a WebSocket in a stream; a CONNECT to a proxy has no path.

    >>> version = [("sec-websocket-version", "13")]
    >>> is_extended_connect(RequestHead("CONNECT", "/chat", "2", version))
    True
    >>> is_extended_connect(RequestHead("CONNECT", "example.com:443", "2", version))
    False
    """
    return (
        head.method == "CONNECT"
        and head.version in _STREAMS
        and head.target.startswith("/")
        and bool(field_values(head.fields, "sec-websocket-version"))
    )


def as_upgrade(head: RequestHead) -> RequestHead:
    """Translate to the request of RFC 6455 §4.1 that means the same."""
    if head.version not in _STREAMS:
        return head
    return RequestHead("GET", head.target, "1.1", [*_used(head.fields), *_MEANT])


def accepting_status(version: str) -> int:
    """Give the status that accepts: of a CONNECT any 2xx does (RFC 8441 §5).

    >>> accepting_status("1.1"), accepting_status("2")
    (101, 200)
    """
    return 200 if version in _STREAMS else 101


def fields_for(version: str, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out of a response what a stream has no use for (RFC 8441 §5, RFC 9113 §8.2.2).

    >>> fields_for("2", [("Upgrade", "websocket"), ("Sec-WebSocket-Protocol", "chat")])
    [('Sec-WebSocket-Protocol', 'chat')]
    """
    return _used(fields) if version in _STREAMS else list(fields)


def _used(fields: Fields | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [field for field in fields if field[0].lower() not in _UNUSED]
