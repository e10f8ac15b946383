"""Which scope is answered by whom: routes of ours, the wrapped app, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.handshaking import App, Handshake
from tests.core.wire import close
from tests.inprocess import in_virtual_time, run_virtually, settled
from tests.peer import CLOSE, PING, TEXT, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.callbacks import Handler
from ws_middleware.mounts import WebSockets
from ws_middleware.options import Options
from ws_middleware.server import ServerConfig

Event = dict[str, Any]

ws = WebSockets(ping_interval=None, extensions=())


@ws.route("/echo")
@ws.route("/rooms/<room>")
async def echo(connection: AsyncConnection, room: str = "") -> None:
    async for message in connection:
        await connection.send(room or message)


@ws.route("/spoken", subprotocols=["chat"])
async def tell_subprotocol(connection: AsyncConnection) -> None:
    await connection.send(str(connection.subprotocol))


@ws.route("/pings")
class Pings(Handler):
    async def on_ping(self, payload: bytes) -> None:
        await self.connection.send(b"pinged with " + payload)


class Inner:
    """Be the wrapped app, which keeps the scopes it was given."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "inner"})


def pass_on(app: App) -> App:
    """Be a middleware of somebody else."""

    async def passing(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "of somebody else": True}, receive, send)

    return passing


def plainly(app: App) -> App:
    return app


wrappings = pytest.mark.parametrize("wrap", [plainly, pass_on])


# --- WebSockets of our own server ---


@wrappings
@in_virtual_time
async def test_route_of_ours_is_answered_by_its_handler(wrap: Callable[[App], App]) -> None:
    inner = Inner()
    handshake = Handshake(wrap(ws.asgi(inner)), "/rooms/a%20b")
    await settled()
    handshake.transport.feed(frame(TEXT, "?"), close())
    await settled()
    assert handshake.take_frames() == [(TEXT, b"a b", True, 0), (CLOSE, b"\x03\xe8", True, 0)]
    assert inner.scopes == []
    handshake.transport.feed_eof()
    await settled()
    assert not handshake.state.tasks
    assert not handshake.state.connections


@wrappings
@in_virtual_time
async def test_other_path_is_answered_by_the_wrapped_app(wrap: Callable[[App], App]) -> None:
    inner = Inner()
    handshake = Handshake(wrap(ws.asgi(inner)), "/elsewhere?a=b")
    await settled()
    assert handshake.take_frames()[0] == (TEXT, b"inner", True, 0)
    (scope,) = inner.scopes
    assert (scope["path"], scope["query_string"]) == ("/elsewhere", b"a=b")


@wrappings
@in_virtual_time
async def test_other_path_without_a_wrapped_app_is_404(wrap: Callable[[App], App]) -> None:
    handshake = Handshake(wrap(ws.asgi()), "/elsewhere")
    await settled()
    assert handshake.response.status == 404
    assert not handshake.state.tasks


@wrappings
@pytest.mark.parametrize(
    ("fields", "status"),
    [({"Origin": "http://evil"}, 403), ({"Sec-WebSocket-Key": "short"}, 400)],
)
@in_virtual_time
async def test_bad_handshake_on_a_route_is_refused(
    wrap: Callable[[App], App], fields: dict[str, str], status: int
) -> None:
    inner = Inner()
    handshake = Handshake(wrap(ws.asgi(inner)), "/echo", fields=fields)
    await settled()
    assert handshake.response.status == status
    assert inner.scopes == []
    assert not handshake.state.tasks


@wrappings
@in_virtual_time
async def test_options_are_the_routes(wrap: Callable[[App], App]) -> None:
    fields = {"Sec-WebSocket-Protocol": "chat"}
    for path, subprotocol in (("/echo", None), ("/spoken", "chat")):
        handshake = Handshake(wrap(ws.asgi()), path, fields=fields)
        await settled()
        assert handshake.response.fields.get("sec-websocket-protocol") == subprotocol
        handshake.transport.lose()


@in_virtual_time
async def test_pings_are_observed_for_callbacks() -> None:
    handshake = Handshake(ws.asgi(), "/pings")
    await settled()
    handshake.transport.feed(frame(PING, "x"))
    await settled()
    assert [one.payload for one in handshake.take_frames()] == [b"x", b"pinged with x"]
    handshake.transport.lose()


@in_virtual_time
async def test_peer_that_left_meanwhile_gets_no_handler() -> None:
    async def late(scope: Any, receive: Any, send: Any) -> None:
        handshake.transport.lose()
        await ws.asgi()(scope, receive, send)

    handshake = Handshake(late, "/echo")
    await settled()
    assert handshake.transport.writes == []
    assert not handshake.state.tasks


@pytest.mark.parametrize(
    ("target", "root_path", "status"),
    [
        ("/below/rooms/a%20b", "", 101),
        ("/b%65low/rooms/a%20b", "", 101),
        ("/below/rooms/a%20b", "/root", 101),
        ("/below/further/rooms/a%20b", "", 101),
        ("/rooms/a%20b", "", 403),
        ("/below/elsewhere", "", 404),
    ],
)
@in_virtual_time
async def test_mounted_below_a_path_of_another_router(
    target: str, root_path: str, status: int
) -> None:
    further = Starlette(routes=[Mount("/further", app=ws.asgi())])
    below = further if "further" in target else ws.asgi()
    app = Starlette(routes=[Mount("/below", app=below)])
    handshake = Handshake(app, target, root_path=root_path)
    await settled()
    assert handshake.response.status == status
    if status == 101:
        handshake.transport.feed(frame(TEXT, "?"))
        await settled()
        assert handshake.take_frames() == [(TEXT, b"a b", True, 0)]
    handshake.transport.lose()


@pytest.mark.parametrize("target", ["/root/rooms/a", "/rooms/a"])
@wrappings
@in_virtual_time
async def test_root_path_of_the_server_may_be_part_of_the_path(
    wrap: Callable[[App], App], target: str
) -> None:
    handshake = Handshake(wrap(ws.asgi()), target, root_path="/root")
    await settled()
    assert handshake.response.status == 101
    handshake.transport.lose()


# --- WebSockets of other servers ---


def websocket_scope(path: str, **more: Any) -> Event:
    return {"type": "websocket", "path": path, "headers": [], "http_version": "1.1", **more}


def call(app: App, scope: Event, *events: Event) -> list[Event]:
    """Call an app with a scope and events; returns what it sent."""
    sent: list[Event] = []
    coming = iter(events)

    async def receive() -> Event:
        await settled()
        return next(coming)

    async def send(event: Event) -> None:
        sent.append(event)

    run_virtually(app(scope, receive, send))
    return sent


CONNECT = {"type": "websocket.connect"}
DENIAL: Event = {"extensions": {"websocket.http.response": {}}}


@pytest.mark.parametrize("more", [{}, {"extensions": {}}, {"extensions": {"ws_middleware": {}}}])
@pytest.mark.parametrize("inner", [None, Inner()])
def test_route_on_a_server_that_keeps_its_sockets(more: Event, inner: Inner | None) -> None:
    gone = {"type": "websocket.disconnect", "code": 1001}
    text = {"type": "websocket.receive", "text": "hi"}
    scope = websocket_scope("/rooms/a%20b", raw_path=b"/rooms/a%20b", **more)
    accepted, echoed = call(ws.asgi(inner), scope, CONNECT, text, gone)
    assert accepted == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert echoed == {"type": "websocket.send", "text": "a b"}


@pytest.mark.parametrize(
    "more",
    [
        {"headers": [(b"sec-websocket-protocol", b"other, chat")]},
        {"subprotocols": ["other", "chat"]},  # of a server that leaves the field out
    ],
)
def test_subprotocol_is_chosen_from_the_scope(more: Event) -> None:
    gone = {"type": "websocket.disconnect"}
    accepted, told, *_ = call(ws.asgi(), {**websocket_scope("/spoken"), **more}, CONNECT, gone)
    assert accepted["subprotocol"] == "chat"
    assert told == {"type": "websocket.send", "text": "chat"}


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/elsewhere", [], 404),
        ("/echo", [(b"host", b"test"), (b"origin", b"http://evil")], 403),
        ("/echo", [(b"host", b"test"), (b"host", b"evil")], 400),
    ],
)
def test_refusal_on_a_server_that_keeps_its_sockets(
    path: str, fields: list[tuple[bytes, bytes]], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {**websocket_scope(path), "headers": fields, "client": ["127.0.0.1", 9]}
    start, body = call(ws.asgi(), {**scope, **DENIAL}, CONNECT)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert (b"content-length", str(len(body["body"])).encode()) in start["headers"]
    assert body["type"] == "websocket.http.response.body"
    assert "only refuse with 403" not in caplog.text
    assert call(ws.asgi(), scope, CONNECT) == [{"type": "websocket.close", "code": 1008}]
    assert ("only refuse with 403" in caplog.text) == (status != 403)


@pytest.mark.parametrize("kind", ["websocket", "http", "lifespan"])
def test_first_scope_installs_our_class(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receivers: list[object] = []
    monkeypatch.setattr("ws_middleware.asgi.middleware.install", receivers.append)
    for app, count in (
        (ws.asgi(Inner()), 1),
        (ws.asgi(Inner(), install=True), 1),
        (ws.asgi(Inner(), install=False), 0),
    ):
        receivers.clear()
        for _ in range(2):
            call(app, {**websocket_scope("/elsewhere"), "type": kind})
        assert len(receivers) == count


def test_install_is_auto_or_false() -> None:
    with pytest.raises(ValueError, match="install='off' is neither"):
        ws.asgi(install="off")  # type: ignore[arg-type]


def test_other_path_on_a_server_that_keeps_its_sockets_is_passed_on() -> None:
    inner = Inner()
    call(ws.asgi(inner), websocket_scope("/elsewhere"))
    assert len(inner.scopes) == 1


# --- HTTP ---


def http(app: App, path: str, *fields: tuple[str, str], **more: Any) -> tuple[int, Event, bytes]:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "http_version": "1.1",
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
        **more,
    }
    start, body = call(app, scope)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-length"] == str(len(body["body"]))
    return start["status"], headers, body["body"]


def test_plain_request_on_a_route_is_told_to_upgrade() -> None:
    status, headers, body = http(ws.asgi(), "/echo")
    assert status == 426
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")
    assert body == b"this path is a WebSocket\n"


def test_plain_request_elsewhere_is_404() -> None:
    assert http(ws.asgi(), "/elsewhere")[0] == 404


@pytest.mark.parametrize("path", ["/echo", "/elsewhere"])
def test_plain_request_is_passed_on(path: str) -> None:
    inner = Inner()
    scope = {"type": "http", "method": "GET", "path": path, "http_version": "1.1", "headers": []}
    call(ws.asgi(inner), scope)
    assert inner.scopes == [scope]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([("Upgrade", "websocket")], 400),
        ([("Host", "test"), ("Upgrade", "websocket")], 400),
        ([("Host", "test"), ("Sec-WebSocket-Key", "x")], 426),
        (
            [
                ("Host", "test"),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Version", "13"),
            ],
            400,
        ),
    ],
)
@pytest.mark.parametrize("inner", [None, Inner()])
def test_attempt_that_came_as_http_is_refused(
    fields: list[tuple[str, str]], status: int, inner: Inner | None
) -> None:
    got, headers, _ = http(ws.asgi(inner), "/echo", *fields)
    assert got == status
    assert ("sec-websocket-version" in headers) == (status == 426)


def test_attempt_elsewhere_is_passed_on() -> None:
    inner = Inner()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/elsewhere",
        "http_version": "1.1",
        "headers": [(b"upgrade", b"websocket")],
    }
    call(ws.asgi(inner), scope)
    assert inner.scopes == [scope]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"raw_path": b"/%65cho"}, 426),
        ({"raw_path": b"/echo", "query_string": b"a=/x"}, 426),
        ({"raw_path": None}, 404),
        ({"root_path": "/root", "raw_path": b"/root/echo"}, 426),
        ({"scheme": "https", "client": ("::1", 8), "raw_path": b"/echo"}, 426),
    ],
)
def test_path_is_taken_from_the_scope(more: Event, status: int) -> None:
    assert http(ws.asgi(), "/elsewhere", **more)[0] == status


# --- other scopes ---


def test_lifespan_is_answered_where_there_is_no_app() -> None:
    events = [{"type": f"lifespan.{name}"} for name in ("startup", "unheard-of", "shutdown")]
    assert call(ws.asgi(), {"type": "lifespan"}, *events) == [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
    ]


@pytest.mark.parametrize("kind", ["lifespan", "unheard-of"])
def test_other_scopes_are_passed_on(kind: str) -> None:
    inner = Inner()
    assert call(ws.asgi(inner), {"type": kind}) == []
    assert inner.scopes == [{"type": kind}]


def test_unheard_of_scope_without_an_app_is_ignored() -> None:
    assert call(ws.asgi(), {"type": "unheard-of"}) == []


def test_router_and_app_are_kept() -> None:
    inner = Inner()
    middleware = ASGIMiddleware(ws, inner)
    assert (middleware.router, middleware.app) == (ws, inner)
    assert isinstance(ServerConfig(middleware, options=Options()).app, ASGIMiddleware)
