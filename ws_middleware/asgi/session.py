"""ASGI's WebSocket events for an application, spoken over our handshake and connection.

Version 2.5 of the specification, with its denial response. Rule: an application's mistake is
raised in the application; after the end `receive` keeps telling of it and `send` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.types import ASGIApp, Event, Scope
from ws_middleware.core.frames import CloseCode, truncate_reason
from ws_middleware.core.handshake import offered_subprotocols
from ws_middleware.core.messages import Data
from ws_middleware.driver import StreamDriver
from ws_middleware.errors import ConnectionClosed, HandshakeError
from ws_middleware.failures import is_being_cancelled, is_only

if TYPE_CHECKING:
    from ws_middleware.asgi.handshake import Handshake

__all__ = ["ClientDisconnected", "Session"]

logger: logging.Logger = logging.getLogger("ws_middleware")


class ClientDisconnected(OSError):
    """Tell an application that it sends to a peer that is gone (ASGI 2.4)."""


class Session:
    """Be the `receive` and `send` of one application call."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self._connection: AsyncConnection | None = None
        self._driver: StreamDriver | None = None
        self._receiving = False
        self._turn: asyncio.Future[None] | None = None  # what others that receive wait for
        self._arrival: asyncio.Future[None] | None = None  # what the application waits for
        self._detached = False
        self._connected = False
        self._disconnect: Event | None = None
        self._denial: Event | None = None
        self._denial_ended = False

    @property
    def has_accepted(self) -> bool:
        """Tell whether it was the application itself that accepted the handshake."""
        return self._connection is not None

    async def run(self, app: ASGIApp) -> None:
        """Call the application, and close what it leaves open."""
        request = self._handshake.request
        try:
            await app(cast(Scope, request.scope), self.receive, self.send)
        except BaseException as error:
            if _is_from_outside(error):
                self._finish(CloseCode.GOING_AWAY)
                raise
            if not self._is_end(error):
                logger.exception("the application failed for %a", request.path)
            self._finish(CloseCode.INTERNAL_ERROR, "internal error")
        else:
            self._finish(CloseCode.NORMAL)

    # --- what the application calls ---

    async def receive(self) -> Event:
        """Give the next event; to tasks that ask at once, one each."""
        while self._receiving:
            self._turn = self._turn or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)
        self._receiving = True
        try:
            event = None
            while event is None:
                coming = self._receive_whole()
                if isinstance(coming, (str, bytes)):
                    event = _received(coming)
                elif coming is None:
                    event = await self._next_event()
                else:
                    self._arrival = coming
                    await coming
            return event
        finally:
            self._receiving = False
            turn, self._turn = self._turn, None
            if turn is not None:
                turn.set_result(None)

    async def _next_event(self) -> Event | None:
        """Give an event that is no message yet to come; None once the handshake is decided."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._disconnect is not None:
            return self._disconnect
        connection = self._connection
        if connection is None and not self._handshake.is_decided:
            await self._handshake.wait_decided()
            return None
        if connection is None:
            self._disconnect = _disconnected(CloseCode.ABNORMAL, "")
            return self._disconnect
        try:
            if self._detached:
                await connection.wait_closed()
                raise connection.endpoint.closed
            return _received(await connection.recv())
        except ConnectionClosed as closed:
            self._disconnect = _disconnected(*_end_of(closed))
            return self._disconnect

    def _receive_whole(self) -> Data | asyncio.Future[None] | None:
        """Give a message, or what ends when there is something to receive; else None."""
        if self._driver is None or self._detached or not self._connected:
            return None
        coming: Data | asyncio.Future[None] | None = self._driver.receive_whole()
        return coming

    def detach(self) -> None:
        """Give no more messages to the application: they go past it from now on."""
        self._detached = True
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def send(self, event: Event) -> None:
        """Carry out an event of the application."""
        kind = event["type"]
        if self._connection is not None and kind == "websocket.send":  # the most frequent case
            text = event.get("text")
            try:
                await self._connection.send(event["bytes"] if text is None else text)
            except ConnectionClosed as closed:
                raise ClientDisconnected(str(closed)) from None
        elif self._connection is not None:
            self._send_open(self._connection, kind, event)
        elif self._denial is not None:
            self._continue_denial(kind, event)
        elif self._handshake.is_decided:
            raise ClientDisconnected("the handshake is over: it was refused, or the peer is gone")
        elif kind == "websocket.accept":
            self._accept(event)
        elif kind == "websocket.close":
            self._handshake.refuse(HandshakeError(403, "the application refused the connection"))
        elif kind == "websocket.http.response.start":
            self._denial = _checked(event)
        else:
            raise _out_of_order(kind, "before websocket.accept")

    def _send_open(self, connection: AsyncConnection, kind: str, event: Event) -> None:
        if kind == "websocket.close":
            code, reason = event.get("code", CloseCode.NORMAL), event.get("reason") or ""
            connection.start_closing(code, truncate_reason(reason))
        else:
            raise _out_of_order(kind, "after websocket.accept")

    def _accept(self, event: Event) -> None:
        handshake = self._handshake
        subprotocol = event.get("subprotocol")
        offered = offered_subprotocols(handshake.request.head.fields)
        if subprotocol is not None and subprotocol not in offered:
            raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
        self._driver, self._connection = handshake.accept_for_app(subprotocol, _text_fields(event))

    def _continue_denial(self, kind: str, event: Event) -> None:
        assert self._denial is not None
        if kind != "websocket.http.response.body":
            raise _out_of_order(kind, "after websocket.http.response.start")
        if self._denial_ended:
            raise _out_of_order(kind, "behind the last one")
        more = event.get("more_body", False)
        self._handshake.deny(
            self._denial["status"], _text_fields(self._denial), event.get("body", b""), more=more
        )
        self._denial_ended = not more

    # --- what happens when the application ends ---

    def _is_end(self, error: BaseException) -> bool:
        """Tell whether an exception only says that the peer left while the app was at work."""
        return self._handshake.is_over and is_only(error, ClientDisconnected, ConnectionClosed)

    def _finish(self, code: CloseCode, reason: str = "") -> None:
        """Close what the application left open."""
        if self._connection is not None:
            self._connection.start_closing(code, reason)
        elif not self._handshake.is_decided:
            self._handshake.refuse(HandshakeError(500, "the application did not answer"))


def _is_from_outside(error: BaseException) -> bool:
    """Tell what ends the application, or the program, from what the application raised.

    As under uvicorn `sys.exit()` is a failure of the application, and the server goes on.
    """
    if isinstance(error, asyncio.CancelledError):
        return is_being_cancelled()
    return isinstance(error, (GeneratorExit, KeyboardInterrupt))


def _received(data: Data) -> Event:
    if isinstance(data, str):
        return {"type": "websocket.receive", "text": data}
    return {"type": "websocket.receive", "bytes": data}


def _end_of(closed: ConnectionClosed) -> tuple[int, str]:
    """Give the code and reason that the peer sent, else those that we sent it.

    ASGI leaves the latter open; they are what uvicorn's own protocols tell applications.
    """
    if closed.code == CloseCode.ABNORMAL and closed.sent_code is not None:
        return closed.sent_code, closed.sent_reason
    return closed.code, closed.reason


def _disconnected(code: int, reason: str) -> Event:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _out_of_order(kind: str, when: str) -> RuntimeError:
    return RuntimeError(f"the event {kind!r} may not be sent {when}")


def _checked(start: Event) -> Event:
    """Refuse a denial that is no final response (RFC 9110 §15): a 101 would accept."""
    if not 200 <= start["status"] < 600:
        raise ValueError(f"the status of a denial is 200 to 599, not {start['status']}")
    return start


#: The fields that frame a message, which is the server's business.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})


def _text_fields(event: Event) -> list[tuple[str, str]]:
    """Give the fields of an application's own."""
    headers: Iterable[tuple[bytes, bytes]] = event.get("headers") or ()
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    for name, _ in fields:
        if name.lower().startswith("sec-websocket-"):
            raise ValueError(f"the field {name} belongs to the server's handshake")
    return [field for field in fields if field[0].lower() not in _FRAMING]
