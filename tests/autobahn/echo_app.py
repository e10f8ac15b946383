"""The server that is examined: every message is sent back.

The testsuite sends messages of 16 MiB and of 65,537 frames, and answers a ping in the middle of
a frame, so we send none. Everything else is as users get it.
"""

from __future__ import annotations

from typing import Any

from ws_middleware import AsyncConnection, WebSockets

OPTIONS: dict[str, Any] = {
    "max_message_size": 2**24,
    "max_fragments": 2**17,
    "ping_interval": None,
    "origins": "*",
}
ws = WebSockets(**OPTIONS)


@ws.route("/")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)
