"""Our connection inside another framework's handler, past its ASGI events.

Accepting and closing stay with the framework, so that its middlewares see them; messages do not
pass through it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.handshake import EXTENSION, Handshake
from ws_middleware.errors import UnsupportedError

__all__ = ["direct"]


def direct(scope: Mapping[str, Any]) -> AsyncConnection:
    """Give the connection of a framework's own WebSocket handler, for pings, fragments and speed.

    Call it before the framework accepts where the framework reads ahead, as Quart does: what
    it has read is its own. Until then `send` waits. `UnsupportedError` where the server keeps
    the frames to itself.
    """
    handshake = scope.get("extensions", {}).get(EXTENSION, {}).get("handshake")
    if not isinstance(handshake, Handshake):
        raise UnsupportedError(
            "direct() needs frames, and this ASGI server keeps them to itself; "
            "uvicorn, hypercorn, gunicorn and `python -m ws_middleware` let us have them"
        )
    return handshake.direct()
