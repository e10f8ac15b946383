"""Every way to log in, one route each, and an app beside them: pages, sessions, tickets."""

from __future__ import annotations

from typing import Any

from ws_middleware import AsyncConnection, Request, WebSockets
from ws_middleware.asgi.scopes import request_of, respond
from ws_middleware.auth import AnyOf, Basic, Bearer, Cookie, Digest, FirstMessage, Ticket
from ws_middleware.errors import Forbidden, HandshakeError

USERS = {"alice": "secret", "J\xe4s\xf8n": "p\xe4:ss"}
SESSIONS = {"5e55": "alice"}

basic, digest, ticket = Basic(USERS), Digest(USERS), Ticket()
both = Digest(USERS, algorithms=["MD5", "SHA-256"])


def check_first(message: str | bytes, request: Request) -> str:
    if message != "let me in":
        raise Forbidden
    return "alice"


WAYS = {
    "basic": basic,
    "digest": digest,
    "md5": Digest(USERS, algorithms=["MD5"]),
    "both": both,
    "any": AnyOf(basic, both),
    "bearer": Bearer({"t0ken": "alice"}, subprotocol="bearer."),
    "cookie": Cookie("session", SESSIONS.get),
    "ticket": ticket,
    "first": FirstMessage(check_first),
}

ws = WebSockets(subprotocols=["chat"])


async def tell(connection: AsyncConnection) -> None:
    """Tell what the handler sees, and leave."""
    request = connection.request
    await connection.send_json(
        {
            "identity": connection.identity,
            "target": request.target,
            "offered": request.headers.get("sec-websocket-protocol"),
            "agreed": connection.subprotocol,
        }
    )


for name, way in WAYS.items():
    ws.route(f"/{name}", authenticate=way)(tell)


# --- the app beside the routes ---


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve pages: one for all, those of `basic` and `digest` behind a password."""
    path = scope["path"].strip("/")
    if path == "tickets":
        await ticket.asgi(identify)(scope, receive, send)
        return
    headers = [(b"content-type", b"text/html")]
    if path == "session":
        headers.append((b"set-cookie", b"session=5e55; HttpOnly; SameSite=Strict; Path=/"))
    elif path in ("basic", "digest"):
        try:
            WAYS[path](request_of(scope))
        except HandshakeError as error:
            await respond(send, error)
            return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html><title>x</title>"})


def identify(scope: Any) -> str | None:
    return SESSIONS.get(request_of(scope).cookies.get("session", ""))
