"""The transport of a WebSocket that is a stream of hypercorn's, or its TCP connection.

What is written becomes the events that hypercorn takes. Rule: behind the `send` of a stream
everything is looked up, nothing is required.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from hypercorn.protocol.events import Body, Data, EndBody, EndData, Response, StreamClosed

from ws_middleware.asgi.lingering import LingeringClose
from ws_middleware.asgi.streams import StreamTransport
from ws_middleware.options import Options

__all__ = ["HypercornTransport", "protocol_behind"]


class HypercornTransport(StreamTransport):
    """Be the transport of a WebSocket that is a stream of hypercorn's."""

    def __init__(
        self,
        send: Callable[[Any], Awaitable[None]],
        stream_id: int,
        version: str,
        options: Options,
        tell: Callable[[int], Awaitable[None]],
    ) -> None:
        super().__init__(send, options.write_high_water)
        self._id = stream_id
        self._close_timeout = options.close_timeout
        self._tell = tell
        #: Whether the stream is not the whole TCP connection.
        self.has_halves: bool = not version.startswith("1.")
        self._socket = None if self.has_halves else _transport_behind(send)
        self._server = protocol_behind(send)
        self._lingering: LingeringClose | None = None
        #: Called when reading goes on.
        self.on_reading: Callable[[], object] = _do_nothing
        self._data: type = Body
        self._end: type = EndBody

    # --- from the server ---

    async def feed(self, data: bytes) -> None:
        """Take bytes of the peer, when there is room for them."""
        await self._readable.wait()
        self.take(data)

    def take(self, data: bytes) -> None:
        """Take bytes of the peer, also more than there is room for."""
        if not self._lost:
            self._give(memoryview(data))

    def end_input(self, *, lost: bool) -> None:
        """Note the end of the peer's half of the stream, or of the whole."""
        if self._lost:
            return
        if self._socket is not None:
            lost = self._socket.is_closing()  # hypercorn does not tell the two apart
        if lost:
            self._give_up_sending()
            self._lose(None)
        else:
            self._end_input()

    # --- to the server ---

    async def _hand_over(self, event: Any) -> None:
        if isinstance(event, StreamClosed):
            if self._lingering is None:
                self._lose(None)
            else:
                self._lingering.shutdown()
            return
        await self._send(event)
        if isinstance(event, Response):
            await self._tell(event.status_code)
        elif isinstance(event, self._end) and self._socket is not None:
            self._linger(self._socket)
        await self._let_peer_take()

    @property
    def _kept_by_server(self) -> int:
        if self._socket is not None:
            return self._socket.get_write_buffer_size()
        return _kept_in_stream(self._server, self._id)

    def _linger(self, socket: asyncio.Transport) -> None:
        """End our half of a TCP connection; what goes wrong from now on is no news to hypercorn."""
        if socket.is_closing():
            return
        lender = socket.get_protocol()

        def on_lost(error: Exception | None) -> None:
            lender.connection_lost(None)
            self._lose(error)

        self._lingering = LingeringClose(socket, self._close_timeout, on_lost)
        self._lingering.send(b"", last=True)

    def _lose(self, error: Exception | None) -> None:
        super()._lose(error)
        self.resume_reading()  # for what comes yet

    def resume_reading(self) -> None:
        """Ask for input again."""
        super().resume_reading()
        self.on_reading()

    # --- what the handshake and the driver call ---

    def respond(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a response's head."""
        self._has_answered = True
        if status == HTTPStatus.SWITCHING_PROTOCOLS:
            self._data, self._end = Data, EndData
        self._put(Response(stream_id=self._id, headers=headers, status_code=status), 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        self._put(self._data(stream_id=self._id, data=bytes(data)), len(data))

    def can_write_eof(self) -> bool:
        """Tell whether our half of the stream can end alone."""
        return self.has_halves or (self._socket is not None and self._socket.can_write_eof())

    def _put_end(self) -> None:
        self._put(self._end(stream_id=self._id), 0)

    def close(self) -> None:
        """End the stream behind what was sent."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._outbox.append((StreamClosed(stream_id=self._id), 0))
            self._filled.set()

    def abort(self) -> None:
        """End the stream at once."""
        self._outbox.clear()
        self.close()
        if self._socket is not None:
            self._socket.abort()
        self._loop.call_soon(self._lose, None)


def protocol_behind(send: Any) -> Any:
    """Find the protocol behind the `send` of its stream."""
    return getattr(send, "__self__", None)


def _transport_behind(send: Any) -> asyncio.Transport | None:
    """Find the transport of a connection of HTTP/1.1 behind the `send` of its stream."""
    server = getattr(getattr(protocol_behind(send), "send", None), "__self__", None)
    return getattr(getattr(server, "writer", None), "transport", None)


def _do_nothing() -> None:
    pass


def _kept_in_stream(protocol: Any, stream_id: int) -> int:
    """Count what hypercorn, or aioquic below it, keeps of a stream without limit."""
    if (buffers := getattr(protocol, "stream_buffers", None)) is not None:  # HTTP/2
        return len(getattr(buffers.get(stream_id), "buffer", b""))
    quic = getattr(getattr(protocol, "connection", None), "_quic", None)
    sender = getattr(getattr(quic, "_streams", {}).get(stream_id), "sender", None)
    return int(getattr(sender, "_buffer_stop", 0) - getattr(sender, "next_offset", 0))
