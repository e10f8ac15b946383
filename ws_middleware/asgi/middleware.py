"""The ASGI middleware: our routes are answered here, everything else by the wrapped app.

A WebSocket on a route of ours is taken from the server's handshake, or spoken over the server's
events where it keeps its sockets to itself; an HTTP request that means to open one, wrongly, is
refused; every other scope is passed on untouched.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, Literal
from urllib.parse import unquote

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.events import EventTransport
from ws_middleware.asgi.foreign_loop import is_asyncio, run_beside_trio
from ws_middleware.asgi.handshake import EXTENSION, Handshake
from ws_middleware.asgi.install import install
from ws_middleware.asgi.scopes import accept, refuse, request_of, respond
from ws_middleware.asgi.tunnel import serve_stream
from ws_middleware.asgi.types import ASGIApp, Receive, Scope, Send
from ws_middleware.asking import ask_on_loop, asking_from_thread
from ws_middleware.core.extended_connect import is_extended_connect
from ws_middleware.core.handshake import RequestHead, check_request, is_attempt
from ws_middleware.errors import HandshakeError
from ws_middleware.handler_threads import MAX_THREADS, MAX_WAITING, HandlerThreads
from ws_middleware.handlers import is_blocking, observes_control, run_handler, run_in_thread
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.upgrade import Upgrade, decide, decide_at_once, find_route, is_immediate

__all__ = ["ASGIMiddleware"]


class ASGIMiddleware:
    """Answer a router's WebSockets; pass everything else to `app`, if there is one.

    At most `max_threads` plain `def` handlers run at once, `max_waiting` more wait for their
    turn; beyond, 503.
    """

    def __init__(
        self,
        router: Router,
        app: ASGIApp | None = None,
        *,
        install: Literal["auto"] | bool = "auto",
        max_threads: int = MAX_THREADS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        if install not in ("auto", True, False):
            raise ValueError(f'install={install!r} is neither "auto" nor False')
        self.router = router
        self.app = app
        self._installed = not install
        self._threads = HandlerThreads(max_threads, max_waiting)
        self._start_thread = self._threads.start  # once, not once for each connection

    @property
    def options(self) -> Options:
        """Give what holds where no route says otherwise."""
        return self.router.options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scope."""
        if not self._installed:
            # Before the server listens; below another app's router, where no lifespan scope
            # comes, with the first request.
            self._installed = True
            install(receive)
        if scope["type"] == "websocket":
            await self._answer_websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer_http(scope, receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)

    def answer_handshake(self, handshake: Handshake) -> Coroutine[Any, Any, None] | None:
        """Answer a handshake of our protocol class; None leaves it to the wrapped app.

        What is returned runs the handler. The protocol class calls this by itself, without
        an ASGI scope, where nothing is wrapped around this middleware.
        """
        request = handshake.request
        route = find_route(self.router, request)
        if route is None and self.app is not None:
            return None
        if not is_immediate(route):
            return self._decide(handshake, route)
        try:
            return self._serve(handshake, *decide_at_once(self.router, request, route))
        except HandshakeError as error:
            handshake.refuse(error)
            return _nothing()

    async def _decide(self, handshake: Handshake, route: Route | None) -> None:
        """Answer a handshake for which somebody has to be asked."""
        try:
            with handshake.given_up_when_over():
                decision = await self._decide_in_time(handshake.request, route)
            work = self._serve(handshake, *decision)
        except HandshakeError as error:
            handshake.refuse(error)
        except BaseException:
            handshake.refuse(HandshakeError(503, "the handshake was given up"))
            raise
        else:
            await work

    async def _answer_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        handshake = scope.get("extensions", {}).get(EXTENSION, {}).get("handshake")
        if not isinstance(handshake, Handshake):
            await self._answer_events(scope, receive, send)
            return
        _heed_mount(handshake.request, scope)
        if (answer := self.answer_handshake(handshake)) is not None:
            await answer
        elif self.app is not None:
            await self.app(scope, receive, send)

    async def _answer_events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on a server that keeps its sockets to itself."""
        request = request_of(scope)
        if self.app is not None and self.router.match(request.path) is None:
            await self.app(scope, receive, send)
            return
        converse = functools.partial(self._converse, request, scope)
        if is_asyncio():
            await converse(receive, send)
        else:
            await run_beside_trio(converse, receive, send)

    async def _converse(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return  # the peer left before anybody answered
        try:
            route = find_route(self.router, request)
            route, upgrade = await self._decide_in_time(request, route, foreign=True)
            if is_blocking(route.handler):
                self._check_threads(upgrade)
        except HandshakeError as error:
            await refuse(request, scope, send, error)
            return
        try:
            await accept(send, upgrade.subprotocol, upgrade.fields)
            transport = EventTransport(receive, send, request, upgrade.subprotocol, route.options)
            async with transport as connection:
                upgrade.opened(connection, asyncio.get_running_loop().call_soon_threadsafe)
                await self._run(route, upgrade, connection)
        finally:
            upgrade.ended()

    async def _decide_in_time(
        self, request: Request, route: Route | None, *, foreign: bool = False
    ) -> tuple[Route, Upgrade]:
        """Decide where somebody is asked; 503 where that takes too long."""
        options = self.options if route is None else route.options
        limit = options.open_timeout
        try:
            async with asyncio.timeout(limit):
                return await decide(self.router, request, route, ask_on_loop, foreign=foreign)
        except TimeoutError:
            raise HandshakeError(
                503, f"nobody said who may connect within open_timeout={limit} s"
            ) from None

    def _serve(
        self, handshake: Handshake, route: Route, upgrade: Upgrade
    ) -> Coroutine[Any, Any, None]:
        """Open the connection, and give what runs its handler."""
        if handshake.is_decided:
            upgrade.ended()
            return _nothing()  # the peer is gone, or the server stops
        if is_blocking(route.handler):
            self._check_threads(upgrade)
            taken = handshake.accept_blocking(upgrade, route.options)
            if taken is not None:
                return self._run_in_thread(route, upgrade, taken)
        connection = handshake.accept(
            upgrade, route.options, observe_control=observes_control(route.handler)
        )
        return self._run(route, upgrade, connection)

    def _check_threads(self, upgrade: Upgrade) -> None:
        """Refuse a handshake whose handler would get no thread."""
        try:
            self._threads.check_room()
        except HandshakeError:
            upgrade.ended()
            raise

    def _run(
        self, route: Route, upgrade: Upgrade, connection: AsyncConnection
    ) -> Coroutine[Any, Any, None]:
        introduction = upgrade.introduction
        prelude = None if introduction is None else introduction.on_loop
        params = connection.request.path_params
        return run_handler(route.handler, connection, params, prelude, self._start_thread)

    def _run_in_thread(
        self, route: Route, upgrade: Upgrade, connection: SocketConnection
    ) -> Coroutine[Any, Any, None]:
        introduction, ask = upgrade.introduction, asking_from_thread(asyncio.get_running_loop())

        def prelude(connection: SocketConnection) -> bool:
            return introduction is None or introduction.in_place(connection, ask)

        params = connection.request.path_params
        return run_in_thread(route.handler, connection, params, prelude, self._start_thread)

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        error: HandshakeError | None = None
        if is_extended_connect(request.head):
            await serve_stream(self, scope, receive, send)
            return
        if self.router.match(request.path) is not None and is_attempt(request.head):
            error = _breach(request.head)
        elif self.app is not None:
            await self.app(scope, receive, send)
            return
        elif self.router.match(request.path) is None:
            error = HandshakeError(404, "there is nothing at this path")
        else:
            error = HandshakeError(
                426,
                "this path is a WebSocket",
                [("Upgrade", "websocket"), ("Connection", "Upgrade")],
            )
        await respond(send, error)


async def _nothing() -> None:
    """Be what is left to do where all is done."""


def _breach(head: RequestHead) -> HandshakeError:
    """Say what is wrong with a request that came as HTTP though it names WebSocket."""
    try:
        check_request(head)
    except HandshakeError as error:
        return error
    return HandshakeError(400, "the server did not hand the WebSocket handshake on")


def _heed_mount(request: Request, scope: Scope) -> None:
    """Leave out of the request's path what another router matched before."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    request.root_path = unquote(request.raw_path).removesuffix(path) or request.root_path


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
