"""The first bytes of each TCP connection of the standalone server, under our limits.

Each request head is read here, completely, before anybody else sees a byte of it. A request
that means to open a WebSocket goes to our protocol with every byte behind it; any other is lent
to uvicorn's own HTTP protocol, one request at a time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.server import ServerState

from ws_middleware.asgi.lending import (
    Body,
    LentTransport,
    WatchedHTTP,
    has_body,
    without_ignored,
)
from ws_middleware.asgi.lingering import LingeringClose
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.core.handshake import RequestHead, encode_refusal, is_attempt
from ws_middleware.core.headers import field_values
from ws_middleware.driver import BLOCK
from ws_middleware.errors import HandshakeError
from ws_middleware.logs import format_address, handshake_refused
from ws_middleware.options import Options
from ws_middleware.request_reader import HeadReader, parse_head

__all__ = ["HTTPGuard"]

logger: logging.Logger = logging.getLogger("ws_middleware")


class HTTPGuard(asyncio.Protocol):
    """Read request heads and hand each request to whom it belongs."""

    transport: asyncio.Transport

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
        self.ws_protocol_class: Callable[..., WebSocketProtocol] = WebSocketProtocol
        self._handshake: asyncio.Task[None] | None = None
        self._deadline = (
            None if options.open_timeout is None else self._loop.time() + options.open_timeout
        )
        self._timer: asyncio.TimerHandle | None = None
        self._reader = HeadReader(options)
        self._body: Body | None = None
        self._http: Any = None  # uvicorn's protocol, once it was needed
        self._lent: LentTransport | None = None
        self._busy = False  # a TLS handshake or a request is under way
        self._answered = False  # the response to that request is complete
        self._waiting = bytearray()  # what came meanwhile

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not one by class
        self._address = transport.get_extra_info("peername")  # not to be had behind the end
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        if self._tls is not None and transport.get_extra_info("sslcontext") is None:
            self._busy = True
            self._handshake = self._loop.create_task(self._start_tls(self._tls))
        elif self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._on_open_timeout)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        plain = self.transport
        if plain.is_closing():
            return
        if self._waiting:  # the ClientHello came before this task ran
            self._loop.call_soon(_pass_on, plain, bytes(self._waiting))
            self._waiting.clear()
        limit = None if self._deadline is None else max(self._deadline - self._loop.time(), 0.001)
        try:
            secured = await self._loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=limit
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            logger.info(
                "%s TLS handshake failed: %s",
                format_address(self._address),
                ascii(str(error)),
            )
            self._let_go()  # of a handshake that fails, `connection_lost` is not told
            plain.abort()
            return
        if secured is None:
            self._let_go()
            return  # lost meanwhile
        self.transport = secured
        if self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._on_open_timeout)
        # The head may have come in the segment that ended the handshake, with a lot behind it.
        plain.resume_reading()
        self._busy = False
        self._take_waiting()

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of a body, or of what comes behind."""
        if self._body is not None:
            self._take_body(data)
        elif self._busy:
            self._waiting += data
            if len(self._waiting) > BLOCK:
                self.transport.pause_reading()
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
        if self._handshake is not None and not self._handshake.done():
            self._handshake.cancel()
            self._let_go()
            self.transport.abort()
        else:
            self.transport.close()

    # --- heads ---

    def _take_head(self, data: bytes) -> None:
        try:
            read = self._reader.feed(data)
            if read is None:
                return
            self._reader = HeadReader(self._options)
            head = parse_head(read[0])
            _check_framing(head)
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
            self.transport.abort()
            return
        limit = self._options.open_timeout
        self._refuse(HandshakeError(408, f"no whole request came within open_timeout={limit} s"))

    def _refuse(self, error: HandshakeError) -> None:
        handshake_refused(self._address, "-", error)
        self._end(encode_refusal(error))

    def _end(self, data: bytes) -> None:
        """Write the last bytes, such that they and those before them arrive."""
        self._detach()
        last = LingeringClose(self.transport, self._options.close_timeout, lambda _: None)
        last.send(data, last=True)

    def _upgrade(self, head: RequestHead, leftover: bytes) -> None:
        self._detach()
        protocol = self.ws_protocol_class(self._config, self._server_state, self._app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.begin(head, leftover, deadline=self._deadline)

    def _detach(self) -> None:
        """Take the transport back from uvicorn, for good."""
        self._let_go()
        if self._lent is not None:
            self._lent.take_back()
            self._http.connection_lost(None)

    def _let_go(self) -> None:
        self._server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- plain HTTP ---

    def _lend(self, head: RequestHead, raw_head: bytes, rest: bytes) -> None:
        """Give a request to uvicorn's HTTP protocol, which knows only of whole heads."""
        self._let_go()
        self._deadline = None
        self._busy, self._answered = True, False
        if self._http is None:
            self._start_http()
        assert self._lent is not None
        self._lent.has_written = False
        self._body = Body(raw_head) if has_body(head) else None
        self._http.data_received(without_ignored(head, raw_head))
        if self._body is not None:
            self._take_body(rest)
        else:
            self._waiting += rest

    def _start_http(self) -> None:
        self._lent = LentTransport(self.transport)
        self._http = WatchedHTTP(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        self._http.watcher = self._on_response_complete
        self._http.connection_made(self._lent)

    def _take_body(self, data: bytes) -> None:
        assert self._body is not None
        try:
            size = self._body.feed(data)
        except h11.RemoteProtocolError:
            self._refuse_body()
            return
        if size is not None:
            self._body = None
            self._waiting += data[size:]
            data = data[:size]
            self._loop.call_soon(self._next_request)
        if data:
            self._http.data_received(data)

    def _refuse_body(self) -> None:
        assert self._lent is not None
        if self._lent.has_written:
            self._end(b"")  # a second response would be taken for another request's
        else:
            self._refuse(HandshakeError(400, "the request's body is malformed (RFC 9112 §7.1)"))

    def _on_response_complete(self) -> None:
        self._answered = True
        if self._body is not None and not self.transport.is_closing():
            # Nobody reads the rest of the body any more: it does not get for ever.
            self._timer = self._loop.call_later(self._options.close_timeout, self.transport.abort)
        # Not inside uvicorn's own call: it has yet to clean up behind its response.
        self._loop.call_soon(self._next_request)

    def _next_request(self) -> None:
        """Go on where both the request and its response have come to their ends."""
        done = self._busy and self._answered and self._body is None
        if not done or self.transport.is_closing():
            return
        self._let_go()
        # uvicorn's own time-out does not run where the end of a body came late.
        self._timer = self._loop.call_later(self._config.timeout_keep_alive, self.transport.close)
        self._busy = False
        self.transport.resume_reading()
        self._take_waiting()

    def _take_waiting(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        if data:
            self._take_head(data)


def _pass_on(transport: asyncio.Transport, data: bytes) -> None:
    """Give bytes to the buffered protocol that has the transport now."""
    protocol = cast(asyncio.BufferedProtocol, transport.get_protocol())
    protocol.get_buffer(len(data))[: len(data)] = data  # type: ignore[index]
    protocol.buffer_updated(len(data))


def _check_framing(head: RequestHead) -> None:
    # "Transfer-Encoding and Content-Length … ought to be handled as an error" (RFC 9112 §6.3)
    fields = head.fields
    if field_values(fields, "content-length") and field_values(fields, "transfer-encoding"):
        raise HandshakeError(400, "the request has two lengths (RFC 9112 §6.3)")
    if head.method == "CONNECT":
        raise HandshakeError(501, "this is not a proxy (RFC 9110 §9.3.6)")
    # The preface of HTTP/2 above all: uvicorn's parser takes it for an upgrade, and never answers.
    if head.version not in ("1.0", "1.1") and not is_attempt(head):
        raise HandshakeError(400, "this is HTTP/1.1 (RFC 9112 §2.3)")
