"""Publish values to everybody who listens; whoever is slow skips some, and delays nobody.

python -m ws_middleware examples.broadcast:ws
"""

from __future__ import annotations

import asyncio

from ws_middleware import AsyncConnection, WebSockets

ws = WebSockets()


class Topic:
    """Hold the latest value, and tell everybody who waits for the next one."""

    def __init__(self) -> None:
        self.value = ""
        self.changed = asyncio.Event()

    def publish(self, value: str) -> None:
        self.value = value
        self.changed.set()
        self.changed = asyncio.Event()


topics = {name: Topic() for name in ("news", "weather")}


@ws.route("/publish/<any(news, weather):topic>")
async def publish(connection: AsyncConnection, topic: str) -> None:
    async for value in connection:
        topics[topic].publish(str(value))


@ws.route("/listen/<any(news, weather):topic>")
async def listen(connection: AsyncConnection, topic: str) -> None:
    forwarding = asyncio.create_task(forward(topics[topic], connection))
    try:
        async for _ in connection:
            pass  # receiving is how the end of the connection is noticed
    finally:
        forwarding.cancel()


async def forward(topic: Topic, connection: AsyncConnection) -> None:
    while True:
        changed = topic.changed  # what is published from here on is not missed
        if topic.value:
            await connection.send(topic.value)
        await changed.wait()
