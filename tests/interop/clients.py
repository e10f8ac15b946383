"""What the table of behaviours needs of a client, and the clients that are written in Python.

Every call may take as long as a slow machine needs, and no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client
import wsproto
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Origin, Subprotocol
from wsproto import events
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason

from tests.running import PATIENCE

__all__ = [
    "Aiohttp",
    "Client",
    "Closed",
    "Connection",
    "Data",
    "Loop",
    "Refused",
    "Terms",
    "WebsocketsAsyncio",
    "WebsocketsSync",
    "Wsproto",
]

Data = str | bytes
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Hold what a client asks for in the opening handshake.

    `deflate` are parameters of permessage-deflate that are offered: flags, and windows in bits.
    None leaves all of it to the client.
    """

    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    deflate: Mapping[str, bool | int] | None = None
    cafile: Path | None = None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Make a context that trusts `cafile`."""
        return ssl.create_default_context(cafile=str(self.cafile)) if self.cafile else None


class Refused(Exception):
    """Report in the client's words that the handshake was refused."""


class Closed(Exception):
    """Report the close code and the reason that the client tells of."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Connection(Protocol):
    """Be an open connection, as some client gives it."""

    @property
    def subprotocol(self) -> str | None: ...

    def send(self, message: Data) -> None: ...

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        """Send the pieces as fragments of one message."""

    def receive(self) -> Data:
        """Receive a message; `Closed` at the end."""

    def ping(self, payload: str) -> str:
        """Send a ping and give the payload of its pong."""

    def close(self, code: int | None, reason: str) -> None:
        """Start or do the closing handshake; `receive` tells of its end."""

    def drop(self) -> None:
        """Let go of everything, whatever has become of the connection."""


class Client(Protocol):
    """Be a client that opens connections."""

    def open(self, url: str, terms: Terms) -> Connection:
        """Open a connection; `Refused` where that is refused."""


class Loop:
    """Run coroutines one at a time, each for as long as a slow machine needs."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Give the result of a coroutine."""
        return self._runner.run(asyncio.wait_for(coroutine, PATIENCE))


# --- websockets ---


class WebsocketsSync:
    """Open connections with the blocking client of websockets."""

    def open(self, url: str, terms: Terms) -> Connection:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(
                    websockets.sync.client.connect(url, **_websockets_settings(terms))
                )
            except websockets.exceptions.InvalidStatus as error:
                raise Refused(str(error)) from error
            return _SyncConnection(connection, stack.pop_all())


class _SyncConnection:
    def __init__(
        self, connection: websockets.sync.client.ClientConnection, stack: contextlib.ExitStack
    ) -> None:
        self._connection = connection
        self._stack = stack

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    def send(self, message: Data) -> None:
        self._connection.send(message)

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        self._connection.send(pieces)

    def receive(self) -> Data:
        try:
            return self._connection.recv(PATIENCE)
        except websockets.exceptions.ConnectionClosed as error:
            raise _websockets_end(error) from error

    def ping(self, payload: str) -> str:
        assert self._connection.ping(payload).wait(PATIENCE)
        return payload

    def close(self, code: int | None, reason: str) -> None:
        assert code is not None
        self._connection.close(code, reason)

    def drop(self) -> None:
        self._stack.close()


class WebsocketsAsyncio:
    """Open connections with the asyncio client of websockets."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def open(self, url: str, terms: Terms) -> Connection:
        async def connect() -> websockets.asyncio.client.ClientConnection:
            return await websockets.asyncio.client.connect(url, **_websockets_settings(terms))

        try:
            return _AsyncioConnection(self._loop, self._loop.run(connect()))
        except websockets.exceptions.InvalidStatus as error:
            raise Refused(str(error)) from error


class _AsyncioConnection:
    def __init__(self, loop: Loop, connection: websockets.asyncio.client.ClientConnection) -> None:
        self._run = loop.run
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    def send(self, message: Data) -> None:
        self._run(self._connection.send(message))

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        self._run(self._connection.send(pieces))

    def receive(self) -> Data:
        try:
            return self._run(self._connection.recv())
        except websockets.exceptions.ConnectionClosed as error:
            raise _websockets_end(error) from error

    def ping(self, payload: str) -> str:
        async def ping() -> None:
            await (await self._connection.ping(payload))

        self._run(ping())
        return payload

    def close(self, code: int | None, reason: str) -> None:
        assert code is not None
        self._run(self._connection.close(code, reason))

    def drop(self) -> None:
        self._run(self._connection.close())


def _websockets_settings(terms: Terms) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "subprotocols": [Subprotocol(name) for name in terms.subprotocols] or None,
        "additional_headers": dict(terms.headers),
        "origin": Origin(terms.origin) if terms.origin else None,
        "ssl": terms.tls,
        "proxy": None,
        # What cannot be compressed gets larger by it, and the frame is what is limited.
        "max_size": 2 * 2**20,
    }
    if terms.deflate is not None:
        offer: dict[str, Any] = {"client_max_window_bits": True, **terms.deflate}
        settings["compression"] = None
        settings["extensions"] = [ClientPerMessageDeflateFactory(**offer)]
    return settings


def _websockets_end(error: websockets.exceptions.ConnectionClosed) -> Closed:
    end = error.rcvd
    return Closed(end.code, end.reason) if end else Closed(None, "")


# --- aiohttp ---


class Aiohttp:
    """Open connections with aiohttp; pings are answered here, so that pongs can be seen."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def open(self, url: str, terms: Terms) -> Connection:
        return self._loop.run(self._open(url, terms))

    async def _open(self, url: str, terms: Terms) -> Connection:
        session = aiohttp.ClientSession()
        deflate = terms.deflate or {}
        try:
            connection = await session.ws_connect(
                url,
                protocols=terms.subprotocols,
                headers=terms.headers,
                origin=terms.origin,
                ssl=terms.tls or True,
                autoping=False,
                compress=0
                if terms.deflate is None
                else int(deflate.get("server_max_window_bits", 15)),
            )
        except aiohttp.WSServerHandshakeError as error:
            await session.close()
            raise Refused(str(error)) from error
        return _AiohttpConnection(self._loop, session, connection)


class _AiohttpConnection:
    def __init__(
        self,
        loop: Loop,
        session: aiohttp.ClientSession,
        connection: aiohttp.ClientWebSocketResponse[Any],
    ) -> None:
        self._run = loop.run
        self._session = session
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.protocol

    def send(self, message: Data) -> None:
        if isinstance(message, str):
            self._run(self._connection.send_str(message))
        else:
            self._run(self._connection.send_bytes(message))

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        raise NotImplementedError("aiohttp sends whole messages")

    def receive(self) -> Data:
        wanted = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        data: Data = self._run(self._receive(*wanted))
        return data

    def ping(self, payload: str) -> str:
        async def ping() -> Any:
            await self._connection.ping(payload.encode())
            return await self._receive(aiohttp.WSMsgType.PONG)

        return bytes(self._run(ping())).decode()

    async def _receive(self, *wanted: aiohttp.WSMsgType) -> Any:
        while (message := await self._connection.receive()).type not in wanted:
            if message.type == aiohttp.WSMsgType.PING:
                await self._connection.pong(message.data)
            elif message.type == aiohttp.WSMsgType.CLOSE:
                raise Closed(message.data, message.extra or "")
            elif message.type == aiohttp.WSMsgType.CLOSED:
                raise Closed(self._connection.close_code, "")
            else:
                raise AssertionError(f"unexpected: {message}")
        return message.data

    def close(self, code: int | None, reason: str) -> None:
        assert code is not None
        self._run(self._connection.close(code=code, message=reason.encode()))

    def drop(self) -> None:
        self._run(self._connection.close())
        self._run(self._session.close())


# --- wsproto ---


class Wsproto:
    """Open connections with wsproto, over a socket of our own."""

    def open(self, url: str, terms: Terms) -> Connection:
        parts = urlsplit(url)
        assert parts.hostname is not None
        sock = socket.create_connection((parts.hostname, parts.port), PATIENCE)
        if context := terms.tls:
            sock = context.wrap_socket(sock, server_hostname=parts.hostname)
        headers = {**terms.headers, **({"Origin": terms.origin} if terms.origin else {})}
        extensions: list[Extension] = []
        if terms.deflate is not None:
            offer: dict[str, Any] = dict(terms.deflate)
            extensions.append(PerMessageDeflate(**offer))
        request = events.Request(
            host=parts.netloc,
            target=f"{parts.path}?{parts.query}",
            subprotocols=list(terms.subprotocols),
            extensions=extensions,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        )
        connection = _WsprotoConnection(sock)
        try:
            connection.shake_hands(request)
        except Refused:
            connection.drop()
            raise
        return connection


class _WsprotoConnection:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events = iter(self._read_events())
        self.subprotocol: str | None = None

    def shake_hands(self, request: events.Request) -> None:
        self._send(request)
        answer = next(self._events)
        if isinstance(answer, events.RejectConnection):
            raise Refused(f"rejected with {answer.status_code}")
        assert isinstance(answer, events.AcceptConnection)
        self.subprotocol = answer.subprotocol

    def send(self, message: Data) -> None:
        self.send_pieces([message])

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        for left, piece in zip(reversed(range(len(pieces))), pieces, strict=True):
            if isinstance(piece, str):
                self._send(events.TextMessage(data=piece, message_finished=left == 0))
            else:
                self._send(events.BytesMessage(data=piece, message_finished=left == 0))

    def receive(self) -> Data:
        pieces: list[Any] = []
        for event in self._events:
            if isinstance(event, events.Message):
                pieces.append(event.data)
                if event.message_finished:
                    return "".join(pieces) if isinstance(event.data, str) else b"".join(pieces)
            elif isinstance(event, events.Ping):
                self._send(event.response())
            elif isinstance(event, events.CloseConnection):
                with contextlib.suppress(wsproto.utilities.LocalProtocolError):
                    self._send(event.response())  # not where we closed first
                raise Closed(event.code, event.reason or "")
        raise AssertionError("the connection ended without a closing handshake")

    def ping(self, payload: str) -> str:
        self._send(events.Ping(payload=payload.encode()))
        pong = next(self._events)
        assert isinstance(pong, events.Pong)
        return bytes(pong.payload).decode()

    def close(self, code: int | None, reason: str) -> None:
        self._send(events.CloseConnection(code or CloseReason.NO_STATUS_RCVD, reason))

    def drop(self) -> None:
        self._socket.close()

    def _send(self, event: events.Event) -> None:
        self._socket.sendall(self._protocol.send(event))

    def _read_events(self) -> Any:
        while data := self._socket.recv(65536):
            self._protocol.receive_data(data)
            yield from self._protocol.events()
