"""A request that waits for its answer, and the answers that refuse it.

Rule 1: nothing is written before it is decided, and it is decided once. Rule 2: what the client
sends meanwhile is kept, up to a block.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Self, cast

from uvicorn.server import ServerState

from ws_middleware.asgi.lingering import LingeringClose
from ws_middleware.asgi.outcome import Outcome
from ws_middleware.core.handshake import encode_refusal, encode_response
from ws_middleware.driver import BLOCK
from ws_middleware.errors import HandshakeError
from ws_middleware.logs import handshake_refused
from ws_middleware.options import Options
from ws_middleware.request import Request

__all__ = ["PendingRequest"]


class PendingRequest(asyncio.Protocol):
    """Be a request on a transport until it is answered.

    `server_state` is the server's as uvicorn keeps it: open connections, tasks, default fields.
    """

    __slots__ = (
        "_early",
        "_lingering",
        "_loop",
        "_options",
        "_outcome",
        "_server_state",
        "request",
        "transport",
    )

    request: Request
    transport: asyncio.Transport

    def __init__(
        self,
        options: Options,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._options = options
        self._server_state = server_state
        self._loop = loop or asyncio.get_running_loop()
        self._early = b""  # what the client sends before it was answered
        self._outcome = Outcome(self._loop)
        self._lingering: LingeringClose | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Stay the same connection in a copied scope."""
        return self

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not one by class
        self._server_state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Keep what comes before the answer."""
        self._early += data
        if len(self._early) > BLOCK:
            self.transport.pause_reading()

    def eof_received(self) -> None:
        """Let the transport close: nobody waits for an answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._server_state.connections.discard(self)
        self._outcome.note()

    # --- whether it is decided ---

    @property
    def is_decided(self) -> bool:
        """Tell whether it was accepted or refused, or the peer is gone."""
        return self._outcome.is_known

    async def wait_decided(self) -> None:
        """Wait until the handshake is decided."""
        await self._outcome.wait()

    def given_up_when_over(self) -> contextlib.AbstractContextManager[None]:
        """Cancel the block's task where the peer leaves meanwhile, or the server stops."""
        return self._outcome.given_up_when_known()

    def _decide(self) -> None:
        self._outcome.note()

    # --- refusing ---

    def refuse(self, error: HandshakeError) -> None:
        """Answer with the HTTP response that refuses the handshake."""
        if self.is_decided:
            return
        handshake_refused(self.request.remote_address, self.request.target, error)
        self._send_refusal(error)

    def _send_refusal(self, error: HandshakeError) -> None:
        self._send_last(encode_refusal(error, self.request.method))

    def deny(
        self, status: int, fields: Iterable[tuple[str, str]], body: bytes, *, more: bool
    ) -> None:
        """Answer with an application's own response; its end is the end of the stream."""
        if self._lingering is not None:
            self._lingering.send(body, last=not more)
        if self.is_decided:
            return
        reason = HandshakeError(status, "denied by the application")
        handshake_refused(self.request.remote_address, self.request.target, reason)
        length = [] if more else [("Content-Length", str(len(body)))]
        fields = [*fields, *length, ("Connection", "close")]
        self._send_denial(status, fields, body, last=not more)

    def _send_denial(
        self, status: int, fields: list[tuple[str, str]], body: bytes, *, last: bool
    ) -> None:
        fields = [*self._default_fields(), *fields]
        self._send_last(encode_response(status, fields, body), last=last)

    def _send_last(self, response: bytes, *, last: bool = True) -> None:
        self._decide()
        self._lingering = LingeringClose(
            self.transport, self._options.close_timeout, self.connection_lost
        )
        self._lingering.send(response, last=last)

    def _default_fields(self) -> list[tuple[str, str]]:
        return [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._server_state.default_headers
        ]
