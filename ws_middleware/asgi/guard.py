"""The first bytes of each TCP connection of the standalone server, under our limits.

Each request head is read here, completely, before anybody else sees a byte of it. A request
that means to open a WebSocket goes to our protocol with every byte behind it; any other is
lent, as it came, to uvicorn's own HTTP protocol, one request at a time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from ws_middleware.asgi.head import HeadReader, parse_head
from ws_middleware.asgi.lingering import LingeringClose, encode_refusal
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.core.handshake import RequestHead, is_attempt
from ws_middleware.core.headers import field_values
from ws_middleware.driver import BLOCK
from ws_middleware.errors import HandshakeError
from ws_middleware.logs import format_address, handshake_refused
from ws_middleware.options import Options

__all__ = ["HTTPGuard"]

logger = logging.getLogger("ws_middleware")


class HTTPGuard(asyncio.Protocol):
    """Read request heads and hand each request to whom it belongs."""

    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        options: Options = getattr(config, "options", None) or Options()
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._options = options
        self._loop = _loop or asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = getattr(config, "tls", None)
        self._handshake: asyncio.Task[None] | None = None
        self._deadline = (
            None if options.open_timeout is None else self._loop.time() + options.open_timeout
        )
        self._timer: asyncio.TimerHandle | None = None
        self._reader = HeadReader(options)
        self._body: _Body | None = None
        self._http: Any = None  # uvicorn's protocol, once it was needed
        self._lent: _LentTransport | None = None
        self._busy = False  # a response is under way
        self._waiting = bytearray()  # what came behind the request that is being answered

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by class
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        if self._tls is not None:
            self._handshake = self._loop.create_task(self._start_tls(self._tls))
        elif self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._on_open_timeout)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        plain = self._transport
        limit = None if self._deadline is None else max(self._deadline - self._loop.time(), 0.001)
        try:
            secured = await self._loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=limit
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            logger.info(
                "%s TLS handshake failed: %s",
                format_address(plain.get_extra_info("peername")),
                ascii(str(error)),
            )
            plain.abort()
            return
        if secured is None:
            return  # lost meanwhile
        self._transport = secured
        if self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._on_open_timeout)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of a body, or of what comes behind."""
        if self._body is not None:
            self._take_body(data)
        elif self._busy:
            self._waiting += data
            if len(self._waiting) > BLOCK:
                self._transport.pause_reading()
        else:
            self._take_head(data)

    def eof_received(self) -> bool | None:
        """Pass the end of the peer's stream on to who is answering."""
        return self._http.eof_received() if self._http is not None else None

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._http is not None:
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._let_go()
        if self._http is not None:
            self._http.connection_lost(exc)

    def shutdown(self) -> None:
        """Close a connection on which nothing was asked yet: the server stops."""
        self._transport.close()

    # --- heads ---

    def _take_head(self, data: bytes) -> None:
        try:
            read = self._reader.feed(data)
            if read is None:
                return
            self._reader = HeadReader(self._options)
            head = parse_head(read[0])
            if _has_ambiguous_length(head):
                raise HandshakeError(400, "the request has two lengths (RFC 9112 §6.3)")
        except HandshakeError as error:
            self._refuse(error)
            return
        if is_attempt(head):
            self._upgrade(head, read[1])
        else:
            self._lend(head, *read)

    def _on_open_timeout(self) -> None:
        self._timer = None
        if self._reader.is_empty:
            self._transport.abort()
            return
        limit = self._options.open_timeout
        self._refuse(HandshakeError(408, f"no whole request came within open_timeout={limit} s"))

    def _refuse(self, error: HandshakeError) -> None:
        self._detach()
        handshake_refused(self._transport.get_extra_info("peername"), "-", error)
        last = LingeringClose(self._transport, self._options.close_timeout, lambda _: None)
        last.send(encode_refusal(error), last=True)

    def _upgrade(self, head: RequestHead, leftover: bytes) -> None:
        self._detach()
        protocol = WebSocketProtocol(self._config, self._server_state, self._app_state)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.begin(head, leftover, deadline=self._deadline)

    def _detach(self) -> None:
        """Take the transport back from uvicorn, for good."""
        self._let_go()
        if self._lent is not None:
            self._lent.take_back()
            self._server_state.connections.discard(self._http)

    def _let_go(self) -> None:
        self._server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- plain HTTP ---

    def _lend(self, head: RequestHead, raw_head: bytes, rest: bytes) -> None:
        """Give a request to uvicorn's HTTP protocol; the deadline is for the first head only.

        Between requests uvicorn's own keep-alive timeout runs, as it sees no part of a head.
        """
        self._let_go()
        self._deadline = None
        self._busy = True
        if self._http is None:
            self._start_http()
        self._body = _Body(raw_head) if _has_body(head) else None
        self._http.data_received(raw_head)
        if self._body is not None:
            self._take_body(rest)
        else:
            self._waiting += rest

    def _start_http(self) -> None:
        self._lent = _LentTransport(self._transport)
        self._http = _WatchedHTTP(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        self._http.watcher = self._on_response_complete
        self._http.connection_made(self._lent)

    def _take_body(self, data: bytes) -> None:
        assert self._body is not None
        size = self._body.feed(data)
        if size is not None:
            self._body = None
            self._waiting += data[size:]
            data = data[:size]
        if data:
            self._http.data_received(data)

    def _on_response_complete(self) -> None:
        self._busy = False
        if self._body is None and not self._transport.is_closing():
            # Not inside uvicorn's own call: it has yet to clean up behind its response.
            self._loop.call_soon(self._next_request)

    def _next_request(self) -> None:
        if self._busy or self._transport.is_closing():
            return
        self._transport.resume_reading()
        data, self._waiting = bytes(self._waiting), bytearray()
        if data:
            self._take_head(data)


def _has_body(head: RequestHead) -> bool:
    return any(name.lower() in ("content-length", "transfer-encoding") for name, _ in head.fields)


def _has_ambiguous_length(head: RequestHead) -> bool:
    # "Transfer-Encoding and Content-Length … ought to be handled as an error" (§6.3)
    fields = head.fields
    return bool(
        field_values(fields, "content-length") and field_values(fields, "transfer-encoding")
    )


class _Body:
    """Find the end of a request's body."""

    def __init__(self, head: bytes) -> None:
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + BLOCK)
        self._parser.receive_data(head)
        self._parser.next_event()

    def feed(self, data: bytes) -> int | None:
        """Take bytes; returns how many of them belong to the body once it has ended."""
        if data:
            self._parser.receive_data(data)
        try:
            while True:
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.EndOfMessage):
                    return len(data) - len(self._parser.trailing_data[0])
        except h11.RemoteProtocolError:
            return None  # uvicorn sees the same bytes, and answers them with 400


class _LentTransport:
    """Be the transport for uvicorn's HTTP protocol until it is taken back."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_lent = True

    def take_back(self) -> None:
        """Let no call through any more, such as that of a keep-alive timer."""
        self._is_lent = False

    def is_closing(self) -> bool:
        return not self._is_lent or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        if self._is_lent:
            return getattr(self._transport, name)
        return _ignore


def _ignore(*arguments: object) -> None:
    pass


class _WatchedHTTP(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Be uvicorn's HTTP protocol, and tell when a response is complete."""

    watcher: Callable[[], None]

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.watcher()
