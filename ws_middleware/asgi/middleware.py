"""The ASGI middleware: our routes are answered here, everything else by the wrapped app.

A WebSocket on a route of ours is taken from the server's handshake; an HTTP request that
means to open one, wrongly, is refused; every other scope is passed on untouched.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote

from ws_middleware.asgi.types import ASGIApp, Receive, Scope, Send
from ws_middleware.asgi.uvicorn import EXTENSION, WebSocketProtocol
from ws_middleware.asking import ask_on_loop
from ws_middleware.core.handshake import RequestHead, check_request, is_attempt, refusal_fields
from ws_middleware.errors import HandshakeError
from ws_middleware.handlers import observes_control, run_handler
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router
from ws_middleware.upgrade import Upgrade, decide, decide_at_once, find_route, is_immediate

__all__ = ["ASGIMiddleware"]

logger: logging.Logger = logging.getLogger("ws_middleware")


class ASGIMiddleware:
    """Answer a router's WebSockets; pass everything else to `app`, if there is one."""

    def __init__(self, router: Router, app: ASGIApp | None = None) -> None:
        self.router = router
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scope."""
        if scope["type"] == "websocket":
            await self._answer_websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer_http(scope, receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)

    def answer_handshake(self, handshake: WebSocketProtocol) -> Coroutine[Any, Any, None] | None:
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
            return _serve(handshake, *decide_at_once(self.router, request, route))
        except HandshakeError as error:
            handshake.refuse(error)
            return _nothing()

    async def _decide(self, handshake: WebSocketProtocol, route: Route | None) -> None:
        """Answer a handshake for which somebody has to be asked."""
        try:
            decision = await decide(self.router, handshake.request, route, ask_on_loop)
        except HandshakeError as error:
            handshake.refuse(error)
        except BaseException:
            handshake.refuse(HandshakeError(503, "the handshake was given up"))
            raise
        else:
            await _serve(handshake, *decision)

    async def _answer_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        handshake = scope.get("extensions", {}).get(EXTENSION, {}).get("handshake")
        if not isinstance(handshake, WebSocketProtocol):
            await self._answer_foreign(scope, receive, send)
            return
        _heed_mount(handshake.request, scope)
        if (answer := self.answer_handshake(handshake)) is not None:
            await answer
        elif self.app is not None:
            await self.app(scope, receive, send)

    async def _answer_foreign(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request_of(scope)
        if self.app is not None and self.router.match(request.path) is None:
            await self.app(scope, receive, send)
            return
        logger.error(
            "this ASGI server keeps its sockets to itself: run it as "
            "`uvicorn --ws ws_middleware.asgi.uvicorn:WebSocketProtocol`, or use "
            "`python -m ws_middleware`"
        )
        await send({"type": "websocket.close", "code": 1011})

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request_of(scope)
        error: HandshakeError | None = None
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
        await _respond(send, error)


def _serve(
    handshake: WebSocketProtocol, route: Route, upgrade: Upgrade
) -> Coroutine[Any, Any, None]:
    """Open the connection, and give what runs its handler."""
    if handshake.is_decided:
        upgrade.ended()
        return _nothing()  # the peer is gone, or the server stops
    connection = handshake.accept(
        upgrade, route.options, observe_control=observes_control(route.handler)
    )
    introduction = upgrade.introduction
    return run_handler(
        route.handler,
        connection,
        handshake.request.path_params,
        None if introduction is None else introduction.on_loop,
    )


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


def _request_of(scope: Scope) -> Request:
    """Make a request of a scope, for routing and refusals."""
    target = scope.get("raw_path") or scope["path"].encode()
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    head = RequestHead(
        scope.get("method", "GET"), target.decode("latin-1"), scope["http_version"], fields
    )
    return Request(
        head,
        remote_address=scope.get("client"),
        secure=scope.get("scheme") in ("wss", "https"),
        root_path=scope.get("root_path", ""),
        scope=scope,
    )


async def _respond(send: Send, error: HandshakeError) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal_fields(error)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": error.body})


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
