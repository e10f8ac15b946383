"""A Starlette app with WebSocket endpoints of its own, on real sockets under every server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.peer import BINARY, CLOSE, PING, PONG, TEXT, Peer
from tests.running import PATIENCE, eventually
from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.asgi.uvicorn_options import options_of
from ws_middleware.listening import bind
from ws_middleware.mounts import WebSockets
from ws_middleware.server import Server

# --- the app ---

#: How endpoints ended, by what their tests gave them as a name.
ENDS: dict[str, object] = {}


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                ENDS[websocket.query_params.get("name", "")] = message["code"]
                return
            await websocket.send({**message, "type": "websocket.send"})
    finally:
        ENDS.setdefault("echo", None)


async def choose(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="b", headers=[(b"x-chosen", b"b")])
    await websocket.send_json(
        {
            "path": websocket.path_params["name"],
            "query": str(websocket.query_params),
            "cookie": websocket.cookies.get("c"),
            "offered": websocket.scope["subprotocols"],
            "url": str(websocket.url),
        }
    )
    await websocket.close(4000, "chosen")


async def refuse(websocket: WebSocket) -> None:
    await websocket.close()


async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("not you", 401, {"x-why": "because"}))


async def fail(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    raise LookupError("on purpose")


async def returns(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


async def send_late(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(bytes(10_000))
            await asyncio.sleep(0)
    except WebSocketDisconnect as error:
        ENDS[websocket.query_params["name"]] = error.code


async def page(request: Request) -> Response:
    return PlainTextResponse("a page " + (await request.body()).decode())


inner = Starlette(
    routes=[
        Route("/page", page, methods=["GET", "POST"]),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/choose/{name}", choose),
        WebSocketRoute("/refuse", refuse),
        WebSocketRoute("/deny", deny),
        WebSocketRoute("/fail", fail),
        WebSocketRoute("/returns", returns),
        WebSocketRoute("/send-late", send_late),
    ]
)
ws = WebSockets()


@ws.route("/ours/<name>")
async def greet(connection: AsyncConnection, name: str) -> None:
    async for message in connection:
        await connection.send(f"{name} {message!s}")


# --- the servers ---


class Kind(NamedTuple):
    """Say which server runs the app, on which loop."""

    http: str | None  # None for our own server
    loop: Callable[[], asyncio.AbstractEventLoop]


@contextmanager
def serving(kind: Kind) -> Iterator[int]:
    """Serve in a thread; gives the port."""
    started, ports = threading.Event(), list[int]()
    stops: list[Callable[[], object]] = []

    async def serve_ours() -> None:
        stop = asyncio.Event()
        async with Server(ws.asgi(inner), port=0) as server:
            ports.append(server.port)
            loop = asyncio.get_running_loop()
            stops.append(lambda: loop.call_soon_threadsafe(stop.set))
            started.set()
            await stop.wait()

    async def serve_plainly() -> None:
        path = f"{WebSocketProtocol.__module__}:{WebSocketProtocol.__qualname__}"
        config = uvicorn.Config(
            ws.asgi(inner), http=kind.http or "auto", ws=path, log_config=None, ws_max_size=1000
        )
        server = uvicorn.Server(config)
        with bind(port=0) as sock:
            ports.append(sock.getsockname()[1])
            stops.append(lambda: setattr(server, "should_exit", True))
            started.set()
            await server.serve([sock])

    def work() -> None:
        with asyncio.Runner(loop_factory=kind.loop) as runner:
            runner.run(serve_ours() if kind.http is None else serve_plainly())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(PATIENCE)
    yield ports[0]
    stops[0]()
    thread.join(PATIENCE)
    assert not thread.is_alive()


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Kind(http, loop), id=f"{http or 'ours'}-{name}")
        for http in (None, "h11", "httptools")
        for name, loop in LOOPS.items()
    ],
)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give the port of a running server."""
    with serving(request.param) as number:
        yield number


@pytest.fixture
def peer(port: int) -> Iterator[Peer]:
    with Peer(port) as peer:
        yield peer


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


# --- the tests ---


def test_messages_of_both_kinds(peer: Peer, name: str) -> None:
    peer.open(f"/echo?name={name}")
    for message in ("", "tëxt", b"", b"\xff" * 900):
        peer.echo(message)
    peer.close(4321)
    eventually(lambda: ENDS.get(name) == 4321)


def test_ping_is_answered(peer: Peer) -> None:
    peer.open("/echo").send_frame(PING, "?")
    assert peer.read_frame() == (PONG, b"?", True, 0)
    peer.close()


def test_scope_reaches_the_endpoint(peer: Peer, port: int) -> None:
    fields: dict[str, str | None] = {"Sec-WebSocket-Protocol": "a, b", "Cookie": "c=d"}
    peer.open("/choose/a%20b?x=%31", fields=fields)
    assert peer.fields["sec-websocket-protocol"] == "b"
    assert peer.fields["x-chosen"] == "b"
    assert str(peer.read_message()) == (
        '{"path":"a b","query":"x=1","cookie":"d","offered":["a","b"],'
        f'"url":"ws://127.0.0.1:{port}/choose/a b?x=%31"}}'
    )
    assert peer.read_close() == (4000, "chosen")


def test_subprotocol_that_was_not_offered_fails_the_endpoint(peer: Peer) -> None:
    peer.send(peer.request("/choose/a"))
    reply = peer.reply()
    assert reply.status == 500
    peer.body(reply)
    peer.read_end()


@pytest.mark.parametrize("path", ["/refuse", "/elsewhere"])
def test_refusal_is_a_whole_403(peer: Peer, path: str) -> None:
    peer.send(peer.request(path))
    reply = peer.reply()
    assert (reply.status, reply.fields["connection"]) == (403, "close")
    peer.body(reply)
    peer.read_end()


def test_denial_is_the_endpoints_own_response(peer: Peer) -> None:
    peer.send(peer.request("/deny"))
    reply = peer.reply()
    assert (reply.status, reply.fields["x-why"]) == (401, "because")
    assert peer.read_rest() == b"not you"


def test_endpoint_that_raises_closes_with_1011(peer: Peer) -> None:
    peer.open("/fail").send_frame(TEXT, "go")
    assert peer.expect_failure(1011) == "internal error"


def test_endpoint_that_returns_closes_with_1000(peer: Peer) -> None:
    peer.open("/returns").send_frame(TEXT, "go")
    assert peer.read_close() == (1000, "")
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.read_end()


def test_endpoint_that_sends_is_told_that_the_peer_left(peer: Peer, name: str) -> None:
    peer.open(f"/send-late?name={name}")
    peer.read_message()
    peer.reset()
    eventually(lambda: name in ENDS)
    assert ENDS[name] == 1006


def test_endpoint_that_receives_is_told_that_the_peer_left(peer: Peer, name: str) -> None:
    peer.open(f"/echo?name={name}").echo("hello")
    peer.reset()
    eventually(lambda: ENDS.get(name) == 1006)


def test_breach_of_the_protocol_is_answered(peer: Peer, name: str) -> None:
    peer.open(f"/echo?name={name}").send_frame(TEXT, "unmasked", key=None)
    peer.expect_failure(1002)
    eventually(lambda: ENDS.get(name) == 1002)


def test_route_of_ours_stands_beside_them(peer: Peer) -> None:
    peer.open("/ours/a%20b").send_frame(TEXT, "hello")
    assert peer.read_message() == "a b hello"
    peer.close()


@pytest.mark.parametrize("path", ["/ours/a", "/echo"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Extensions": "="}, 400),
    ],
)
def test_bad_handshake_is_a_whole_refusal(
    peer: Peer, path: str, fields: dict[str, str | None], status: int
) -> None:
    peer.send(peer.request(path, fields=fields))
    reply = peer.reply()
    assert reply.status == status
    peer.body(reply)
    peer.read_end()


def test_plain_requests_reach_the_app(peer: Peer) -> None:
    line = "POST /page HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok"
    for _ in range(3):
        peer.send(line.encode())
        reply = peer.reply()
        assert (reply.status, peer.body(reply)) == (200, b"a page ok")


def test_plain_request_on_a_route_of_ours_reaches_the_app(peer: Peer) -> None:
    peer.send(b"GET /ours/a HTTP/1.1\r\nHost: test\r\n\r\n")
    assert peer.reply().status == 404


def test_websocket_may_come_behind_a_plain_request(peer: Peer) -> None:
    peer.send(b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n")
    reply = peer.reply()
    assert peer.body(reply) == b"a page "
    peer.open("/echo").echo("hello")
    peer.close()


def test_many_at_once(port: int) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(port)).open("/echo") for _ in range(50)]
        for peer in peers:
            peer.send_frame(BINARY, b"x" * 500)
        for peer in peers:
            assert peer.read_message() == b"x" * 500
        for peer in peers:
            peer.close()


def say_goodbye(peer: Peer) -> tuple[int, str]:
    """Answer the server's close as a client should."""
    told = peer.read_close()
    peer.send_frame(CLOSE, b"\x03\xe9")
    peer.read_end()
    peer.socket.close()
    return told


@pytest.mark.parametrize("kind", [Kind("h11", LOOPS["asyncio"]), Kind(None, LOOPS["uvloop"])])
def test_stopping_server_says_goodbye(kind: Kind, name: str) -> None:
    with ThreadPoolExecutor() as pool:
        with serving(kind) as port:
            peers = [Peer(port).open(path) for path in (f"/echo?name={name}", "/ours/a")]
            peers[0].echo("hello")
            goodbyes = [pool.submit(say_goodbye, peer) for peer in peers]
        told = [goodbye.result(PATIENCE) for goodbye in goodbyes]
    # Peers of an application of its own hear what uvicorn itself would tell them.
    assert told == [(code, "the server is shutting down") for code in (1012, 1001)]
    assert ENDS[name] == 1001


def test_connections_share_their_options_and_so_what_compressors_may_remember() -> None:
    async def app(*_: object) -> None:
        """Do nothing."""

    first, same = (options_of(uvicorn.Config(app)) for _ in range(2))
    other = options_of(uvicorn.Config(app, ws_max_size=1000, ws_per_message_deflate=False))
    assert first is same
    assert (other.max_message_size, other.extensions) == (1000, ())
