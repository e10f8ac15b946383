"""Chat in rooms, with a page for browsers at http://127.0.0.1:8000/?room=lobby&name=ada.

python -m ws_middleware examples.chat:ws examples.chat:page
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from ws_middleware import AsyncConnection, WebSockets, broadcast

PAGE = Path(__file__).with_name("chat.html")

ws = WebSockets(max_message_size=4096)


class Room:
    """Know who is here, and what was said last."""

    def __init__(self) -> None:
        self.members: dict[AsyncConnection, str] = {}
        self.history: deque[dict[str, str]] = deque(maxlen=50)

    def say(self, name: str, text: str) -> None:
        message = {"name": name, "text": text}
        self.history.append(message)
        for member in broadcast(self.members, json.dumps(message)):
            member.abort()  # it does not keep up with the room


rooms = {name: Room() for name in ("lobby", "garden")}


@ws.route("/chat/<any(lobby, garden):room>/<name>")
async def chat(connection: AsyncConnection, room: str, name: str) -> None:
    here = rooms[room]
    for message in here.history:
        await connection.send_json(message)
    here.members[connection] = name
    try:
        here.say(name, "is here")
        async for text in connection:
            here.say(name, str(text))
    finally:
        del here.members[connection]
        here.say(name, "is gone")


async def page(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Be an ASGI app that answers every path with the page."""
    if scope["type"] == "websocket":  # on a path that is no room
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        fields = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": PAGE.read_bytes()})
