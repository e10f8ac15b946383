"""Writing a whole HTTP response and closing behind it, so that it arrives.

What the peer still sends is read and dropped until it has seen the end of our stream: closing
with unread input would reset the connection and take the response with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ws_middleware.driver import end_stream

__all__ = ["LingeringClose"]


class LingeringClose(asyncio.Protocol):
    """Take over a transport for its last bytes."""

    def __init__(
        self,
        transport: asyncio.Transport,
        timeout: float,
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        self._transport = transport
        self._on_lost = on_lost
        self._timer = asyncio.get_running_loop().call_later(timeout, transport.abort)

    def send(self, data: bytes, *, last: bool) -> None:
        """Write `data`; behind the `last` of it, end our stream and wait for the peer's end."""
        transport = self._transport
        if transport.is_closing():
            return
        transport.set_protocol(self)
        transport.resume_reading()
        transport.write(data)
        if last and transport.can_write_eof():
            end_stream(transport)
        elif last:
            transport.close()

    def shutdown(self) -> None:
        """Do not wait any longer: the server stops."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Drop what the peer still sends."""

    def eof_received(self) -> None:
        """Let the transport close: both streams have ended."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self._timer.cancel()
        self._on_lost(exc)
