"""Proxies as they are installed: tinyproxy for HTTP, microsocks for SOCKS5."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.inprocess import run_really
from tests.running import (
    PATIENCE,
    RunningServer,
    eventually,
    free_port,
    is_listening,
    run_command,
    run_server,
)
from ws_middleware import ProxyError, aconnect, connect

Need = Callable[[str], str]

TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
BasicAuth user secret
ConnectPort {target}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="module", params=["http", "socks5", "socks5h"])
def proxy(
    request: pytest.FixtureRequest,
    server: RunningServer,
    need: Need,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Give the URL of a proxy without user and password, which it asks for."""
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    with run_command(_command(request.param, port, server.port, folder, need), folder / "log"):
        eventually(lambda: is_listening(port))
        yield f"{request.param}://{{}}127.0.0.1:{port}"


def _command(scheme: str, port: int, target: int, folder: Path, need: Need) -> list[str]:
    if scheme == "http":
        path = folder / "tinyproxy.conf"
        path.write_text(TINYPROXY.format(port=port, target=target))
        return [need("tinyproxy"), "-d", "-c", str(path)]
    return [need("microsocks"), *f"-i 127.0.0.1 -p {port} -u user -P secret".split()]


def test_connections_go_through(server: RunningServer, proxy: str) -> None:
    settings = {"proxy": proxy.format("user:secret@")}
    message = "x" * 100_000
    with connect(server.url, **settings) as connection:  # type: ignore[arg-type]
        connection.send(message)
        assert connection.recv(PATIENCE) == message

    async def run() -> None:
        async with aconnect(server.url, **settings) as connection:  # type: ignore[arg-type]
            await connection.send(message)
            assert await connection.recv(PATIENCE) == message

    run_really(run())


@pytest.mark.parametrize("login", ["", "user:wrong@"])
def test_proxy_that_knows_better_is_believed(server: RunningServer, proxy: str, login: str) -> None:
    with pytest.raises(ProxyError):
        connect(server.url, proxy=proxy.format(login))
    with pytest.raises(ProxyError):
        run_really(_open(server.url, proxy.format(login)))


async def _open(url: str, proxy: str) -> None:
    await aconnect(url, proxy=proxy)
