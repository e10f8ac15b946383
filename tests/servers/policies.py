"""Routes on differing terms, an app beside them that misbehaves on demand, a WSGI app."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.extensions import DeflateFrame, PermessageDeflate, XWebkitDeflateFrame

ws = WebSockets(open_timeout=3.0, close_timeout=2.0)

ALL_DEFLATES = (PermessageDeflate(), DeflateFrame(), XWebkitDeflateFrame())


@ws.route("/")
@ws.route("/echo")
@ws.route("/any", origins="*")
@ws.route("/listed", origins=["https://good.example", "http://good.example:8080"])
@ws.route("/idn", origins=["https://bücher.example"])
@ws.route("/null", origins=["null"])
@ws.route("/hosted", hosts=["service.example", "other.example:8443"])
@ws.route("/spoken", subprotocols=["chat", "log"])
@ws.route("/deflates", extensions=ALL_DEFLATES)
@ws.route("/rooms/<room>")
async def echo(connection: AsyncConnection, room: str = "") -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/who")
@ws.route("/who/<path:rest>")
async def who(connection: AsyncConnection, rest: str = "") -> None:
    """Tell what the handler sees of the request."""
    request = connection.request
    await connection.send_json(
        {
            "address": connection.remote_address,
            "secure": request.secure,
            "url": request.url,
            "path": request.path,
            "headers": [[name.lower(), value] for name, value in request.headers],
            "cookies": request.cookies.to_dict(),
        }
    )


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer plain HTTP with what was asked, and WebSockets as their path says."""
    if scope["type"] == "http":
        await _answer(scope, receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await _ENDPOINTS.get(scope["path"], _refuse)(receive, send)
    else:
        await _live(receive, send)


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{step}"
        await send({"type": f"lifespan.{step}.complete"})


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell what was asked; the body is read but for /unread, and answered early by /early."""
    body = b"" if scope["path"] in ("/unread", "/early") else await _read_body(receive)
    answer = json.dumps(
        {
            "method": scope["method"],
            "path": scope["path"],
            "scheme": scope["scheme"],
            "body": body.decode("latin-1"),
        }
    ).encode()
    length = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/early":
        # The response has begun; its end waits for the end of the request.
        await send({"type": "http.response.body", "body": answer[:1], "more_body": True})
        await _read_body(receive)
        answer = answer[1:]
    await send({"type": "http.response.body", "body": answer})


async def _read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            break
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _accept(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def _raise(receive: Receive, send: Send) -> None:
    raise LookupError("on purpose")


async def _return(receive: Receive, send: Send) -> None:
    pass


async def _nonsense(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"?"})


async def _wrong_types(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept", "subprotocol": 7, "headers": 8})


async def _hang(receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def _refuse(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close"})


async def _unoffered(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept", "subprotocol": "unoffered"})


async def _split_response(receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept", "headers": [(b"x", b"1\r\nSet-Cookie: a=b")]})


async def _split_denial(receive: Receive, send: Send) -> None:
    headers = [(b"x", b"1\r\n\r\nHTTP/1.1 200 OK")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def _challenge(receive: Receive, send: Send) -> None:
    headers = [(b"www-authenticate", b'Basic realm="here"')]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"who are you?"})


_ENDPOINTS: dict[str, Callable[[Receive, Send], Awaitable[None]]] = {
    "/app/accept": _accept,
    "/app/raise": _raise,
    "/app/return": _return,
    "/app/nonsense": _nonsense,
    "/app/wrong-types": _wrong_types,
    "/app/hang": _hang,
    "/app/refuse": _refuse,
    "/app/unoffered": _unoffered,
    "/app/split-response": _split_response,
    "/app/split-denial": _split_denial,
    "/app/challenge": _challenge,
}


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer plain HTTP from a thread."""
    body = environ["wsgi.input"].read()
    answer = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {body.decode()}".encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
