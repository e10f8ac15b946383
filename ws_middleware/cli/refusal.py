"""Why no connection came about, and what may help, in a few lines."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

from ws_middleware.core.headers import field_values
from ws_middleware.errors import HandshakeError, HandshakeRefused, ProxyError

__all__ = ["explain"]

#: How much of a response's body is shown, in characters.
MAX_BODY_SHOWN = 2000
#: The fields that say what a server wants.
_TELLING = ("WWW-Authenticate", "Proxy-Authenticate", "Location", "Allow", "Retry-After")

_HINTS = {
    200: "this is an ordinary page, no WebSocket: is the path right?",
    400: "the server, or a proxy before it, did not take this for a WebSocket's handshake",
    401: "who you are is said with --auth USER or --bearer TOKEN",
    403: "the server may allow some origins only (--origin), or wants to know who you are (--auth)",
    404: "there is nothing at this path",
    407: "the proxy wants --proxy http://USER:PASSWORD@HOST:PORT",
    426: "the server wants another protocol, or a proxy before it dropped the Upgrade field",
    429: "the server has had too many connections of yours; try later",
    502: "a proxy is there, but the server behind it is not",
    503: "the server is too busy, or is just starting; try later",
    504: "a proxy is there, but the server behind it does not answer",
}


def explain(error: Exception) -> str:
    """Tell what a failed attempt to connect failed at."""
    return "\n".join(_lines(error))


def _lines(error: Exception) -> Iterator[str]:
    if isinstance(error, HandshakeRefused) and error.status:
        yield f"refused: {error}"
        for name in _TELLING:
            for value in field_values(error.headers, name.lower()):
                yield f"{name}: {value}"
        if body := error.body.decode("utf-8", "replace").strip():
            yield body if len(body) <= MAX_BODY_SHOWN else f"{body[:MAX_BODY_SHOWN]}..."
        if error.status in _HINTS:
            yield f"hint: {_HINTS[error.status]}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        yield f"cannot connect: the certificate is not trusted: {error.verify_message}"
        yield "hint: --cacert FILE trusts another authority, --insecure verifies nothing"
    elif isinstance(error, HandshakeError | ProxyError):
        yield f"cannot connect: {error}"
    elif isinstance(error, OSError):
        # What asyncio says of a refused connection is made for programmers.
        known = isinstance(error, ConnectionError) and error.errno
        yield f"cannot connect: {os.strerror(known) if known else error.strerror or error}"
        if isinstance(error, ssl.SSLError) or (isinstance(error, ConnectionError) and not known):
            yield "hint: is the URL's scheme right? wss:// means TLS, ws:// means none"
    else:
        yield f"error: {error}"
