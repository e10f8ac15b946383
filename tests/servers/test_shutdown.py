"""How servers stop, whatever their peers and handlers are doing just then."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peer import CLOSE, TEXT, Peer
from tests.running import PATIENCE, ROOT, RunningServer, run_server
from tests.servers.behaviour import ws
from tests.tls import make_certificate
from ws_middleware import Server
from ws_middleware.asgi.types import Receive, Scope, Send

SHAPES = ["async", "threaded", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)
loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
GOODBYE = (1001, "the server is shutting down")
#: The grace time of a server that must not need it, and of one that has to.
LONG, SHORT = 300, 1

Start = Callable[..., RunningServer]


@pytest.fixture(autouse=True)
def undisturbed() -> None:
    """Let each test have a server of its own."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a server, on some loop, with a grace time."""
    with contextlib.ExitStack() as stack:

        def start(loop: str, grace: int, *arguments: str) -> RunningServer:
            return stack.enter_context(
                run_server(
                    tmp_path / "log",
                    "tests.servers.behaviour:ws",
                    *arguments,
                    settings=(f"loop={loop}", f"grace={grace}"),
                )
            )

        yield start


@pytest.fixture
def peers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def say_goodbye(peer: Peer) -> None:
    assert peer.read_close() == GOODBYE
    peer.send_frame(CLOSE, b"\x03\xe9")
    peer.read_end()
    peer.finish()


@loops
@pytest.mark.fault(107)
@pytest.mark.row(151)
def test_sigterm_with_1000_open_sockets(
    start: Start, peers: contextlib.ExitStack, loop: str
) -> None:
    server = start(loop, LONG)
    opened = [peers.enter_context(Peer(server.port)) for _ in range(1000)]
    for i, peer in enumerate(opened):
        peer.send(peer.request("/threaded/watched/x" if i % 10 == 0 else "/async/watched/x"))
    for peer in opened:
        assert peer.reply().status == 101
    server.terminate()
    for peer in opened:
        say_goodbye(peer)
    assert server.wait() == 0
    assert server.log.count("closed with 1001 by this side") == 1000
    assert server.log.count("[x: ended with 1001]") == 1000
    assert "Traceback" not in server.log


@loops
@pytest.mark.fault(107)
@shapes
def test_nothing_is_accepted_and_nothing_is_lost_while_it_stops(
    start: Start, peers: contextlib.ExitStack, loop: str, shape: str
) -> None:
    server = start(loop, LONG)
    peer = peers.enter_context(Peer(server.port)).open(f"/{shape}/watched/x")
    peer.echo("before")
    server.terminate()
    assert peer.read_close() == GOODBYE
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    peer.send_frame(CLOSE, b"\x03\xe9")
    peer.read_end()
    peer.finish()
    assert server.wait() == 0
    assert "[x: ended with 1001]" in server.log


def annoy(server: RunningServer, peers: contextlib.ExitStack) -> None:
    """Open connections of every kind that does not end by itself."""
    for shape in ("async", "threaded", "callbacks"):
        # Handlers that never end, and peers that do not answer the close frame.
        blocked = peers.enter_context(Peer(server.port)).open(f"/{shape}/blocked")
        blocked.send_frame(TEXT, "go")
        assert blocked.read_message() == "blocked"
        # Peers that take nothing.
        flooded = peers.enter_context(Peer(server.port, receive_buffer=4096))
        flooded.open(f"/{shape}/patient-flood/x")
        # Handlers that wait for messages, and for room.
        peers.enter_context(Peer(server.port)).open(f"/{shape}/watched/x").echo("before")
    # Half handshakes, and plain HTTP that is kept alive.
    for part in (0, 20, -2):
        half = peers.enter_context(Peer(server.port))
        half.send(half.request("/async/watched/x")[:part])
    alive = peers.enter_context(Peer(server.port))
    alive.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert alive.reply().status == 404


@loops
@pytest.mark.fault(107, 108)
@pytest.mark.row(154)
def test_sigterm_ends_within_the_grace_time(
    start: Start, peers: contextlib.ExitStack, loop: str
) -> None:
    server = start(loop, SHORT)
    annoy(server, peers)
    begun = time.monotonic()
    server.terminate()
    assert server.wait() == 0
    assert time.monotonic() - begun < SHORT + 5
    assert "Traceback" not in server.log
    assert "never retrieved" not in server.log


@loops
@pytest.mark.fault(107)
def test_every_finished_connection_is_in_the_log_also_where_it_was_cut(
    start: Start, peers: contextlib.ExitStack, loop: str
) -> None:
    server = start(loop, SHORT)
    for shape in SHAPES:
        peers.enter_context(Peer(server.port)).open(f"/{shape}/watched/x").echo("before")
    server.terminate()
    assert server.wait() == 0
    assert server.log.count(" identity=") == len(SHAPES)


@loops
@pytest.mark.fault(108, 109)
def test_second_sigint_forces(start: Start, peers: contextlib.ExitStack, loop: str) -> None:
    server = start(loop, LONG)
    annoy(server, peers)
    waiting = peers.enter_context(Peer(server.port)).open("/async/watched/y")
    server.terminate(signal.SIGINT)
    assert waiting.read_close() == GOODBYE
    assert "Ctrl+C again stops at once" in server.log
    server.terminate(signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log


@loops
@pytest.mark.fault(107)
@pytest.mark.parametrize("shape", ["async", "async-callbacks"])
def test_handlers_are_cancelled_and_may_clean_up(
    start: Start, peers: contextlib.ExitStack, loop: str, shape: str
) -> None:
    server = start(loop, SHORT)
    peer = peers.enter_context(Peer(server.port)).open(f"/{shape}/cleans-up")
    assert peer.read_message() == "open"
    server.terminate()
    say_goodbye(peer)
    assert server.wait() == 0
    assert "[cleans-up: CancelledError]" in server.log
    assert "Traceback" not in server.log


@loops
@pytest.mark.fault(109)
@pytest.mark.parametrize("part", [0, 1, -2])
def test_sigterm_during_a_handshake(
    start: Start, peers: contextlib.ExitStack, loop: str, part: int
) -> None:
    server = start(loop, LONG)
    half = peers.enter_context(Peer(server.port))
    half.send(half.request("/async/watched/x")[:part])
    with Peer(server.port) as other:
        other.open("/echo").echo("the server has seen what came before")
        other.close()
    server.terminate()
    assert server.wait() == 0
    half.read_end()


@loops
@pytest.mark.fault(109)
@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "begun"])
def test_sigterm_during_a_tls_handshake(
    start: Start, peers: contextlib.ExitStack, tmp_path: Path, loop: str, hello: bytes
) -> None:
    certificate = make_certificate(tmp_path)
    server = start(loop, LONG, *certificate.arguments)
    half = peers.enter_context(Peer(server.port))
    half.send(hello)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as other,
        certificate.client_context().wrap_socket(other, server_hostname="localhost"),
    ):
        pass  # the server has seen what came before
    server.terminate()
    assert server.wait() == 0
    assert "Traceback" not in server.log


@loops
@pytest.mark.fault(88)
@pytest.mark.parametrize("shape", ["async", "async-callbacks"])
@pytest.mark.parametrize(("error", "status"), [("SystemExit", 7), ("KeyboardInterrupt", -2)])
def test_exceptions_that_end_a_program_end_the_server(
    start: Start,
    peers: contextlib.ExitStack,
    loop: str,
    shape: str,
    error: str,
    status: int,
) -> None:
    server = start(loop, LONG)
    other = peers.enter_context(Peer(server.port)).open("/async/watched/x")
    peer = peers.enter_context(Peer(server.port)).open(f"/{shape}/raises/{error}")
    peer.send_frame(TEXT, "go")
    assert server.wait() == status
    assert other.read_close() == GOODBYE
    assert peer.read_rest() == b""
    assert "never retrieved" not in server.log


# --- inside other programs ---


def run_embedded(way: str, loop: str) -> tuple[list[str], str]:
    """Run a program of `tests.servers.embedded`; returns the lines and the errors it prints."""
    command = [sys.executable, "-m", "tests.servers.embedded", way, loop]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@loops
@pytest.mark.fault(110)
def test_program_ends_with_a_server_in_a_daemon_thread(loop: str) -> None:
    assert run_embedded("leave", loop) == (["left"], "")


@loops
@pytest.mark.fault(111)
@pytest.mark.parametrize("way", ["forget", "cancel"])
def test_every_peer_is_told_where_the_loop_ends_without_the_server(way: str, loop: str) -> None:
    lines, errors = run_embedded(way, loop)
    assert errors == ""
    told = [line for line in lines if line.startswith("/")]
    assert len(told) == 7
    assert all(line.endswith(" 1001") for line in told)


@loops
@pytest.mark.fault(111)
def test_loop_that_is_closed_under_the_server(loop: str) -> None:
    lines, errors = run_embedded("close_loop", loop)
    assert lines[-1] == "left"
    assert "Traceback" not in errors
    assert "never retrieved" not in errors


def test_leaving_the_block_closes_every_connection() -> None:
    async def main() -> None:
        async with Server(ws, port=0) as server:
            port = server.port
            peer = await asyncio.to_thread(lambda: Peer(server.port).open("/echo"))
            goodbye = asyncio.create_task(asyncio.to_thread(say_goodbye, peer))
        await goodbye
        peer.socket.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(main())


def test_server_takes_its_port_and_gives_it_back() -> None:
    async def main() -> None:
        for _ in range(2):
            async with Server(ws, port=port) as server:
                assert server.port == port

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asyncio.run(main())


def serving() -> list[asyncio.Task[Any]]:
    """Find the tasks that serve."""
    return [task for task in asyncio.all_tasks() if ".serve" in repr(task.get_coro())]


@pytest.mark.fault(112)
def test_server_that_was_forgotten_says_so_and_stops() -> None:
    ports: list[int] = []

    async def start_and_forget() -> None:
        server = Server(ws, port=0)
        circle: list[object] = [server]
        circle.append(circle)  # so that only the collector finds it
        await server.__aenter__()
        ports.append(server.port)

    async def main() -> None:
        await start_and_forget()
        with pytest.warns(ResourceWarning, match="was not stopped"):
            gc.collect()
        await asyncio.wait(serving())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ports[0])

    asyncio.run(main())


def test_server_that_was_never_started_can_be_stopped() -> None:
    server = Server(ws, port=0)
    asyncio.run(server.stop())
    with pytest.raises(OSError, match="Bad file descriptor"):
        server.port  # noqa: B018 - the socket is closed


def test_application_that_fails_to_start_does_not_end_the_program() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "on purpose"})

    async def main() -> None:
        with pytest.raises(RuntimeError, match="failed to start"):
            async with Server(app, port=0):
                pass

    asyncio.run(main())


def test_start_that_is_given_up_leaves_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        server = Server(app, port=0)
        port = server.port
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await server.__aenter__()
        await asyncio.wait(serving())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(main())
