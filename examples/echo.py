"""Send every message back.

python -m ws_middleware examples.echo:ws
"""

from __future__ import annotations

from ws_middleware import AsyncConnection, WebSockets

ws = WebSockets()


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)
