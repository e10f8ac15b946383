"""What is served without a target: an echo on every path, and a page to try it with."""

from __future__ import annotations

from importlib.resources import files

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.asgi.types import Receive, Scope, Send
from ws_middleware.mounts import WebSockets

__all__ = ["echo", "make_demo"]

# The page brings everything along, and talks to WebSockets only.
_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    b"connect-src ws: wss:; img-src data:; base-uri 'none'; form-action 'none'"
)


async def echo(connection: AsyncConnection, path: str = "") -> None:
    """Send every message back."""
    async for message in connection:
        await connection.send(message)


def make_demo() -> ASGIMiddleware:
    """Make the app of the echo service."""
    ws = WebSockets()
    ws.add("/", echo)
    ws.add("/<path:path>", echo)
    return ws.asgi(_pages)


async def _pages(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HTTP requests: the page at /, nothing elsewhere."""
    if scope["type"] == "lifespan":
        await _stay(receive, send)
        return
    if scope["path"].removeprefix(scope["root_path"]) in ("", "/"):
        body, kind, status = _page(), b"text/html; charset=utf-8", 200
    else:
        body, kind, status = (
            b"There is a page at / only; WebSockets are on every path.\n",
            b"text/plain",
            404,
        )
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"content-security-policy", _POLICY),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _page() -> bytes:
    return (files("ws_middleware.cli") / "demo.html").read_bytes()


async def _stay(receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
