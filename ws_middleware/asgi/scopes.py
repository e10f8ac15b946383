"""Requests out of ASGI scopes, scopes out of requests, and the answers that refuse them.

The handshake of a foreign server is not derived again: it may be one of HTTP/2, and some servers
leave out the fields that they have used.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import quote, unquote

from ws_middleware.asgi.types import Scope, Send
from ws_middleware.core.frames import CloseCode
from ws_middleware.core.handshake import RequestHead, offered_subprotocols, refusal_fields
from ws_middleware.core.headers import Fields, field_values
from ws_middleware.errors import HandshakeError
from ws_middleware.logs import handshake_refused
from ws_middleware.request import Address, Request

__all__ = ["accept", "encode_fields", "refuse", "request_of", "respond", "scope_of"]

logger: logging.Logger = logging.getLogger("ws_middleware")


def request_of(scope: Scope) -> Request:
    """Make a request of an `http` or `websocket` scope."""
    target = scope.get("raw_path") or quote(scope["path"]).encode()
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    head = RequestHead(
        scope.get("method", "GET"),
        target.decode("latin-1"),
        scope.get("http_version", "1.1"),
        _fields(scope),
    )
    client = scope.get("client")
    return Request(
        head,
        remote_address=None if client is None else tuple(client),
        secure=scope.get("scheme") in ("wss", "https"),
        root_path=scope.get("root_path", ""),
        scope=scope,
    )


def _fields(scope: Scope) -> list[tuple[str, str]]:
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    offered = ", ".join(scope.get("subprotocols") or ())
    if offered and not field_values(fields, _OFFER):
        fields.append((_OFFER, offered))
    return fields


_OFFER = "sec-websocket-protocol"


def scope_of(request: Request, server: Address, version: str) -> Scope:
    """Make the `websocket` scope of a request over HTTP/1.1 that came to the address `server`.

    `version` is that of ASGI.
    """
    fields, path, root = request.head.fields, request.raw_path, request.root_path
    return {
        "type": "websocket",
        "asgi": {"version": version, "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "wss" if request.secure else "ws",
        "server": _address(server),
        "client": _address(request.remote_address),
        "root_path": root,
        "path": root + unquote(path),
        "raw_path": (root + path).encode("latin-1"),
        "query_string": request.query_string.encode("latin-1"),
        "headers": encode_fields(fields),
        "subprotocols": offered_subprotocols(fields),
    }


def _address(address: Address) -> tuple[str, int | None] | None:
    """Give an address as ASGI wants it: host and port, or a path and None."""
    if isinstance(address, tuple):
        return address[0], address[1]
    return (address, None) if isinstance(address, str) and address else None


async def respond(send: Send, error: HandshakeError, kind: str = "http.response") -> None:
    """Answer with the response that refuses a request; `kind` is what its events begin with."""
    headers = encode_fields(refusal_fields(error))
    await send({"type": f"{kind}.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": error.body})


async def accept(send: Send, subprotocol: str | None, fields: Fields) -> None:
    """Accept a `websocket` scope."""
    event = {
        "type": "websocket.accept",
        "subprotocol": subprotocol,
        "headers": encode_fields(fields),
    }
    await send(event)


def encode_fields(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Write fields as ASGI wants them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


async def refuse(request: Request, scope: Scope, send: Send, error: HandshakeError) -> None:
    """Refuse a `websocket` scope as well as its server can: some know no other status than 403."""
    handshake_refused(request.remote_address, request.target, error)
    if "websocket.http.response" in scope.get("extensions", {}):
        await respond(send, error, "websocket.http.response")
        return
    if error.status != HTTPStatus.FORBIDDEN:
        logger.warning("the server can only refuse with 403, not with %d", error.status)
    await send({"type": "websocket.close", "code": CloseCode.POLICY_VIOLATION})
