"""Our handshake and frames in the streams of hypercorn: HTTP/1.1, HTTP/2 and HTTP/3.

Each of hypercorn's protocols makes an object for a WebSocket, gives it the events of its stream
and takes those that it sends; ours takes the place of that object. Rule 1: only servers that our
middleware has found get it. Rule 2: of hypercorn's insides these events alone are required;
what is good to have beside them is looked up. Rule 3: a stream is forgotten when both its
halves have ended, since hypercorn stumbles over what comes later.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary, WeakSet

from hypercorn.events import RawData
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    Request,
    Response,
    StreamClosed,
)
from hypercorn.utils import valid_server_name
from uvicorn.server import ServerState

from ws_middleware.asgi.hypercorn_transport import HypercornTransport, protocol_behind
from ws_middleware.asgi.streams import StreamHandshake
from ws_middleware.asgi.types import Scope
from ws_middleware.asgi.windows import Windows
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options

__all__ = ["HTTP2Stream", "HTTP3Stream", "WebSocketStream", "install"]

#: What hypercorn makes the object of a stream with.
_PARAMETERS = ["app", "config", "context", "task_group", "ssl", "client", "server"]
_PARAMETERS += ["send", "stream_id"]

#: How many bytes of a stream of HTTP/3 may wait until somebody receives them.
_MAX_KEPT = 2**18

logger: logging.Logger = logging.getLogger("ws_middleware")

#: The configurations of the servers that are ours.
_configs: WeakSet[Any] = WeakSet()


def install(lifespan: Any) -> None:
    """Let the hypercorn that calls an app's lifespan open WebSockets with our class.

    Raises whatever tells that this hypercorn is not known.
    """
    lifespan.app.app  # noqa: B018  an ASGI app, in its wrapper
    ours: list[tuple[Any, type]] = [(h11, WebSocketStream), (h2, HTTP2Stream)]
    if lifespan.config.quic_bind and importlib.util.find_spec("aioquic"):
        ours.append((importlib.import_module("hypercorn.protocol.h3"), HTTP3Stream))
    for protocol, kind in ours:
        if not isinstance(protocol.WSStream, functools.partial):
            _check(protocol.WSStream)
            protocol.WSStream = functools.partial(_open_stream, kind, protocol.WSStream)
    _configs.add(lifespan.config)


def _check(stock: Any) -> None:
    """Try what we do with hypercorn's classes."""
    if list(inspect.signature(stock).parameters) != _PARAMETERS:
        raise TypeError("its streams are made in another way")
    Response(stream_id=1, headers=[], status_code=101)
    for kind in (Body, Data):
        kind(stream_id=1, data=b"")
    for end in (EndBody, EndData, StreamClosed):
        end(stream_id=1)


def _open_stream(
    ours: Callable[..., Any], stock: Callable[..., Any], app: Any, config: Any, *rest: Any
) -> Any:
    return (ours if config in _configs else stock)(app, config, *rest)


class WebSocketStream:
    """Be one WebSocket of a hypercorn server, from its request to its end."""

    def __init__(
        self,
        app: Any,
        config: Any,
        context: Any,
        task_group: Any,
        ssl: bool,
        client: Any,
        server: Any,
        send: Callable[[Any], Awaitable[None]],
        stream_id: int,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._task_group = task_group
        self._address = {"scheme": "wss" if ssl else "ws", "client": client, "server": server}
        self._send = send
        self._id = stream_id
        self._transport: HypercornTransport
        self._served = self._input_ended = False

    @property
    def idle(self) -> bool:
        """Tell whether the server need not wait for this stream."""
        return self._served

    async def handle(self, event: Any) -> None:
        """Take an event of the stream."""
        if isinstance(event, Request):
            self._begin(event)
        elif not self._input_ended:
            self._input_ended = isinstance(event, EndBody | StreamClosed)
            await self._take(event)
            await self._forget()

    async def _take(self, event: Any) -> None:
        if isinstance(event, Data | Body):
            await self._transport.feed(event.data)
        elif self._input_ended:
            self._transport.end_input(lost=isinstance(event, StreamClosed))

    def _begin(self, event: Request) -> None:
        scope = self._make_scope(event)
        options = self._make_options()
        state = _state_of(self._context)
        handshake = StreamHandshake(self._app.app, options, state, scope)
        if self._context.terminated.is_set():
            handshake.shutdown()
        tell = functools.partial(self._tell, scope, time.time())
        self._transport = HypercornTransport(
            self._send, self._id, event.http_version, options, tell
        )
        self._transport.attach(handshake)
        refusal = None
        if not valid_server_name(self._config, event):
            refusal = HandshakeError(404, "this server has another name (setting: server_names)")
        self._task_group.spawn(self._serve, refusal)

    def _make_options(self) -> Options:
        return Options(
            max_message_size=self._config.websocket_max_message_size,
            ping_interval=self._config.websocket_ping_interval,
            origins="*",  # a policy is the application's here
        )

    def _make_scope(self, event: Request) -> Scope:
        path, _, query = event.raw_path.partition(b"?")
        return {
            "asgi": {"version": "3.0"},
            "http_version": event.http_version,
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": self._config.root_path,
            "headers": event.headers,
            "state": event.state.copy(),
            **self._address,
        }

    async def _serve(self, refusal: HandshakeError | None) -> None:
        try:
            await self._transport.carry(refusal=refusal)
        finally:
            self._served = True
            await self._forget()

    async def _forget(self) -> None:
        if self._served and (self._input_ended or not self._transport.has_halves):
            await self._send(StreamClosed(stream_id=self._id))

    async def _tell(self, scope: Scope, begun: float, status: int) -> None:
        """Write hypercorn's line of the access log."""
        told = {"status": status, "headers": []}
        await self._config.log.access({**scope, "type": "websocket"}, told, time.time() - begun)


class HTTP2Stream(WebSocketStream):
    """Be one of HTTP/2, which keeps no other stream of its connection waiting.

    Nor itself: what tells of room for our own bytes comes behind what nobody receives yet.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._protocol = protocol_behind(self._send)
        self._windows = _windows_of(self._protocol)
        self._loop = asyncio.get_running_loop()
        self._end_waits = False  # until the rest before it is received

    def _begin(self, event: Request) -> None:
        super()._begin(event)
        self._transport.on_reading = self._go_on

    async def _take(self, event: Any) -> None:
        if self._windows is None or isinstance(event, StreamClosed):
            await super()._take(event)
        elif isinstance(event, EndBody):
            self._end_waits = True
            self._end_if_read()
        else:
            self._transport.take(event.data)
            if not self._transport.is_reading():
                self._windows.hold(self._id)

    def _go_on(self) -> None:
        has_more = self._windows is not None and self._windows.release(self._id)
        if has_more and not self._transport.is_closing():
            self._task_group.spawn(self._flush)
        self._loop.call_soon(self._end_if_read)

    def _end_if_read(self) -> None:
        if self._end_waits and self._transport.is_reading():
            self._end_waits = False
            self._transport.end_input(lost=False)

    async def _forget(self) -> None:
        # Of a connection that is gone hypercorn would wait for the next request, or for us while
        # we wait for it.
        if getattr(self._protocol, "closed", False):
            return
        if self._served and not self._input_ended and self._windows is not None:
            self._input_ended = True
            self._windows.reset(self._id)
            await self._flush()
        await super()._forget()

    async def _flush(self) -> None:
        await self._protocol.send(RawData(data=self._protocol.connection.data_to_send()))


class HTTP3Stream(WebSocketStream):
    """Be one of HTTP/3: what all peers send comes in one loop there, so nothing may wait in it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: asyncio.Queue[Any] = asyncio.Queue()
        self._kept_size = 0

    def _make_options(self) -> Options:
        options = super()._make_options()
        if options.ping_interval is None:  # nothing else tells that a peer is gone
            options = dataclasses.replace(options, ping_interval=Options().ping_interval)
        return options

    async def _take(self, event: Any) -> None:
        if self._transport.is_closing():
            return
        self._kept.put_nowait(event)
        self._kept_size += _size(event)
        if self._kept_size > _MAX_KEPT:
            logger.warning("a peer over HTTP/3 has sent %d bytes too early", self._kept_size)
            self._transport.abort()

    async def _take_kept(self) -> None:
        while True:
            event = await self._kept.get()
            await super()._take(event)
            self._kept_size -= _size(event)

    async def _serve(self, refusal: HandshakeError | None) -> None:
        taking = asyncio.create_task(self._take_kept())
        try:
            await super()._serve(refusal)
        finally:
            taking.cancel()


def _size(event: Any) -> int:
    return len(getattr(event, "data", b""))


def _windows_of(protocol: Any) -> Windows | None:
    """Find the windows of a connection of HTTP/2, where it is one of `h2`."""
    try:
        return Windows.of(protocol.connection)
    except AttributeError:
        return None


#: The open connections of each running worker, and the task that tells them of its end.
_states: WeakKeyDictionary[Any, tuple[ServerState, asyncio.Task[None]]] = WeakKeyDictionary()


def _state_of(context: Any) -> ServerState:
    if context not in _states:
        state = ServerState()
        _states[context] = state, asyncio.create_task(_say_goodbye(context.terminated, state))
    return _states[context][0]


async def _say_goodbye(terminated: Any, state: ServerState) -> None:
    await terminated.wait()
    for connection in list(state.connections):
        connection.shutdown()
