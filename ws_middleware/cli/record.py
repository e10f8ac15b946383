"""A record of a connection: one JSON object per line, appended to a file.

`time` is in seconds since 1970; `type` is open, text, binary, ping, pong or close. Binary data
are in `base64`. What is sent in fragments has a line each, the last one with `fin` true.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, TextIO

from ws_middleware.aio import AsyncConnection
from ws_middleware.core.messages import Data, Ping, Pong

__all__ = ["Record"]


class Record:
    """Write down what happens; without a file, nothing."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def opened(self, connection: AsyncConnection) -> None:
        """Note that a connection is open."""
        self._write(
            "open",
            url=connection.request.url,
            subprotocol=connection.subprotocol,
            extensions=connection.extensions,
        )

    def received(self, item: Data | Ping | Pong) -> None:
        """Note what came."""
        if isinstance(item, Ping | Pong):
            kind = "ping" if isinstance(item, Ping) else "pong"
            self._write(kind, "received", **_encode(item.payload))
        else:
            self._write_data("received", item)

    def sent(self, message: Data) -> None:
        """Note a message that was sent."""
        self._write_data("sent", message)

    async def sending(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass on what is being sent in fragments, and note it."""
        previous: bytes | None = None
        async for block in blocks:
            if previous is not None:
                self._write_data("sent", previous, fin=False)
                yield previous
            previous = block
        if previous is not None:
            self._write_data("sent", previous, fin=True)
            yield previous

    def closed(self, connection: AsyncConnection) -> None:
        """Note how a connection ended."""
        closed = connection.endpoint.closed
        self._write("close", code=closed.code, reason=closed.reason, by_peer=closed.by_peer)

    def _write_data(
        self, direction: Literal["sent", "received"], data: Data, **more: object
    ) -> None:
        if self._file is not None:
            kind = "text" if isinstance(data, str) else "binary"
            self._write(kind, direction, **_encode(data), **more)

    def _write(self, kind: str, direction: str | None = None, **what: object) -> None:
        if self._file is None:
            return
        entry: dict[str, Any] = {"time": round(time.time(), 6), "type": kind}
        if direction is not None:
            entry["direction"] = direction
        print(json.dumps(entry | what, ensure_ascii=False), file=self._file, flush=True)


def _encode(data: Data) -> dict[str, str]:
    if isinstance(data, str):
        return {"text": data}
    return {"base64": base64.b64encode(data).decode("ascii")}
