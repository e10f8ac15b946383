"""Ask for a user and a password on one route, with `curl` or a browser.

python -m ws_middleware examples.basic_auth:ws
"""

from __future__ import annotations

from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.auth import Basic

USERS = {"alice": "open sesame"}

ws = WebSockets()


@ws.route("/diary", authenticate=Basic(USERS, realm="diary"))
async def diary(connection: AsyncConnection) -> None:
    await connection.send(f"Dear {connection.identity},")
    async for message in connection:
        await connection.send(message)


@ws.route("/weather")
async def weather(connection: AsyncConnection) -> None:
    await connection.send("rain")
