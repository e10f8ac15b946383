"""Clients of ours at the servers of others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.client.foreign_app import LEAVE
from tests.inprocess import run_really
from tests.interop.scripted import InstallError, install_package
from tests.running import PATIENCE, eventually, free_port, is_listening, run_command
from ws_middleware import ConnectionClosed, HandshakeRefused, aconnect, connect

_APP = "tests.client.foreign_app"


def _uvicorn(port: int, implementation: str) -> list[str]:
    return ["uvicorn", f"{_APP}:app", "--port", str(port), "--ws", implementation]


#: How each server is started: a module, and its arguments with the port.
_COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "websockets": lambda port: [_APP, "websockets", str(port)],
    "aiohttp": lambda port: [_APP, "aiohttp", str(port)],
    "uvicorn-websockets": lambda port: _uvicorn(port, "websockets-sansio"),
    "uvicorn-wsproto": lambda port: _uvicorn(port, "wsproto"),
    "hypercorn": lambda port: ["hypercorn", f"{_APP}:app", "--bind", f"127.0.0.1:{port}"],
    "granian": lambda port: [
        *("granian", f"{_APP}:app", "--interface", "asgi", "--port", str(port))
    ],
}


class Foreign(NamedTuple):
    """Name a server of somebody else."""

    name: str


SERVERS = [Foreign(name) for name in (*_COMMANDS, "node-ws")]


def _command(name: str, port: int, need: Callable[[str], str]) -> list[str]:
    if name != "node-ws":
        return [sys.executable, "-m", *_COMMANDS[name](port)]
    node = need("node")
    try:
        folder = install_package(need("npm"))
    except InstallError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    program = Path(__file__).with_name("foreign_app.js")
    return [node, str(program), str(folder), str(port)]


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.name)
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[str]:
    """Give the URL of a server."""
    port = free_port()
    command = _command(request.param.name, port, need)
    with run_command(command, tmp_path_factory.mktemp("server") / "log") as running:

        def listens() -> bool:
            assert running.process.poll() is None, running.log
            return is_listening(port)

        eventually(listens)
        yield f"ws://127.0.0.1:{port}"


MESSAGES: list[str | bytes] = [
    "",
    "\u20ac" * 50_000,
    b"",
    bytes(range(256)) * 4000,
    "a",
    "b" * 70_000,
]
SETTINGS: Any = {"subprotocols": ["a", "b"], "max_message_size": 2**23, "proxy": None}


def _blocking(url: str) -> None:
    with connect(f"{url}/echo", **SETTINGS) as connection:
        assert connection.subprotocol == "b"
        for message in MESSAGES:
            connection.send(message)
            assert connection.recv(PATIENCE) == message
        assert connection.ping(timeout=PATIENCE) < PATIENCE
    assert connection.close_code == 1000
    with connect(f"{url}/leave", **SETTINGS) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(PATIENCE)
        assert (caught.value.code, caught.value.reason) == LEAVE
    with pytest.raises(HandshakeRefused) as refused:
        connect(f"{url}/no", **SETTINGS)
    assert refused.value.status == 403


def _asynchronous(url: str) -> None:
    async def run() -> None:
        async with aconnect(f"{url}/echo", **SETTINGS) as connection:
            assert connection.subprotocol == "b"
            for message in MESSAGES:
                await connection.send(message)
                assert await connection.recv(PATIENCE) == message
            assert await connection.ping(timeout=PATIENCE) < PATIENCE
        assert connection.close_code == 1000
        async with aconnect(f"{url}/leave", **SETTINGS) as connection:
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv(PATIENCE)
            assert (caught.value.code, caught.value.reason) == LEAVE
        with pytest.raises(HandshakeRefused) as refused:
            await aconnect(f"{url}/no", **SETTINGS)
        assert refused.value.status == 403

    run_really(run())


@pytest.mark.parametrize("talk", [_blocking, _asynchronous], ids=["connect", "aconnect"])
def test_client_talks_to_the_server_of_somebody_else(
    server: str, talk: Callable[[str], None]
) -> None:
    talk(server)
