"""`def` handlers on the socket itself: taken from the loop whole, or left to the bridge."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import uvloop

from tests.peer import TEXT, Peer, frame
from tests.running import PATIENCE, eventually
from tests.tls import make_certificate
from ws_middleware import Connection, UnsupportedError, WebSockets, attendant, direct
from ws_middleware.asgi.types import Receive, Scope, Send
from ws_middleware.server import Server

TAKEN, BRIDGED = "SocketConnection", "BridgedConnection"
#: More than the system's buffers hold of what nobody reads.
LARGE = 2**24

# --- the app ---

ws = WebSockets()
#: What handlers wait for, and how many do.
RELEASE = threading.Semaphore(0)
AT_WORK: list[str] = []


@ws.route("/echo")
def echo(connection: Connection) -> None:
    scope = cast(dict[str, Any], connection.request.scope)
    connection.send(type(connection).__name__)
    connection.send_json([scope["client"], scope["server"], connection.remote_address])
    for message in connection:
        connection.send(message)


@ws.route("/alone/<name>", max_connections=1)
def work_alone(connection: Connection, name: str) -> None:
    AT_WORK.append(name)
    RELEASE.acquire(timeout=PATIENCE)
    AT_WORK.remove(name)


@ws.route("/direct")
def ask_for_another(connection: Connection) -> None:
    try:
        direct(cast(Scope, connection.request.scope))
    except UnsupportedError as error:
        connection.send(str(error))


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
        await send({"type": "http.response.body", "body": bytes(LARGE)})


LENGTH = (b"content-length", str(LARGE).encode())
routed = ws.asgi(page, install=False)
cancelled = threading.Event()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Cancel what is called `/echo?cancel` as soon as a test says so."""
    answer = asyncio.ensure_future(routed(scope, receive, send))
    if scope.get("query_string") == b"cancel":
        await asyncio.to_thread(cancelled.wait, PATIENCE)
        answer.cancel()
    await asyncio.wait([answer])


# --- the server ---


class Running(NamedTuple):
    """Hold a server and the loop that it is on."""

    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def connections(self) -> int:
        """Count what uvicorn knows of."""
        return len(self.server._server.server_state.connections)


@contextmanager
def serving(
    make_loop: Callable[[], asyncio.AbstractEventLoop], target: Any = ws, **settings: Any
) -> Iterator[Running]:
    """Serve in a thread."""
    with ExitStack() as stack:
        started = threading.Event()
        running: list[Running] = []
        stop = asyncio.Event()

        async def work() -> None:
            async with Server(target, **{"port": 0, **settings}) as server:
                running.append(Running(server, asyncio.get_running_loop()))
                started.set()
                await stop.wait()

        def run() -> None:
            with asyncio.Runner(loop_factory=make_loop) as runner:
                runner.run(work())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        stack.callback(thread.join, PATIENCE)
        assert started.wait(PATIENCE)
        stack.callback(running[0].loop.call_soon_threadsafe, stop.set)
        yield running[0]
    assert not thread.is_alive()


Loops = Callable[[], asyncio.AbstractEventLoop]
LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]
both_loops = pytest.mark.parametrize("loop", LOOPS)


@pytest.fixture(scope="module", params=LOOPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(request.param, app) as running:
        yield running


@pytest.fixture
def peer(running: Running) -> Iterator[Peer]:
    with Peer(running.server.port) as peer:
        yield peer


def kind_of(peer: Peer) -> str:
    """Read which kind of connection the handler got."""
    kind = str(peer.read_message())
    peer.read_message()
    return kind


# --- taken ---


def test_handler_has_the_socket_and_all_about_it(running: Running, peer: Peer) -> None:
    peer.open("/echo")
    assert peer.read_message() == TAKEN
    here, there = f'["127.0.0.1", {peer.port}]', f'["127.0.0.1", {running.server.port}]'
    assert peer.read_message() == f"[{here}, {there}, {here}]"
    peer.echo("hello")
    assert running.connections == 1
    peer.close()
    peer.finish()
    eventually(lambda: running.connections == 0)


@pytest.mark.parametrize("number", [1, 5, 5_000])
def test_what_came_early_is_read_first(peer: Peer, number: int) -> None:
    messages = [f"message {i}" for i in range(number)]
    peer.open("/echo", early=b"".join(frame(TEXT, message) for message in messages))
    assert kind_of(peer) == TAKEN
    assert [peer.read_message() for _ in messages] == messages
    peer.close()


@both_loops
def test_unix_socket_is_taken(loop: Loops, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving(loop, uds=path), UnixPeer(path) as peer:
        assert kind_of(peer.open("/echo")) == TAKEN
        peer.echo("hello")
        peer.close()


class UnixPeer(Peer):
    """Be a peer on a Unix socket."""

    def __init__(self, path: str) -> None:
        self.key, self.host, self.buffer = "dGhlIHNhbXBsZSBub25jZQ==", "localhost", b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)


def test_place_is_free_when_the_peer_has_left_though_its_handler_works_on(
    running: Running,
) -> None:
    for name in ("first", "second"):
        with Peer(running.server.port) as peer:
            eventually(lambda: not len(ws.gate))
            peer.open(f"/alone/{name}")
            eventually(lambda name=name: name in AT_WORK)
            peer.reset()
    eventually(lambda: running.connections == 0)
    assert AT_WORK == ["first", "second"]
    RELEASE.release(2)
    eventually(lambda: not AT_WORK)


def test_cancelled_handler_says_goodbye(peer: Peer) -> None:
    cancelled.clear()
    assert kind_of(peer.open("/echo?cancel")) == TAKEN
    cancelled.set()
    assert peer.expect_failure(1001) == "the server is shutting down"


def test_direct_has_nothing_to_give_beside_it(peer: Peer) -> None:
    peer.open("/direct")
    assert peer.read_message() == "this connection is with its `def` handler, in another thread"
    assert peer.expect_failure(1000) == ""


# --- left to the bridge ---


@both_loops
def test_tls_is_bridged(loop: Loops, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = {"ssl_certfile": certificate.certfile, "ssl_keyfile": certificate.keyfile}
    with serving(loop, **files) as running, Peer(running.server.port) as peer:
        context = certificate.client_context()
        peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
        assert kind_of(peer.open("/echo")) == BRIDGED
        peer.echo("hello")


def test_what_is_not_written_yet_leaves_first(peer: Peer) -> None:
    peer.send(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer.send(peer.request("/echo"))
    assert peer.body(peer.reply()) == bytes(LARGE)
    assert peer.reply().status == 101
    assert kind_of(peer) == BRIDGED
    peer.echo("hello")


def test_no_descriptor_is_left_for_the_copy(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", fail)
    assert kind_of(peer.open("/echo")) == BRIDGED
    peer.echo("hello")


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_no_thread_is_left_to_attend(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendant, "_attendants", {})
    refuse_threads(monkeypatch, "ws_middleware attendant")
    assert kind_of(peer.open("/echo")) == BRIDGED
    peer.echo("hello")


@both_loops
def test_no_thread_is_left_for_the_handler(loop: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    # In an app of its own: where a handler is at work, its thread would take over the next one.
    with serving(loop, ws.asgi(install=False)) as running, Peer(running.server.port) as peer:
        refuse_threads(monkeypatch, "ws_middleware handler")
        peer.open("/echo")
        assert peer.expect_failure(1013) == "no thread is free"
        peer.finish()
        eventually(lambda: running.connections == 0)
