"""The sockets of Twisted's `WSGIResource`, whose reactor reads them while the app runs.

An environ of Twisted's leads nowhere: what it belongs to is found among those who call us.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, ClassVar

from ws_middleware.errors import HandshakeError
from ws_middleware.wsgi.hijack import Hijacker, Taken, ask_thread, swap
from ws_middleware.wsgi.types import Environ

__all__ = ["Twisted"]

_MODULE = "twisted.web.wsgi"


class Twisted(Hijacker):
    """Take sockets from Twisted, in the thread of its reactor."""

    name: ClassVar[str] = "Twisted"

    def detect(self, environ: Environ) -> bool:
        """Look at where the input comes from: Twisted has no key of its own."""
        return type(environ.get("wsgi.input")).__module__ == _MODULE

    def take(self, environ: Environ) -> Taken:
        """Take the connection out of the reactor's hands, and what it has read of it."""
        response = _find_response()
        if response is None:
            raise HandshakeError(
                501, "Twisted's WSGIResource has to call the app in its own thread"
            )
        return ask_thread(response.reactor.callFromThread, lambda: _steal(response.request))


def _find_response() -> Any:
    """Find the object that runs the app, whatever stands between it and us."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == _MODULE:
            return frame.f_locals.get("self")
    return None


def _steal(request: Any) -> Taken:
    channel = request.channel
    if channel is None:
        raise HandshakeError(400, "the peer has gone")
    transport = channel.transport
    sock = transport.getHandle()
    if not isinstance(sock, socket.socket):
        raise HandshakeError(501, "Twisted ends TLS itself: let a proxy in front of it do that")
    transport.stopReading()
    leftover, channel._dataBuffer = b"".join(channel._dataBuffer), []
    channel.persistent = False  # no next request will come out of what is left to Twisted
    return Taken(swap(sock), leftover, borrowed=False)
