"""What users of other frameworks write works on our protocol class, beside our routes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.peer import BINARY, CLOSE, PING, PONG, TEXT, Peer
from tests.running import RunningServer, eventually, free_port, is_listening, run_command

#: What runs the app under each server that lets us have its frames.
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{}"],
    "gunicorn": ["gunicorn", "-k", "asgi", "--no-control-socket", "--bind", "127.0.0.1:{}"],
}


@pytest.fixture(scope="module", params=SERVERS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    port = free_port()
    options = [word.format(port) for word in SERVERS[request.param]]
    command = [sys.executable, "-m", *options, "tests.asgi.frameworks:app"]
    with run_command(command, tmp_path_factory.mktemp("frameworks") / "log") as server:
        server.port = port
        eventually(lambda: is_listening(port) or server.process.poll() is not None)
        yield server
    assert "Traceback" not in server.log, server.log


@pytest.fixture
def peer(running: RunningServer) -> Iterator[Peer]:
    with Peer(running.port) as peer:
        yield peer


@pytest.mark.parametrize(
    "path",
    [
        "/ours",
        "/starlette/echo",
        "/starlette/mounted/ours",
        "/fastapi/echo",
        "/quart/echo",
        "/litestar/echo",
        "/channels/echo",
        "/channels/sync",
    ],
)
def test_echo_of_each_framework(peer: Peer, path: str) -> None:
    peer.open(path)
    for text in ("hello", "ö" * 70_000, ""):
        peer.echo(text)
    peer.close()


@pytest.mark.parametrize("path", ["/ours", "/quart/echo", "/channels/echo", "/channels/sync"])
def test_bytes_stay_bytes(peer: Peer, path: str) -> None:
    peer.open(path)
    peer.echo(bytes(range(256)))
    peer.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fastapi/items/1", 403),  # a dependency raises
        ("/fastapi/items/one?name=x", 403),  # it is not a number
        ("/quart/guarded", 401),
        ("/litestar/guarded", 403),
        ("/channels/guarded", 403),
        ("/starlette/elsewhere", 403),
        ("/quart/elsewhere", 404),
    ],
)
def test_refusals_of_each_framework(peer: Peer, path: str, status: int) -> None:
    peer.send(peer.request(path))
    assert peer.reply().status == status


def test_parameters_and_dependencies_of_fastapi(peer: Peer) -> None:
    peer.open("/fastapi/items/7?name=ann")
    assert json.loads(peer.read_message()) == {"item": 7, "name": "ann"}
    assert peer.read_close() == (4000, "told")


def test_endpoint_class_of_starlette(peer: Peer) -> None:
    peer.open("/starlette/shout").send_frame(TEXT, "hello")
    assert peer.read_message() == "HELLO"
    peer.close()


def test_close_of_a_consumer(peer: Peer) -> None:
    peer.open("/channels/echo").send_frame(TEXT, "close")
    assert peer.read_close() == (4001, "asked")


@pytest.mark.parametrize(
    "path",
    [
        "/starlette/direct",
        "/starlette/direct-after",
        "/fastapi/direct",
        "/quart/direct",
        "/litestar/direct",
        "/channels/direct",
    ],
)
def test_direct_connection_inside_each_framework(peer: Peer, path: str) -> None:
    peer.open(path)
    assert peer.read_frame() == (PING, b"direct", True, 0)
    peer.send_frame(PONG, b"direct")
    pieces = [peer.read_frame(), peer.read_frame()]
    assert [piece.payload for piece in pieces] == [b"in ", b"pieces"]
    assert [piece.fin for piece in pieces] == [False, True]
    peer.echo("hello")
    peer.send_frame(BINARY, b"bytes")
    assert peer.read_message() == b"bytes"
    peer.send_frame(CLOSE, b"\x03\xe8")
    assert peer.read_close() == (1000, "")
