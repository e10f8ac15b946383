"""What uvicorn's HTTP protocols know of an upgrade and do not hand on.

They rebuild the request's head as HTTP/1.1 and drop the bytes behind it. Rule: everything here
is looked up, nothing is required; what is not found counts as if nothing were wrong.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from ws_middleware.errors import HandshakeError

__all__ = ["Handover", "look_behind"]


class Handover(NamedTuple):
    """Hold the bytes that came behind the request's head, and why to refuse it, if at all."""

    early: bytes = b""
    breach: HandshakeError | None = None


def look_behind(http: Any) -> Handover:
    """Look at the HTTP protocol that is handing a request on, during that call."""
    unset_timer = getattr(http, "_unset_keepalive_if_required", None)
    if unset_timer is not None:
        unset_timer()  # before uvicorn 0.53 it may run on, and close what is no longer its own
    return Handover(_early_bytes(http), _breach(http))


def _breach(http: Any) -> HandshakeError | None:
    version = (getattr(http, "scope", None) or {}).get("http_version", "1.1")
    if version != "1.1":
        return HandshakeError(400, "a WebSocket is opened with HTTP/1.1 (RFC 6455 §4.1)")
    cycle = getattr(http, "cycle", None)
    if not getattr(cycle, "response_complete", True):
        # Our response would overtake the one that is still being made (RFC 9112 §9.3.2).
        _disconnect(cycle)
        return HandshakeError(400, "the opening handshake came before an earlier response ended")
    return None


def _disconnect(cycle: Any) -> None:
    """Let nothing be written for an earlier request any more, as uvicorn does at the end."""
    cycle.disconnected = True
    cycle.message_event.set()


def _early_bytes(http: Any) -> bytes:
    if hasattr(http, "conn"):  # h11 keeps them
        data = getattr(http.conn, "trailing_data", (b"",))[0]
    else:
        data = _behind_upgrade(sys.exc_info()[1])
    return bytes(data)


def _behind_upgrade(error: BaseException | None) -> bytes:
    """Take them from the exception by which httptools says where the request's head ends."""
    if type(error).__name__ != "HttpParserUpgrade" or error is None or error.__traceback__ is None:
        return b""
    data = error.__traceback__.tb_frame.f_locals.get("data", b"")
    return bytes(data[error.args[0] :])
