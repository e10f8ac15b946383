"""Routes that ask who comes, in every way there is; the same on every kind of server.

A path is `/door/SHAPE/NAME`: the shape of the handler, and how it is guarded. Every handler tells
first whom it sees, then it echoes; "revoke NAME" closes the connections of somebody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ws_middleware import (
    AsyncConnection,
    Connection,
    Forbidden,
    Handler,
    Reject,
    Request,
    Unauthorized,
    WebSockets,
)
from ws_middleware.asgi.types import Receive, Scope, Send
from ws_middleware.auth import Admitted, AnyOf, Basic, Bearer, Digest, FirstMessage, Ticket

logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")

__all__ = ["CHALLENGES", "TICKET", "USERS", "add_doors", "app", "ws"]

CHALLENGES = ['Digest realm="doors", nonce="1"', 'Basic realm="doors"']

#: Authenticators are asked by `Authorization: Key NAME`; these are known.
KNOWN = {"ann", "bob"}


def by_key(request: Request) -> str:
    scheme, _, name = request.headers.get("authorization", "").partition(" ")
    if scheme == "Key" and name in KNOWN:
        return name
    raise Unauthorized(CHALLENGES)


async def by_key_later(request: Request) -> str:
    await asyncio.sleep(0.01)
    return by_key(request)


class ByKeyAtOnce:
    blocking = False

    def __call__(self, request: Request) -> str:
        return by_key(request)


def for_a_moment(request: Request) -> Admitted:
    return Admitted(by_key(request), expires_at=time.time() + 1, headers=[("X-Rest", "1")])


def by_cookie(request: Request) -> Admitted | None:
    name = request.cookies.get("session")
    return Admitted(name, ambient=True) if name in KNOWN else None


def by_ticket(request: Request) -> str:
    """Take a secret out of the query and out of the subprotocols."""
    request.withdraw_query("ticket")
    request.withdraw_subprotocol("bearer.s3cret")
    return "ann"


def by_wrong_ticket(request: Request) -> None:
    request.withdraw_query("ticket")
    raise Forbidden("no such ticket")


def by_word(message: str | bytes, request: Request) -> str:
    if message == "open sesame":
        return "ali"
    if message == "raise":
        raise LookupError("on purpose")
    raise Forbidden("this is not the word")


async def by_word_later(message: str | bytes, request: Request) -> str:
    await asyncio.sleep(0.01)
    return by_word(message, request)


def by_word_for_a_moment(message: str | bytes, request: Request) -> Admitted:
    return Admitted(by_word(message, request), expires_at=time.time() + 1)


def mistake(request: Request) -> str:
    raise LookupError("on purpose")


async def hang(request: Request) -> None:
    await asyncio.Event().wait()


def reject(request: Request, identity: object) -> None:
    fields = [("Content-Type", "application/json"), ("X-Why", "trial")]
    raise Reject(402, "the trial is over", fields, body='{"pay": true}')


async def refuse_all_but_ann(request: Request, identity: object) -> bool:
    return identity == "ann"


USERS = {"ann": "secret", "J\xe4s\xf8n": "p\xe4:ss:", "empty": "", "long": "x" * 1024}
BASIC, DIGEST = Basic(USERS), Digest(USERS, algorithms=["SHA-256", "SHA-256-sess", "MD5"])
BEARER = Bearer({"t0ken": "ann"}, subprotocol="bearer.", query="access_token")
#: The same in all processes, tests included.
TICKET = Ticket(b"a key for tests only", lifetime=60.0)

DOORS: dict[str, dict[str, Any]] = {
    "open": {},
    "key": {"authenticate": by_key},
    "later": {"authenticate": by_key_later},
    "at-once": {"authenticate": ByKeyAtOnce()},
    "nobody": {"authenticate": lambda request: None},
    "moment": {"authenticate": for_a_moment},
    "cookie": {"authenticate": by_cookie},
    "ticket": {"authenticate": by_ticket, "subprotocols": ["chat"]},
    "wrong-ticket": {"authenticate": by_wrong_ticket},
    "word": {"authenticate": FirstMessage(by_word)},
    "word-later": {"authenticate": FirstMessage(by_word_later)},
    "word-for-a-moment": {"authenticate": FirstMessage(by_word_for_a_moment)},
    "word-soon": {"authenticate": FirstMessage(by_word, timeout=0.2)},
    "mistake": {"authenticate": mistake},
    "hang": {"authenticate": hang, "open_timeout": 0.5},
    "hang-long": {"authenticate": hang, "open_timeout": 60.0},
    "reject": {"admit": reject},
    "ann-only": {"authenticate": by_key, "admit": refuse_all_but_ann},
    "readable": {"authenticate": lambda request: None, "readable": "browser"},
    "full": {"max_connections": 2},
    "full-readable": {"max_connections": 2, "readable": "browser"},
    "two-per-address": {"max_connections_per_address": 2},
    "one-each": {"authenticate": by_key, "max_connections_per_identity": 1},
    "slowly": {"max_handshakes_per_second": 0.1},
    "guessed": {"authenticate": by_key, "max_failures_per_minute": 3},
    "basic": {"authenticate": BASIC},
    "digest": {"authenticate": DIGEST},
    "digest-briefly": {"authenticate": Digest(USERS, lifetime=0.2)},
    "sha-256": {"authenticate": Digest(USERS)},
    "bearer": {"authenticate": BEARER, "subprotocols": ["chat"]},
    "tickets": {"authenticate": TICKET, "subprotocols": ["chat"]},
    "any": {"authenticate": AnyOf(BEARER, BASIC, DIGEST)},
    "proxied": {"trusted_proxies": ["127.0.0.1"]},
}


def describe(connection: AsyncConnection | Connection) -> dict[str, Any]:
    """Tell what a handler sees."""
    request = connection.request
    environ = request.environ or {}
    scope = request.scope or {}
    return {
        "identity": connection.identity,
        "expires": connection.expires_at is not None,
        "subprotocol": connection.subprotocol,
        "address": connection.remote_address,
        "secure": request.secure,
        "host": request.host,
        "seen": repr([request.target, request.headers, request.query, environ, scope]),
    }


def add_doors(ws: WebSockets) -> None:
    """Add all doors to the routes of an app."""

    def obey(message: str | bytes) -> str | bytes:
        order, _, name = message.partition(" ") if isinstance(message, str) else ("", "", "")
        if order == "revoke":
            return f"closed {ws.close_where(identity=name, reason='you were revoked')}"
        return message

    async def serve_async(connection: AsyncConnection) -> None:
        await connection.send_json(describe(connection))
        async for message in connection:
            await connection.send(obey(message))

    def serve(connection: Connection) -> None:
        connection.send_json(describe(connection))
        for message in connection:
            connection.send(obey(message))

    class Serve(Handler):
        def on_open(self) -> None:
            self.connection.send_json(describe(self.connection))

        def on_message(self, message: str | bytes) -> None:
            self.connection.send(obey(message))

    shapes: dict[str, Callable[..., Any]] = {
        "async": serve_async,
        "def": serve,
        "callbacks": Serve,
    }
    for name, options in DOORS.items():
        for shape, handler in shapes.items():
            settings = {"max_failures_per_minute": None, **options}
            ws.add(f"/door/{shape}/{name}", handler, **settings)


ws = WebSockets(open_timeout=3.0, close_timeout=2.0)
add_doors(ws)


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an app with one page."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
        return
    fields = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"plain page"})


app = ws.asgi(pages)
