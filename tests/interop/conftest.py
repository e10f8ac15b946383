"""The clients, each started once, and the servers that all of them talk to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.interop.chromium import Browser, run_chromium
from tests.interop.clients import (
    Aiohttp,
    Client,
    Connection,
    Loop,
    Terms,
    WebsocketsAsyncio,
    WebsocketsSync,
    Wsproto,
)
from tests.interop.scripted import (
    Chromium,
    InstallError,
    Node,
    install_package,
    own_websocket,
    run_node,
)
from tests.interop.tap import Tap, run_tap
from tests.peer import Peer
from tests.running import RunningServer, eventually, run_server
from tests.tls import Certificate, make_certificate

Need = Callable[[str], str]
NODE_PROGRAM = "tests/interop/node.js"


# --- servers ---


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server with the routes of `tests.interop.app`."""
    with _serve(tmp_path_factory) as running:
        with Peer(running.port) as peer:  # the first connection opens what stays open
            peer.open("/echo").echo("warm up")
            busy = running.descriptors
            peer.close()
        eventually(lambda: running.descriptors < busy)
        yield running


@pytest.fixture(scope="session")
def secure_server(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[RunningServer]:
    """Give the same server over TLS."""
    with _serve(tmp_path_factory, *certificate.arguments) as running:
        yield running


@contextmanager
def _serve(factory: pytest.TempPathFactory, *arguments: str) -> Iterator[RunningServer]:
    log = factory.mktemp("server") / "log"
    with run_server(log, "tests.interop.app:ws", *arguments) as running:
        yield running
        running.terminate()
        assert running.wait() == 0, running.log


@pytest.fixture
def tap(server: RunningServer) -> Iterator[Tap]:
    """Give a relay to the server that counts bytes."""
    with run_tap(server.port) as tap:
        yield tap


# --- clients ---


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        yield Loop(runner)


@pytest.fixture(scope="session")
def chromium(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with run_chromium(need("chromium"), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def ws_package(need: Need) -> str:
    """Give the folder that the package `ws` of Node.js is installed in."""
    need("node")
    try:
        return str(install_package(need("npm")))
    except InstallError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def _websockets(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield WebsocketsAsyncio(request.getfixturevalue("loop"))


def _websockets_sync(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield WebsocketsSync()


def _aiohttp(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield Aiohttp(request.getfixturevalue("loop"))


def _wsproto(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield Wsproto()


def _ws(request: pytest.FixtureRequest) -> Iterator[Client]:
    folder = request.getfixturevalue("ws_package")
    with run_node("node", NODE_PROGRAM, folder, environment=os.environ) as call:
        yield Node(call)


def _node(request: pytest.FixtureRequest) -> Iterator[Client]:
    node = request.getfixturevalue("need")("node")
    options = own_websocket(node)
    if options is None:
        pytest.skip("this Node has no WebSocket of its own")
    certfile = request.getfixturevalue("certificate").certfile
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(certfile)}
    with run_node(node, "--no-warnings", *options, NODE_PROGRAM, environment=environment) as call:
        yield Node(call)


def _chromium(request: pytest.FixtureRequest) -> Iterator[Client]:
    with request.getfixturevalue("chromium").page("about:blank") as page:
        yield Chromium(page)


MAKERS = {
    "websockets": _websockets,
    "websockets-sync": _websockets_sync,
    "aiohttp": _aiohttp,
    "wsproto": _wsproto,
    "ws": _ws,
    "node": _node,
    "chromium": _chromium,
}


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    """Give the client that is named by the parameter; it leaves nothing behind on the server."""
    before = server.descriptors
    yield from MAKERS[request.param](request)
    eventually(lambda: server.descriptors <= before)


@pytest.fixture
def connect(client: Client, server: RunningServer) -> Iterator[Callable[..., Connection]]:
    """Give a function that opens connections, by a path or a whole URL."""
    size = len(server.log)
    with ExitStack() as stack:

        def open_connection(where: str, **terms: Any) -> Connection:
            url = server.url + where if where.startswith("/") else where
            connection = client.open(url, Terms(**terms))
            stack.callback(connection.drop)
            return connection

        yield open_connection
    assert "Traceback" not in server.log[size:]
